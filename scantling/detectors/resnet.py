"""torchvision's ResNets as feature extractors, with the settings of detectors: frozen parts, fixed batch norm, and the
form in which the caffe weights of the papers were trained.

Fixed batch norm is folded into the convolutions' weights on the fly: the same function, two passes over memory less.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torchvision.models import resnet18, resnet50, resnet101, resnext101_32x8d

from scantling import log
from scantling.detectors import detectron_names, weights
from scantling.detectors.fixed_norm import FixedNorm, conv_norm
from scantling.detectors.padding import is_ragged, valid_cells
from scantling.detectors.settings import ResNetParams
from scantling.stage import BadInput

KINDS: dict[str, Callable[..., Any]] = {
    "resnet18": resnet18,
    "resnet50": resnet50,
    "resnet101": resnet101,
    "resnext101_32x8d": resnext101_32x8d,
}
NORMS: dict[str, Callable[[int], nn.Module]] = {
    "frozen": partial(FixedNorm, learned=False),
    "affine": partial(FixedNorm, learned=True),
    "trained": nn.BatchNorm2d,
}
# name -> torchvision's published files (the digits are the first of their SHA-256), Detectron's published file
FILES = {
    "resnet18": ("resnet18-f37072fd.pth", None),
    "resnet50": ("resnet50-0676ba61.pth or resnet50-11ad3fa6.pth", "R-50.pkl"),
    "resnet101": ("resnet101-63fe2227.pth or resnet101-cd907fc2.pth", "R-101.pkl"),
    "resnext101_32x8d": ("resnext101_32x8d-8ba56ff5.pth or resnext101_32x8d-110c445d.pth", "X-101-32x8d.pkl"),
}
IMAGENET_STD_BGR = (57.375, 57.12, 58.395)


class ResNet(nn.Module):
    """(B, 3, H, W) normalized RGB, H and W multiples of 32 -> features at strides (4,) 8, 16, 32.

    mean, std: of pixels 0..255, RGB. Weights that were trained on BGR are turned when they are loaded, which gives the
    same function of an RGB image, so nothing that is computed later knows of an order.
    """

    def __init__(self, params: ResNetParams):
        super().__init__()
        self.params = params
        order = 1 if params.pixels.order == "rgb" else -1
        self.mean, self.std = params.pixels.mean[::order], params.pixels.std[::order]
        whole = KINDS[params.name](weights=None, norm_layer=NORMS[params.norm])
        self.conv1, self.bn1, self.maxpool = whole.conv1, whole.bn1, whole.maxpool
        self.layer1, self.layer2, self.layer3, self.layer4 = whole.layer1, whole.layer2, whole.layer3, whole.layer4
        skipped = 0 if params.finest_stride_px == 4 else 1
        width = whole.fc.in_features
        self.channels = (width // 8, width // 4, width // 2, width)[skipped:]
        self.strides = (4, 8, 16, 32)[skipped:]
        self._skipped = skipped
        block: Any
        for block in (b for stage in self.stages for b in stage):
            bottleneck = hasattr(block, "conv3")
            if params.stride_in_1x1 and bottleneck:
                block.conv1.stride, block.conv2.stride = block.conv2.stride, (1, 1)
            if params.norm != "trained":
                # A random start has no statistics to hold the sums of the residual branches down; files overwrite this.
                nn.init.constant_((block.bn3 if bottleneck else block.bn2).weight, 0.5)
        frozen = 0 if params.weights is None else params.frozen_stages
        self._frozen = ((self.conv1, self.bn1), *((stage,) for stage in self.stages))[:frozen]
        for part in (p for parts in self._frozen for p in parts):
            part.requires_grad_(False)

    def train(self, mode: bool = True) -> ResNet:
        """Train or eval mode; what is frozen stays in eval mode, so that its statistics do not change either."""
        super().train(mode)
        for part in (p for parts in self._frozen for p in parts):
            part.eval()
        return self

    @property
    def stages(self) -> tuple[nn.Sequential, ...]:
        return self.layer1, self.layer2, self.layer3, self.layer4

    def forward(self, x: Tensor, sizes: Sequence[tuple[int, int]]) -> list[Tensor]:
        """Features of (B, 3, H, W), those of an image as if it were alone in its batch (learned statistics apart).

        As in the papers' code an image of B `sizes` (height, width) has a zero border up to multiples of 32 pixels, and
        the norms' shifts make something of it. What lies beyond, because other images are larger, is held at zero.
        """
        width, multiple = x.shape[-1], self.strides[-1]
        if isinstance(sizes, Tensor):
            canvas = -(-sizes // multiple) * multiple
        else:
            canvas = [(-(-h // multiple) * multiple, -(-w // multiple) * multiple) for h, w in sizes]
        limits = torch.as_tensor(canvas, device=x.device) if is_ragged(x, canvas) else None
        masks: dict[int, Tensor] = {}  # stride -> cells of the image and its border

        def held(y: Tensor) -> Tensor:
            if limits is None:
                return y
            stride = width // y.shape[-1]
            if stride not in masks:
                masks[stride] = valid_cells(y, limits, stride)
            return y * masks[stride]

        x, features = self.maxpool(held(F.relu(conv_norm(self.conv1, self.bn1, x), inplace=True))), []
        for stage in self.stages:
            for block in stage:
                x = _block(block, x, held)
            features.append(x)
        return features[self._skipped :]

    def load(self, source: str | None) -> None:
        """Weights from a file; None says in the log that the start is random. Raises BadInput if it does not fit."""
        name = self.params.name
        if source is None:
            log.line(f"{name} starts from RANDOM weights, nothing is frozen: `backbone.weights` is null")
            return
        path, expected = Path(source), self._expected()
        state = self._read_detectron(path, expected) if path.suffix == ".pkl" else weights.read(path, expected)
        if self.params.pixels.order == "bgr" and state.get("conv1.weight", Tensor()).ndim == 4:
            state["conv1.weight"] = state["conv1.weight"].flip(1)
        weights.fill(self, state, source, expected, spare=("fc.",))

    def _read_detectron(self, path: Path, expected: str) -> dict[str, Tensor]:
        found = detectron_names.arrays(weights.read_pickle(path, expected))
        if detectron_names.is_caffe2(found):
            self._check_input(path, detectron_names.has_statistics(found))
        return detectron_names.to_torchvision(found, FixedNorm.epsilon)

    def _check_input(self, path: Path, statistics: bool) -> None:
        """Weights under Caffe2's names were trained on one kind of input, which no error would otherwise betray."""
        grouped = self.params.name == "resnext101_32x8d"
        # The std is inside the first convolution's weights but for the ResNeXt of detectron2's model zoo.
        std = IMAGENET_STD_BGR if grouped and statistics else (1.0, 1.0, 1.0)
        needed = {"pixels.order": "bgr", "pixels.std": std, "stride_in_1x1": not grouped}
        given = {
            "pixels.order": self.params.pixels.order,
            "pixels.std": self.params.pixels.std,
            "stride_in_1x1": self.params.stride_in_1x1,
        }
        wrong = [
            f"`backbone.{k}` to {_shown(needed[k])} (is {_shown(given[k])})" for k in needed if given[k] != needed[k]
        ]
        if wrong:
            raise BadInput(f"{path}: these weights were trained with another input; set {', '.join(wrong)}")

    def _expected(self) -> str:
        torchvision, detectron = FILES[self.params.name]
        text = f"torchvision's ImageNet weights of {self.params.name} ({torchvision}, or the tensors as .safetensors"
        more = f") or {detectron} of the model zoo of detectron2 or Detectron" if detectron else ")"
        return f"{text}{more}; docs/weights.md says where to get them"


def _shown(value: Any) -> str:
    """A value as in a parameter file."""
    return str(list(value) if isinstance(value, tuple) else value).replace("True", "true").replace("False", "false")


def _block(block: Any, x: Tensor, held: Callable[[Tensor], Tensor]) -> Tensor:
    """A residual block (He 2015) of torchvision: two 3x3 convolutions, or 1x1, 3x3, 1x1. `held` makes zero what lies
    beyond the images, before each convolution that would see it."""
    bottleneck = hasattr(block, "conv3")
    y = F.relu(conv_norm(block.conv1, block.bn1, x if bottleneck else held(x)), inplace=True)
    y = conv_norm(block.conv2, block.bn2, held(y))
    if bottleneck:
        y = conv_norm(block.conv3, block.bn3, F.relu(y, inplace=True))
    skip = x if block.downsample is None else conv_norm(block.downsample[0], block.downsample[1], x)
    return F.relu(y.add_(skip), inplace=True)
