"""FCOS (Tian 2019), built from torchvision's heads; settings and formulas as in Co-Student's reference.

Differences to torchvision's own model: a learned scale per level, the box loss weighted by centerness, size ranges,
offsets and thresholds as parameters, per-box weights and visibility, ignore regions, losses in either mode.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise
from typing import Literal

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional as F
from torchvision.models.detection._utils import BoxLinearCoder
from torchvision.models.detection.fcos import FCOSClassificationHead, FCOSRegressionHead
from torchvision.ops import box_area

from scantling.detectors.assign import BACKGROUND, UNUSED
from scantling.detectors.dense import DenseDetector, DenseHeadParams, Predictions, count_positives, positives
from scantling.detectors.losses import binary_loss, normalizer, overlap_losses
from scantling.detectors.padding import inside
from scantling.detectors.pyramid import Anchors
from scantling.detectors.settings import AnchorParams, DetectorParams
from scantling.detectors.towers import by_place, norm_of, run_tower
from scantling.params import ParamsError
from scantling.target import Target


class FcosHeadParams(DenseHeadParams):
    """The two towers, the assignment and the losses."""

    level_scales: bool  # distances of each level times a learned number
    distances_in_strides: bool  # the head predicts distances in strides of its level, else in pixels
    location_offset: float = Field(ge=0, lt=1)  # place of a cell's location, in strides from its upper left corner
    size_limits_px: list[float]  # between levels: a box belongs where its farthest side from the location fits
    center_radius: float = Field(ge=0)  # strides around a box's center in which locations learn it; 0 = the whole box
    box_loss: Literal["giou", "iou"]  # 1 - GIoU, or -log IoU
    centerness_weighs_box: bool  # box loss is a mean weighted by the centerness target, else a plain mean
    threshold_on: Literal["class", "score"]  # what detect() cuts and ranks by: class probability, or the final score


class FcosParams(DetectorParams):
    """Everything about an FCOS."""

    architecture: Literal["fcos"]
    head: FcosHeadParams


class Fcos(DenseDetector):
    """Fulfils `scantling.detectors.protocol.Detector`; the losses are class, box and centerness.

    `class` and `centerness` are divided by max(1, positive locations of the batch), `box` by the sum of the positives'
    centerness targets (or the same count). A place is the square of one stride around the location. `background_weight`
    is asked about the boxes that the background locations predict, since a location has no size of its own.
    """

    def __init__(self, params: FcosParams, classes: tuple[str, ...]):
        super().__init__(params, classes)
        self.head = p = params.head
        if len(p.size_limits_px) != len(self.strides) - 1 or sorted(set(p.size_limits_px)) != p.size_limits_px:
            raise ParamsError(
                f"`head.size_limits_px` = {p.size_limits_px}: give {len(self.strides) - 1} growing sizes, one between "
                f"each two of the pyramid's levels (strides {', '.join(map(str, self.strides))})"
            )
        self.ranges = list(pairwise([-1.0, *p.size_limits_px, math.inf]))  # pixels, of each level, both ends inclusive
        squares = [[float(s)] for s in self.strides]
        self.anchors = Anchors(
            AnchorParams(sizes_px=squares, ratios=[1.0], rounded=False, center_offset=p.location_offset), self.strides
        )
        channels = params.neck.channels
        norm = norm_of(p.norm_groups, channels) or nn.Identity
        self.class_head = FCOSClassificationHead(channels, 1, len(self.classes), p.tower_depth, p.prior, norm)
        self.box_head = FCOSRegressionHead(channels, 1, p.tower_depth, norm)
        self.scales = nn.Parameter(torch.ones(len(self.strides)), requires_grad=p.level_scales)
        self.coder = BoxLinearCoder(normalize_by_size=p.distances_in_strides)
        self.threshold_on_score = p.threshold_on == "score"
        self.center_radius, self.weighted = p.center_radius, p.centerness_weighs_box
        self.overlap: Literal["giou", "iou"] = p.box_loss

    def predict(self, features: list[Tensor], sizes: Sequence[tuple[int, int]]) -> Predictions:
        """Class and centerness logits, and the distances left, top, right, bottom of every location."""
        masks = inside(features, sizes, self.strides)
        logits, distances, centerness = [], [], []
        for i, x in enumerate(features):
            valid = None if masks is None else masks[i]
            hidden = run_tower(self.class_head.conv, x, valid)
            logits.append(by_place(self.class_head.cls_logits(hidden), len(self.classes)))
            hidden = run_tower(self.box_head.conv, x, valid)
            distances.append(F.relu(self.scales[i] * by_place(self.box_head.bbox_reg(hidden), 4)))
            centerness.append(by_place(self.box_head.bbox_ctrness(hidden), 1)[..., 0])
        return Predictions(
            torch.cat(logits, dim=1),
            torch.cat(distances, dim=1),
            torch.cat(self.anchors.per_level(features)),
            [level.shape[1] for level in logits],
            torch.cat(centerness, dim=1),
            self.valid_anchors(masks),
        )

    def decode(self, raw: Tensor, places: Tensor) -> Tensor:
        return self.coder.decode(raw, places)

    def candidate_boxes(self, found: Predictions, image: int, rows: Tensor) -> Tensor:
        return self.decode(found.raw[image, rows], found.places[rows])

    def assign(self, found: Predictions, targets: Sequence[Target], seen: Sequence[Tensor]) -> list[Tensor]:
        """A location learns the smallest box in whose center it lies and whose size fits its level (Co-Student section
        8). Background locations in an ignore region whose size fits their level are left out; with
        `background_from_iou` (see `Target`) also those outside every box grown until its IoU with itself is that."""
        ranges = torch.cat(
            [found.places.new_tensor(r).expand(n, 2) for r, n in zip(self.ranges, found.counts, strict=True)]
        )
        rows = []
        for i, (target, mask) in enumerate(zip(targets, seen, strict=True)):
            fits = fitting(found.places, target.boxes, ranges, self.center_radius) & mask
            area = torch.where(fits, box_area(target.boxes), math.inf)
            matched = torch.full_like(found.places[:, 0], BACKGROUND, dtype=torch.int64)
            if len(target):
                matched = torch.where(fits.any(dim=1), area.argmin(dim=1), matched)
                if target.background_from_iou:
                    far = ~near(found.places, target.boxes[mask], target.background_from_iou)
                    matched[far & (matched == BACKGROUND)] = UNUSED
            if len(target.ignore):
                ignored = fitting(found.places, target.ignore, ranges, 0).any(dim=1)
                matched[ignored & (matched == BACKGROUND)] = UNUSED
            if found.valid is not None:
                matched[~found.valid[i]] = UNUSED
            rows.append(matched)
        return rows

    def box_losses(self, found: Predictions, matched: Sequence[Tensor], targets: Sequence[Target]) -> dict[str, Tensor]:
        """box: overlap loss of the positives' boxes; centerness: binary cross-entropy of theirs."""
        image, place, boxes, weights = positives(matched, targets)
        count = count_positives(matched)
        wanted = centerness_of(found.places[place], boxes)
        losses = overlap_losses(self.decode(found.raw[image, place], found.places[place]), boxes, self.overlap)
        if self.weighted:
            box = (losses * weights * wanted).sum() / normalizer(wanted.sum(), losses, least=1e-6)
        else:
            box = (losses * weights).sum() / normalizer(count, losses)
        assert found.quality is not None
        return {"box": box, "centerness": binary_loss(found.quality[image, place], wanted, weights, count=count)}


