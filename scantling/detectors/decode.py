"""From scores and boxes to detections."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torchvision.ops import batched_nms

from scantling.boxes import clip
from scantling.detectors.settings import DetectParams
from scantling.target import Detections


def select(
    boxes: Tensor,
    scores: Tensor,
    labels: Tensor,
    probabilities: Tensor,
    size: tuple[int, int] | None,
    rule: DetectParams,
) -> Detections:
    """NMS, then the best; boxes (N, 4), scores (N,), labels (N,), probabilities (N, C). `score_threshold` is not used.

    With a size (height, width) the surviving boxes are clipped to it, and those without area dropped.
    """
    kept = batched_nms(boxes, scores, labels if rule.class_wise_nms else torch.zeros_like(labels), rule.nms_iou)
    if size is not None:
        boxes = clip(boxes, size)
        kept = kept[has_area(boxes[kept])]
    kept = kept[: rule.limit]
    return Detections(boxes[kept], scores[kept], labels[kept], probabilities[kept])


def has_area(boxes: Tensor, least: float = 0.0) -> Tensor:
    """(N,) bool: width and height are > least."""
    return ((boxes[:, 2:] - boxes[:, :2]) > least).all(dim=1)


def best_pairs(
    ranks: Tensor, counts: Sequence[int], per_level: int, valid: Tensor | None = None
) -> tuple[Tensor, Tensor, Tensor]:
    """Of ranks (B, R, C) the best pairs (place, class) of each level: their ranks, places 0..R-1 and classes, (B, K).

    counts: places of each level, R in all. A level gives `per_level` pairs, at most as many as it has places (Co-mining
    section 4, Co-Student section 5). Only places with `valid` (B, R) count; pairs beyond have rank -inf.
    """
    found, start, classes = [], 0, ranks.shape[2]
    for level in ranks.split(list(counts), dim=1):
        inside = None if valid is None else valid[:, start : start + level.shape[1]]
        if inside is not None:
            level = level.masked_fill(~inside[..., None], -torch.inf)
        values, pairs = level.flatten(1).topk(min(per_level, level.shape[1]), dim=1)
        if inside is not None:
            beyond = torch.arange(values.shape[1], device=values.device) >= inside.sum(dim=1, keepdim=True)
            values = values.masked_fill(beyond, -torch.inf)
        found.append((values, pairs // classes + start, pairs % classes))
        start += level.shape[1]
    values, rows, labels = (torch.cat(column, dim=1) for column in zip(*found, strict=True))
    return values, rows, labels
