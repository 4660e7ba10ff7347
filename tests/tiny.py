"""Detectors so small that a training step takes milliseconds: every architecture on a trunk of three convolutions."""

from __future__ import annotations

from collections.abc import Sequence
from unittest import mock

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from scantling import detectors
from scantling.detectors import pyramid
from tests import toy

ARCHITECTURES = sorted(detectors.ARCHITECTURES)
CLASSES = ("square", "bar")


class Trunk(nn.Module):
    """Features at strides 8, 16, 32, as the small backbone gives."""

    mean, std = (127.0,) * 3, (64.0,) * 3
    strides, channels = (8, 16, 32), (8, 8, 8)

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second, self.third = nn.Conv2d(3, 8, 8, 8), nn.Conv2d(8, 8, 2, 2), nn.Conv2d(8, 8, 2, 2)

    def forward(self, x: Tensor, sizes: Sequence[tuple[int, int]]) -> list[Tensor]:
        found = []
        for layer in (self.first, self.second, self.third):
            x = F.relu(layer(x))
            found.append(x)
        return found


def params(architecture: str) -> detectors.DetectorParams:
    """The committed small parameter file of an architecture, with fewer and narrower layers."""
    content = toy.detector_params(f"{architecture}_lite").resolved()
    content["neck"]["channels"] = 32
    if "roi" in content:
        content["roi"]["width"] = 16
    if "head" in content:
        content["head"]["tower_depth"] = 1
    return detectors.DetectorParams.of(content, architecture)


def detector(architecture: str, classes: tuple[str, ...] = CLASSES, seed: int = 0) -> nn.Module:
    torch.manual_seed(seed)
    with mock.patch.object(pyramid, "build_backbone", lambda params: Trunk()):
        return detectors.build(params(architecture), classes, pretrained=False)