def fitting(places: Tensor, boxes: Tensor, ranges: Tensor, radius: float) -> Tensor:
    """(R, N) bool: a location lies inside the center of a box, strictly, and the box fits its level.

    places (R, 4) squares of one stride around the locations; boxes (N, 4); ranges (R, 2): least and largest distance
    to the farthest side, both inclusive; radius: strides around the center, 0 = the whole box.
    """
    location, stride = middle(places)[:, None], places[:, 2:3] - places[:, :1]
    sides = distances(location, boxes)
    inner = sides.amin(dim=2) > 0
    if radius:
        inner &= (location - middle(boxes)).abs().amax(dim=2) < radius * stride
    farthest = sides.amax(dim=2)
    return inner & (farthest >= ranges[:, :1]) & (farthest <= ranges[:, 1:])


def near(places: Tensor, boxes: Tensor, iou: float) -> Tensor:
    """(R,) bool: a location lies in a box (N, 4) grown about its center to 1 / iou of its area; without box all do."""
    if not len(boxes):
        return torch.ones(len(places), dtype=torch.bool, device=places.device)
    half = (boxes[:, 2:] - boxes[:, :2]) / 2 * iou**-0.5
    return ((middle(places)[:, None] - middle(boxes)).abs() < half).all(dim=2).any(dim=1)


def centerness_of(places: Tensor, boxes: Tensor) -> Tensor:
    """(P,) sqrt(min(l, r) / max(l, r) * min(t, b) / max(t, b)) of locations inside their boxes (Tian 2019, eq. 3)."""
    opposite = distances(middle(places), boxes).unflatten(1, (2, 2))  # (P, near or far side, axis)
    return (opposite.amin(dim=1) / opposite.amax(dim=1)).prod(dim=1).sqrt()


def distances(locations: Tensor, boxes: Tensor) -> Tensor:
    """(..., 4) left, top, right, bottom: from locations (..., 2) to the sides of boxes (..., 4), > 0 inside."""
    return torch.cat([locations - boxes[..., :2], boxes[..., 2:] - locations], dim=-1)


def middle(boxes: Tensor) -> Tensor:
    """(N, 2) centers of (N, 4) boxes."""
    return (boxes[:, :2] + boxes[:, 2:]) / 2
