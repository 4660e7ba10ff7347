"""Which candidate box learns which truth box, and which candidates are background.

Shapes: R candidates (anchors or RoIs), N truth boxes, M ignore regions.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torchvision.models.detection._utils import BalancedPositiveNegativeSampler
from torchvision.ops import box_iou

from scantling.target import Target

BACKGROUND = -1
UNUSED = -2  # neither: between the thresholds, a background candidate on an ignore region, or not to be used at all


@dataclass(frozen=True)
class Rule:
    """How IoU decides.

    positive_iou, negative_iou  a candidate takes the box of its highest IoU if that is >= the first and is background
                                if it is < the second
    low_quality_iou             candidates with a box's own best IoU are positive too if it is > 0 and >= this; None:
                                no such rule
    own_box                     such a candidate learns the box whose best one it is, the last if there are several
                                (mmdetection), else the box of ITS highest IoU (detectron2, torchvision)
    ignore_iou                  background candidates with at least this IoU with an ignore region are left out
    """

    positive_iou: float
    negative_iou: float
    ignore_iou: float
    low_quality_iou: float | None = None
    own_box: bool = False


def assign(candidates: Tensor, boxes: Tensor, ignore: Tensor, rule: Rule, background_from_iou: float = 0.0) -> Tensor:
    """(R,) int64: index of the truth box that each candidate learns, or BACKGROUND, or UNUSED.

    background_from_iou: IoU with some box that background needs, 0 = none (see `Target`).
    """
    matched = torch.full((len(candidates),), BACKGROUND, dtype=torch.int64, device=candidates.device)
    if len(candidates) == 0:
        return matched
    if len(boxes):
        iou = box_iou(boxes, candidates)
        best, index = iou.max(dim=0)
        matched[(best >= rule.negative_iou) | (best < background_from_iou)] = UNUSED
        positive = best >= rule.positive_iou
        if rule.low_quality_iou is not None:
            own_best = iou.amax(dim=1, keepdim=True)
            # Without "> 0" a box that meets no candidate would make every candidate positive.
            claims = (iou == own_best) & (own_best > 0) & (own_best >= rule.low_quality_iou)
            claimed = claims.any(dim=0)
            if rule.own_box:
                last = len(boxes) - 1 - claims.flip(0).int().argmax(dim=0)
                index = torch.where(claimed, last, index)
            positive |= claimed
        matched = torch.where(positive, index, matched)
    if len(ignore):
        covered = box_iou(ignore, candidates).amax(dim=0) >= rule.ignore_iou
        matched[covered & (matched == BACKGROUND)] = UNUSED
    return matched


def assign_images(
    candidates: Sequence[Tensor],
    targets: Sequence[Target],
    seen: Sequence[Tensor],
    rule: Rule,
    usable: Sequence[Tensor] | Tensor | None = None,
) -> list[Tensor]:
    """Per image `assign` of its candidates (R, 4), as index into ALL boxes of its target.

    seen (N,) bool: the boxes that take part. usable (R,) bool: the candidates that do; the others become UNUSED.
    """
    found = []
    for i, (places, target, mask) in enumerate(zip(candidates, targets, seen, strict=True)):
        rows = torch.arange(len(places), device=places.device) if usable is None else torch.where(usable[i])[0]
        part = assign(places[rows], target.boxes[mask], target.ignore, rule, target.background_from_iou)
        positive = part >= 0
        part[positive] = torch.where(mask)[0][part[positive]]
        found.append(torch.full((len(places),), UNUSED, device=places.device).index_copy(0, rows, part))
    return found


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
