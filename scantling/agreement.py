"""How far several sightings of one object agree about its box, where no head refines given boxes (single-stage).

Soft Teacher's specification, section 13.2: `cluster` and `tta` stand for the jitter of section 6. Shapes: N detections
of an image, M sightings.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from scantling import boxes as box_ops
from scantling.target import Batch, Detections

CLUSTER_IOU = 0.6  # of a detection and a box before NMS that belongs to it; section 13.2
LEAST = 3  # sightings; section 13.2
EVERYTHING = 10_000  # boxes an image, more than a detector offers before NMS
SCALES = (0.8, 1.2)  # of the image; section 13.2
SEEN_AGAIN_IOU = 0.5  # of a detection and the same object's in another pass; ours


def member_spread(members: Tensor, boxes: Tensor) -> Tensor:
    """(N,) mean over the sides of the sample standard deviation of each detection's members, over their mean box.

    members (N, M) bool, boxes (M, 4). Normalized as the jitter's (section 6.6); infinite with fewer than LEAST members.
    """
    share, double = members.double(), boxes.double()
    count = share.sum(1, keepdim=True)
    mean = share @ double / count.clamp(min=1)
    squares = (share @ double**2 - count * mean**2).clamp(min=0)  # in float64: no memory of N x M boxes
    deviation = (squares / (count - 1).clamp(min=1)).sqrt()
    width, height = (side.clamp(min=1) for side in box_ops.sides(mean))
    spread = (deviation / torch.stack([width, height, width, height], 1)).mean(1)
    return torch.where(count[:, 0] >= LEAST, spread, torch.inf).to(boxes.dtype)


def cluster_spread(
    teacher: nn.Module,
    features: list[Tensor],
    found: Sequence[Detections],
    sizes: Sequence[tuple[int, int]],
    *,
    score_floor: float,
    score_above: float,
) -> list[Tensor]:
    """(N,) spread of the boxes before NMS around each detection, of its class and scoring above `score_floor`.

    NaN for detections that score `score_above` or less.
    """
    every = teacher.detect(features, sizes, score_threshold=score_floor, nms_iou=1.0, limit=EVERYTHING, labeling=True)
    spreads = []
    for one, all_ in zip(found, every, strict=True):
        which = one.scores > score_above
        members = one.labels[which][:, None] == all_.labels
        members &= box_ops.iou(one.boxes[which], all_.boxes) >= CLUSTER_IOU
        spreads.append(_spread_at(which, member_spread(members, all_.boxes)))
    return spreads


@torch.no_grad()
def tta_spread(
    teacher: nn.Module,
    view: Batch,
    found: Sequence[Detections],
    *,
    score_floor: float,
    nms_iou: float,
    limit: int,
    score_above: float,
) -> list[Tensor]:
    """(N,) spread of each detection over passes of the image as it is, flipped, smaller and larger; slow.

    NaN for detections that score `score_above` or less; infinite if fewer than LEAST passes see the object.
    """
    passes = [list(found)]
    for images, sizes, back in _changed(view):
        asked = {"score_threshold": score_floor, "nms_iou": nms_iou, "limit": limit, "labeling": True}
        again = teacher.detect(teacher.features(images, sizes), sizes, **asked)
        passes.append([Detections(back(d.boxes, i), d.scores, d.labels, d.probabilities) for i, d in enumerate(again)])
    spreads = []
    for one, *others in zip(*passes, strict=True):
        which = one.scores > score_above
        boxes, labels = one.boxes[which], one.labels[which]
        members, sightings = [torch.eye(len(boxes), dtype=torch.bool, device=boxes.device)], [boxes]
        for other in others:
            overlap = box_ops.iou(boxes, other.boxes) * (labels[:, None] == other.labels)
            best = overlap == overlap.amax(1, keepdim=True) if len(other.boxes) else overlap.bool()
            first = best & (best.cumsum(1) == 1)
            members.append(first & (overlap >= SEEN_AGAIN_IOU))
            sightings.append(other.boxes)
        spreads.append(_spread_at(which, member_spread(torch.cat(members, 1), torch.cat(sightings))))
    return spreads


def _spread_at(which: Tensor, values: Tensor) -> Tensor:
    spread = torch.full(which.shape, float("nan"), device=which.device)
    spread[which] = values.to(spread)
    return spread


def _changed(view: Batch) -> Iterator[tuple[Tensor, list[tuple[int, int]], Callable[[Tensor, int], Tensor]]]:
    """Images, their sizes, and a function that carries boxes of image i back: flipped, smaller, larger."""
    flipped = torch.zeros_like(view.images)
    for i, (height, width) in enumerate(view.sizes):
        flipped[i, :, :height, :width] = view.images[i, :, :height, :width].flip(2)

    def mirrored(boxes: Tensor, i: int) -> Tensor:
        width = view.sizes[i][1]
        return torch.stack([width - boxes[:, 2], boxes[:, 1], width - boxes[:, 0], boxes[:, 3]], 1)

    yield flipped, view.sizes, mirrored
    for scale in SCALES:
        images = F.interpolate(view.images.float(), scale_factor=scale, mode="bilinear", antialias=scale < 1)
        sizes = [(round(h * scale), round(w * scale)) for h, w in view.sizes]
        yield images, sizes, lambda boxes, i, scale=scale: boxes / scale
