"""From scores and boxes to detections."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torchvision.models.detection._utils import BoxCoder
from torchvision.ops import batched_nms, clip_boxes_to_image

from scantling.target import Detections


def select(
    boxes: Tensor,
    scores: Tensor,
    labels: Tensor,
    probabilities: Tensor,
    size: tuple[int, int] | None,
    *,
    nms_iou: float,
    limit: int,
) -> Detections:
    """Class-wise NMS, then at most `limit` best; boxes (N, 4), scores (N,), labels (N,), probabilities (N, C).

    With a size (height, width) the surviving boxes are clipped to it, and those without area dropped.
    """
    kept = batched_nms(boxes, scores, labels, nms_iou)
    if size is not None:
        boxes = clip_boxes_to_image(boxes, size)
        kept = kept[has_area(boxes[kept])]
    kept = kept[:limit]
    return Detections(boxes[kept], scores[kept], labels[kept], probabilities[kept])


def has_area(boxes: Tensor) -> Tensor:
    """(N,) bool: width and height are > 0."""
    return (boxes[:, 2] > boxes[:, 0]) & (boxes[:, 3] > boxes[:, 1])


def candidates(
    logits: Sequence[Tensor],
    deltas: Sequence[Tensor],
    anchors: Sequence[Tensor],
    coder: BoxCoder,
    *,
    score_threshold: float,
    per_level: int,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Single-stage outputs of one image before NMS: boxes (N, 4) NOT clipped, scores (N,), labels (N,), probabilities
    (N, C) of the anchor.

    Per level logits (R, C), deltas (R, 4), anchors (R, 4). Per level the best `per_level` pairs (anchor, class), at
    most as many as the level has anchors, are kept if their sigmoid score is > score_threshold (Co-mining section 4).
    """
    found = []
    for level_logits, level_deltas, level_anchors in zip(logits, deltas, anchors, strict=True):
        p = level_logits.sigmoid()
        scores, pairs = p.flatten().topk(min(per_level, len(p)))
        passed = scores > score_threshold
        scores, pairs = scores[passed], pairs[passed]
        rows, labels = pairs // p.shape[1], pairs % p.shape[1]
        found.append((coder.decode_single(level_deltas[rows], level_anchors[rows]), scores, labels, p[rows]))
    boxes, scores, labels, probabilities = (torch.cat(column) for column in zip(*found, strict=True))
    return boxes, scores, labels, probabilities
