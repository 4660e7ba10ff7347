"""Runs a stage with a detector of no cost in place of the one in its weights: what everything around it costs.

    python benchmarks/without_detector.py pseudo_label --index ... (the arguments of the stage)

It finds ten boxes in every image, whose scores follow from the mean of its pixels, and ignores the weights.
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from unittest import mock

import torch
from torch import Tensor, nn

from scantling import checkpoint, stage
from scantling.target import Detections

FOUND = 10


class Nothing(nn.Module):
    """The detector contract as far as labeling asks for it."""

    has_background = True

    def __init__(self, classes: Sequence[str]):
        super().__init__()
        self.classes = tuple(classes)
        generator = torch.Generator().manual_seed(0)
        corner = torch.rand((FOUND, 2), generator=generator) * 20
        self.register_buffer("boxes", torch.cat([corner, corner + 8], 1))
        self.register_buffer("share", torch.linspace(1.0, 0.5, FOUND))

    def features(self, images: Tensor, sizes: Sequence[tuple[int, int]]) -> list[Tensor]:
        return [images.float().mean((1, 2, 3)) / 255]

    def detect(self, features: list[Tensor], sizes: Sequence[tuple[int, int]], **asked: Any) -> list[Detections]:
        labels = torch.arange(FOUND) % len(self.classes)
        probabilities = torch.zeros((FOUND, len(self.classes)))
        return [Detections(self.boxes, self.share * score, labels, probabilities) for score in features[0]]


def load(path: Path, classes: Sequence[str]) -> tuple[nn.Module, dict[str, Any]]:
    return Nothing(classes), checkpoint.read_header(path)


if __name__ == "__main__":
    name = sys.argv[1]
    module = importlib.import_module(f"stages.{name}")
    target = module if hasattr(module, "load_weights") else checkpoint
    with mock.patch.object(target, "load_weights", load):
        stage.run(getattr(module, name), sys.argv[2:])
