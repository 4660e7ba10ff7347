"""Which candidate box learns which truth box, and which candidates are background.

Shapes: R candidates (anchors or RoIs), N truth boxes, M ignore regions.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
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


def draw(
    matched: Sequence[Tensor],
    *,
    per_image: int,
    positive_fraction: float,
    seeds: Sequence[int | None] | None = None,
    stream: int = 0,
) -> list[tuple[Tensor, Tensor]]:
    """Per image the indices of the (positive, background) candidates in a random sample, rising.

    At most per_image * positive_fraction positives, background up to per_image in all. An image with a seed is drawn
    from (seed, `stream`), whatever else is in the batch; `stream` tells the draws of one image apart. An image without
    is drawn from torch's global generator, in the order torchvision draws.
    """
    drawn = []
    for one, seed in zip(matched, seeds or [None] * len(matched), strict=True):
        if seed is None:
            kinds = (one >= 0).long() - (one == UNUSED).long()  # 1 positive, 0 background, -1 never
            (positive,), (negative,) = BalancedPositiveNegativeSampler(per_image, positive_fraction)([kinds])
            drawn.append((torch.where(positive)[0], torch.where(negative)[0]))
            continue
        rng = np.random.default_rng([seed, stream])
        positive, negative = torch.where(one >= 0)[0], torch.where(one == BACKGROUND)[0]
        positive = _some(positive, int(per_image * positive_fraction), rng)
        drawn.append((positive, _some(negative, per_image - len(positive), rng)))
    return drawn


def _some(rows: Tensor, count: int, rng: np.random.Generator) -> Tensor:
    """`count` of the rows, or all: without a permutation of all of them, which would cost most of the draw."""
    if len(rows) <= count:
        return rows
    chosen = np.sort(rng.choice(len(rows), count, replace=False, shuffle=False))
    return rows[torch.from_numpy(chosen).to(rows.device)]
