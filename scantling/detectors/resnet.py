"""torchvision's ResNet-18 and ResNet-50 as feature extractors with frozen batch norm."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from torch import Tensor, nn
from torchvision.models import resnet18, resnet50
from torchvision.ops import FrozenBatchNorm2d

from scantling import log
from scantling.detectors import weights

KINDS: dict[str, Callable[..., Any]] = {"resnet18": resnet18, "resnet50": resnet50}


class ResNet(nn.Module):
    """(B, 3, H, W) normalized RGB, H and W multiples of 32 -> features at strides (4,) 8, 16, 32.

    The stride of a bottleneck is in its 3x3 convolution (torchvision), not in the first 1x1 (caffe, the papers).
    """

    mean = (123.675, 116.28, 103.53)  # ImageNet, pixels 0..255
    std = (58.395, 57.12, 57.375)

    def __init__(self, name: str, *, frozen_stages: int, finest_stride: int):
        super().__init__()
        self.name = name
        whole = KINDS[name](weights=None, norm_layer=FrozenBatchNorm2d)
        self.conv1, self.bn1, self.relu, self.maxpool = whole.conv1, whole.bn1, whole.relu, whole.maxpool
        self.layer1, self.layer2, self.layer3, self.layer4 = whole.layer1, whole.layer2, whole.layer3, whole.layer4
        skipped = 0 if finest_stride == 4 else 1
        width = whole.fc.in_features
        self.channels = (width // 8, width // 4, width // 2, width)[skipped:]
        self.strides = (4, 8, 16, 32)[skipped:]
        self._skipped = skipped
        for block in (b for stage in self.stages for b in stage):
            # A random start has no statistics to hold the sums of the residual branches down; files overwrite this.
            nn.init.constant_(getattr(block, "bn3" if name == "resnet50" else "bn2").weight, 0.5)
        for part in (self.conv1, *self.stages)[:frozen_stages]:
            part.requires_grad_(False)

    @property
    def stages(self) -> tuple[nn.Sequential, ...]:
        return self.layer1, self.layer2, self.layer3, self.layer4

    def forward(self, x: Tensor, sizes: Sequence[tuple[int, int]]) -> list[Tensor]:
        """Features of (B, 3, H, W). `sizes` is not used: padding is zero at the input only, as in the papers' code."""
        x, features = self.maxpool(self.relu(self.bn1(self.conv1(x)))), []
        for stage in self.stages:
            x = stage(x)
            features.append(x)
        return features[self._skipped :]

    def load(self, source: str | None) -> None:
        """Weights from a file; None says in the log that the start is random."""
        if source is None:
            log.line(f"{self.name} starts from RANDOM weights, nothing is frozen: `backbone.weights` is null")
            return
        expected = (
            f"torchvision's ImageNet checkpoint of {self.name} (.pth) or the same tensors as .safetensors; "
            f"fetch it from the address in torchvision.models.{self.name.replace('resnet', 'ResNet')}_Weights"
        )
        weights.fill(self, weights.read(Path(source), expected), source, expected, spare=("fc.",))
