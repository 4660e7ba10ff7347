"""Which candidate box learns which truth box, and which candidates are background.

Shapes: R candidates (anchors or RoIs), N truth boxes, M ignore regions.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torchvision.models.detection._utils import BalancedPositiveNegativeSampler
from torchvision.ops import box_iou

BACKGROUND = -1
UNUSED = -2  # neither: between the thresholds, or a background candidate on an ignore region


def assign(
    candidates: Tensor,
    boxes: Tensor,
    ignore: Tensor,
    *,
    positive_iou: float,
    negative_iou: float,
    low_quality_iou: float | None,
    ignore_iou: float,
) -> Tensor:
    """(R,) int64: index of the truth box that each candidate learns, or BACKGROUND, or UNUSED.

    A candidate takes the box of its highest IoU if that is >= positive_iou and is background if < negative_iou.
    low_quality_iou: candidates with a box's own best IoU are positive too if it is > 0 and >= this; they keep the box
    of THEIR highest IoU (as in detectron2 and torchvision). None: no such rule.
    Background candidates with IoU >= ignore_iou with a region of `ignore` (M, 4) become UNUSED.
    """
    matched = torch.full((len(candidates),), BACKGROUND, dtype=torch.int64, device=candidates.device)
    if len(candidates) == 0:
        return matched
    if len(boxes):
        iou = box_iou(boxes, candidates)
        best, index = iou.max(dim=0)
        matched[best >= negative_iou] = UNUSED
        positive = best >= positive_iou
        if low_quality_iou is not None:
            own_best = iou.amax(dim=1, keepdim=True)
            # Without "> 0" a box that meets no candidate would make every candidate positive.
            positive |= ((iou == own_best) & (own_best > 0) & (own_best >= low_quality_iou)).any(dim=0)
        matched = torch.where(positive, index, matched)
    if len(ignore):
        covered = box_iou(ignore, candidates).amax(dim=0) >= ignore_iou
        matched[covered & (matched == BACKGROUND)] = UNUSED
    return matched


def draw(matched: list[Tensor], *, per_image: int, positive_fraction: float) -> list[tuple[Tensor, Tensor]]:
    """Per image the indices of the (positive, background) candidates in a random sample.

    At most per_image * positive_fraction positives, background up to per_image in all; from torch's global generator,
    in the order torchvision draws.
    """
    kinds = [(m >= 0).long() - (m == UNUSED).long() for m in matched]  # 1 positive, 0 background, -1 never
    positive, negative = BalancedPositiveNegativeSampler(per_image, positive_fraction)(kinds)
    return [(torch.where(p)[0], torch.where(n)[0]) for p, n in zip(positive, negative, strict=True)]
