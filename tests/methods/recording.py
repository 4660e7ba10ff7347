"""A detector that notes what it is asked and answers with given boxes, to test a method's step by itself."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from scantling.target import Batch, Detections, Target

TERMS = ("rpn_class", "rpn_box", "class", "box")


class Recorder(nn.Module):
    """`answers`: image id -> detections (boxes, labels, scores). `calls`: (what, image ids, boxes of each target)."""

    has_background = True
    classes = ("a", "b", "c", "d", "e", "f")

    def __init__(self, answers: dict[int, tuple[Tensor, Tensor, Tensor]] | None = None):
        super().__init__()
        self.answers, self.calls = answers or {}, []
        self.terms: list[dict[str, Tensor]] = []

    def features(self, images: Tensor, sizes: Sequence[tuple[int, int]]) -> list[Tensor]:
        return [images.float()]

    def losses(self, features: list[Tensor], targets: Sequence[Target], sizes: object, **options: object):
        self.calls.append(("losses", ids(features[0]), [len(t) for t in targets]))
        self.terms.append({name: torch.ones((), requires_grad=True) for name in TERMS})
        return dict(self.terms[-1])

    def detect(self, features: list[Tensor], sizes: object, *, score_threshold: float, **options: object):
        self.calls.append(("detect", ids(features[0]), []))
        found = []
        for image in ids(features[0]):
            nothing = torch.zeros((0, 4)), torch.zeros(0, dtype=torch.int64), torch.zeros(0)
            boxes, labels, scores = self.answers.get(image, nothing)
            kept = scores > score_threshold
            shares = torch.zeros((int(kept.sum()), len(self.classes)))
            found.append(Detections(boxes[kept], scores[kept], labels[kept], shares))
        return found


def ids(images: Tensor) -> list[int]:
    """The image ids, which `view` paints as gray levels."""
    return [int(i) for i in images[:, 0, 0, 0]]


def view(image_ids: Sequence[int], boxes: int = 0, size: tuple[int, int] = (64, 64)) -> Batch:
    """A batch whose images are painted with their ids, each with `boxes` boxes."""
    images = torch.stack([torch.full((3, *size), i, dtype=torch.uint8) for i in image_ids])
    corners = torch.tensor([[4.0, 4, 20, 20]]).repeat(boxes, 1)
    targets = [Target.of(corners, torch.zeros(boxes, dtype=torch.int64)) for _ in image_ids]
    matrices = torch.eye(3, dtype=torch.float64).repeat(len(image_ids), 1, 1)
    return Batch(images, [size] * len(image_ids), targets, matrices, list(image_ids))
