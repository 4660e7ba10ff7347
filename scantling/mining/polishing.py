"""Two small networks that correct a teacher's boxes and classes (Polishing Teacher, arXiv 2207.08185, as released).

Both look at the teacher's pyramid through RoIAlign and learn from displaced copies of labeled boxes. Class index C is
background. Shapes: N boxes, G truth boxes, C classes, S = 7 slots (a box and its six variants), F channels, K cells.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torchvision.models.detection._utils import BoxCoder
from torchvision.ops import generalized_box_iou_loss

from scantling import boxes as box_ops

SLOTS = 7
MAX_LOG_RATIO = abs(math.log(16 / 1000))  # limit of the size deltas, as in mmdetection's coder


def variants(boxes: Tensor, fraction: float) -> Tensor:
    """(7, N, 4): the boxes, shifted to the four diagonals by `fraction` of their sides, grown by it and by twice it.

    Sides below one pixel count as one; nothing is clipped. Section 2.1.
    """
    width, height = (side.clamp(min=1) for side in box_ops.sides(boxes))
    dx, dy = fraction * width, fraction * height
    moves = [
        torch.zeros_like(boxes),
        torch.stack([-dx, -dy, -dx, -dy], 1),
        torch.stack([dx, -dy, dx, -dy], 1),
        torch.stack([-dx, dy, -dx, dy], 1),
        torch.stack([dx, dy, dx, dy], 1),
        torch.stack([-dx, -dy, dx, dy], 1),
        2 * torch.stack([-dx, -dy, dx, dy], 1),
    ]
    return boxes + torch.stack(moves)


class BoxNetwork(nn.Module):
    """Deltas (N, 4) of a better box from the pooled features (N, 7, F, K, K) of a box and its variants. Section 2.2."""

    def __init__(self, channels: int, cells: int, width: int):
        super().__init__()
        self.squeeze = nn.Conv2d(SLOTS * channels, channels, 1)
        self.layers = nn.Sequential(
            nn.Linear(channels * cells**2, width), nn.ReLU(), nn.Linear(width, width), nn.ReLU()
        )
        self.deltas = nn.Linear(width, 4)

    def forward(self, pooled: Tensor) -> Tensor:
        return self.deltas(self.layers(self.squeeze(pooled.flatten(1, 2)).relu().flatten(1)))


class ClassNetwork(nn.Module):
    """Class logits (N, C+1), background last, from the pooled features (N, F, K, K) of a box. Section 2.3."""

    def __init__(self, channels: int, cells: int, width: int, classes: int):
        super().__init__()
        # no activation after the second layer, as released
        self.layers = nn.Sequential(nn.Linear(channels * cells**2, width), nn.ReLU(), nn.Linear(width, width))
        self.logits = nn.Linear(width, classes + 1)

    def forward(self, pooled: Tensor) -> Tensor:
        return self.logits(self.layers(pooled.flatten(1)))


def decode(deltas: Tensor, boxes: Tensor, size: tuple[int, int]) -> Tensor:
    """(N, 4) boxes from deltas relative to `boxes`, standard deviations 1, clipped to (height, width). Section 2.2."""
    coder = BoxCoder((1.0, 1.0, 1.0, 1.0), bbox_xform_clip=MAX_LOG_RATIO)
    held = torch.cat([deltas[:, :2], deltas[:, 2:].clamp(min=-MAX_LOG_RATIO)], 1)  # torchvision holds the upper side
    return box_ops.clip(coder.decode_single(held, boxes).reshape(-1, 4), size)


def displaced(truth: Tensor, noises: list[tuple[Tensor, float]], others: Tensor | None = None) -> Tensor:
    """Training boxes: displaced copies of the truth for each (noise (T, G, 4), fraction), `others`, then the truth.

    Order: copy 0 of every truth box, copy 1, ...; boxes without area are dropped. Sections 3.1 to 3.3.
    """
    parts = [box_ops.jitter(truth, noise, fraction).reshape(-1, 4) for noise, fraction in noises]
    boxes = torch.cat([*parts, *([] if others is None else [others]), truth])
    return boxes[box_ops.has_area(boxes)]


def box_targets(boxes: Tensor, truth: Tensor) -> Tensor:
    """(N, 4) the truth box that each box overlaps most, the first one where it overlaps none. Section 3.2."""
    return truth[box_ops.iou(truth, boxes).argmax(0)] if len(truth) else truth.new_zeros((len(boxes), 4))


def class_targets(boxes: Tensor, truth: Tensor, labels: Tensor, *, classes: int, positive_iou: float) -> Tensor:
    """(N,) class of the truth box each box overlaps most, if by `positive_iou` or more, else `classes`. Section 3.3."""
    if not len(truth):
        return labels.new_full((len(boxes),), classes)
    best, row = box_ops.iou(truth, boxes).max(0)
    return torch.where(best >= positive_iou, labels[row], labels.new_full((), classes))


def box_network_loss(decoded: Tensor, wanted: Tensor) -> Tensor:
    """Mean GIoU loss over (N, 4) boxes; 0 where there is none."""
    return generalized_box_iou_loss(decoded, wanted, reduction="sum", eps=1e-6) / max(len(decoded), 1)


def polished_sets(
    scores: Tensor, labels: Tensor, probabilities: Tensor, *, trust_polished: float, trust_teacher: float
) -> tuple[Tensor, Tensor]:
    """(N,) bool, which boxes the class losses learn, and (N,) the labels they learn there. Section 4.

    probabilities (N, C+1) of the class network. Kept is what it calls some class with `trust_polished` or more, or what
    the teacher scores above `trust_teacher` (strict); the network's class is taken where it is trusted and the teacher
    is below that. The box loss learns every polished box with the teacher's label.
    """
    return trusted_sets(
        scores,
        labels,
        *probabilities[:, :-1].max(1),
        trust_polished=trust_polished,
        trust_teacher=trust_teacher,
    )


def trusted_sets(
    scores: Tensor,
    labels: Tensor,
    confidence: Tensor,
    polished: Tensor,
    *,
    trust_polished: float,
    trust_teacher: float,
) -> tuple[Tensor, Tensor]:
    """`polished_sets` from the class network's best class (N,), `polished`, and how sure it is of it (N,)."""
    trusted = confidence >= trust_polished
    kept = trusted | (scores > trust_teacher)
    return kept, torch.where(trusted & (scores < trust_teacher), polished, labels)
