"""RetinaNet (Lin 2017), built from torchvision's parts; settings and formulas as in Co-mining's reference.

Differences to torchvision's own model: losses normalized over the batch (not per image), per-box weights and
visibility, ignore regions, losses in either mode, and every constant is a parameter.

Shapes: B images, R anchors of an image (all levels), N boxes, C classes.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import torch
from pydantic import Field
from torch import Tensor, nn
from torchvision.models.detection._utils import BoxCoder
from torchvision.models.detection.retinanet import RetinaNetClassificationHead, RetinaNetRegressionHead
from torchvision.ops import box_iou, clip_boxes_to_image

from scantling.detectors.assign import BACKGROUND, assign
from scantling.detectors.decode import candidates, select
from scantling.detectors.losses import box_loss, focal_loss, normalizer
from scantling.detectors.protocol import BackgroundWeight
from scantling.detectors.pyramid import PyramidDetector
from scantling.detectors.settings import AnchorParams, DetectorParams
from scantling.params import Params
from scantling.target import Detections, Target

BOXES_AT_ONCE = 64  # given boxes compared with all predictions at a time, which bounds the memory of score()


class RetinaHeadParams(Params):
    """The two towers, the assignment and the losses."""

    tower_depth: int = Field(ge=1, le=4)  # 3x3 convolutions before the last one, in each tower
    prior: float = Field(gt=0, lt=1)  # class probability that the untrained head gives everywhere
    positive_iou: float = Field(gt=0, le=1)
    negative_iou: float = Field(gt=0, le=1)
    low_quality_iou: float = Field(ge=0, le=1)  # a box's best anchor is positive from this IoU on
    coder_weights: tuple[float, float, float, float]  # 1 / standard deviations of the deltas x, y, w, h
    focal_alpha: float = Field(ge=0, le=1)  # share of the positive term
    focal_gamma: float = Field(ge=0)
    smooth_l1_beta: float = Field(ge=0)  # in units of the deltas; 0 = L1
    candidates_per_level: int = Field(ge=1)  # pairs (anchor, class) before NMS


class RetinaNetParams(DetectorParams):
    """Everything about a RetinaNet."""

    architecture: Literal["retinanet"]
    anchors: AnchorParams
    head: RetinaHeadParams
    ignore_iou: float = Field(gt=0, le=1)  # background anchors from this IoU with an ignore region on are left out


class RetinaNet(PyramidDetector):
    """Fulfils `scantling.detectors.protocol.Detector`; the losses are class and box.

    There is no proposal stage, so `for_objectness` is not used. Both losses are divided by max(1, positive anchors of
    the batch); if `for_class` and `for_box` differ anywhere, each has an assignment and a count of its own.
    `background=False`: the image's negative anchors are not used.
    """

    has_background = False

    def __init__(self, params: RetinaNetParams, classes: tuple[str, ...]):
        super().__init__(params, params.anchors, classes)
        self.rule, self.ignore_iou = params.head, params.ignore_iou
        channels, per_cell = params.neck.channels, self.anchors.num_anchors_per_location()[0]
        self.class_head = RetinaNetClassificationHead(channels, per_cell, len(self.classes), self.rule.prior)
        self.box_head = RetinaNetRegressionHead(channels, per_cell)
        for tower in (self.class_head, self.box_head):
            tower.conv = nn.Sequential(*list(tower.conv)[: self.rule.tower_depth])
        self.coder = BoxCoder(self.rule.coder_weights)

    def losses(
        self,
        features: list[Tensor],
        targets: Sequence[Target],
        sizes: Sequence[tuple[int, int]],
        background_weight: BackgroundWeight | None = None,
    ) -> dict[str, Tensor]:
        """See the protocol. `background_weight` is asked for all background anchors of an image; its factors multiply
        the negative term of every class."""
        logits, deltas = self._predict(features)
        anchors = torch.cat(self.anchors.per_level(features))
        matched = self.assign(anchors, targets, [t.for_class for t in targets])
        class_loss = self.class_loss(logits, anchors, matched, targets, background_weight)
        if any(not torch.equal(t.for_class, t.for_box) for t in targets):
            matched = self.assign(anchors, targets, [t.for_box for t in targets])
        return {"class": class_loss, "box": self.box_loss(deltas, anchors, matched, targets)}

    @torch.no_grad()
    def detect(
        self,
        features: list[Tensor],
        sizes: Sequence[tuple[int, int]],
        *,
        score_threshold: float = 0.05,
        nms_iou: float = 0.5,
        limit: int = 100,
    ) -> list[Detections]:
        """See the protocol. NMS sees the unclipped boxes (Co-mining section 10); without gradient."""
        logits, deltas = self._predict(features)
        anchors = self.anchors.per_level(features)
        counts = [len(a) for a in anchors]
        found = []
        for image_logits, image_deltas, size in zip(logits, deltas, sizes, strict=True):
            boxes, scores, labels, probabilities = candidates(
                image_logits.split(counts),
                image_deltas.split(counts),
                anchors,
                self.coder,
                score_threshold=score_threshold,
                per_level=self.rule.candidates_per_level,
            )
            found.append(select(boxes, scores, labels, probabilities, size, nms_iou=nms_iou, limit=limit))
        return found

    def score(
        self, features: list[Tensor], boxes: Sequence[Tensor], sizes: Sequence[tuple[int, int]]
    ) -> list[tuple[Tensor, Tensor]]:
        """See the protocol. A single stage has no head for given boxes: a box gets the class probabilities and the
        clipped box (repeated for each class) of the prediction with the highest IoU to it. A detection so gets its own
        values again. A box that meets no prediction gets zeros and itself."""
        logits, deltas = self._predict(features)
        anchors = torch.cat(self.anchors.per_level(features))
        return [
            self._nearest(image_logits, image_deltas, anchors, given.detach().float().reshape(-1, 4), size)
            for image_logits, image_deltas, given, size in zip(logits, deltas, boxes, sizes, strict=True)
        ]

    def assign(self, anchors: Tensor, targets: Sequence[Target], seen: Sequence[Tensor]) -> list[Tensor]:
        """Per image (R,) int64 index into ALL boxes of the target, assign.BACKGROUND or assign.UNUSED.

        seen (N,) bool: the boxes that take part.
        """
        found = []
        for target, mask in zip(targets, seen, strict=True):
            matched = assign(
                anchors,
                target.boxes[mask],
                target.ignore,
                positive_iou=self.rule.positive_iou,
                negative_iou=self.rule.negative_iou,
                low_quality_iou=self.rule.low_quality_iou,
                ignore_iou=self.ignore_iou,
            )
            positive = matched >= 0
            matched[positive] = torch.where(mask)[0][matched[positive]]
            found.append(matched)
        return found

    def class_loss(
        self,
        logits: Tensor,
        anchors: Tensor,
        matched: Sequence[Tensor],
        targets: Sequence[Target],
        background_weight: BackgroundWeight | None = None,
    ) -> Tensor:
        """Scalar focal loss over all anchors that are not UNUSED, divided by max(1, positives); logits (B, R, C)."""
        labels, weights = [], []
        for i, (m, target) in enumerate(zip(matched, targets, strict=True)):
            positive, negative = m >= 0, m == BACKGROUND
            label = torch.full_like(m, len(self.classes))
            label[positive] = target.labels[m[positive]]
            weight = torch.zeros_like(m, dtype=logits.dtype)
            weight[positive] = target.weights[m[positive]].to(weight)
            if target.background:
                weight[negative] = 1.0
                if background_weight is not None:
                    with torch.no_grad():
                        weight[negative] = background_weight(i, anchors[negative]).to(weight)
            labels.append(label)
            weights.append(weight)
        total = focal_loss(
            logits.flatten(0, 1),
            torch.cat(labels),
            torch.cat(weights),
            alpha=self.rule.focal_alpha,
            gamma=self.rule.focal_gamma,
        )
        return total / normalizer(_positives(matched), total)

    def box_loss(self, deltas: Tensor, anchors: Tensor, matched: Sequence[Tensor], targets: Sequence[Target]) -> Tensor:
        """Scalar (smooth) L1 of the positives' deltas, divided by max(1, positives); deltas (B, R, 4)."""
        rows = [torch.where(m >= 0)[0] for m in matched]
        truth = [m[r] for m, r in zip(matched, rows, strict=True)]
        return box_loss(
            torch.cat([d[r] for d, r in zip(deltas, rows, strict=True)]),
            self.coder.encode_single(
                torch.cat([t.boxes[k] for t, k in zip(targets, truth, strict=True)]),
                torch.cat([anchors[r] for r in rows]),
            ),
            torch.cat([t.weights[k] for t, k in zip(targets, truth, strict=True)]),
            beta=self.rule.smooth_l1_beta,
            count=_positives(matched),
        )

    def _predict(self, features: list[Tensor]) -> tuple[Tensor, Tensor]:
        """Class logits (B, R, C) and deltas (B, R, 4), anchors in the order of `Anchors.per_level`."""
        return self.class_head(features).float(), self.box_head(features).float()

    def _nearest(
        self, logits: Tensor, deltas: Tensor, anchors: Tensor, given: Tensor, size: tuple[int, int]
    ) -> tuple[Tensor, Tensor]:
        with torch.no_grad():
            placed = clip_boxes_to_image(self.coder.decode_single(deltas, anchors), size)
            overlap, row = [given.new_zeros(0)], [given.new_zeros(0, dtype=torch.int64)]
            for some in given.split(BOXES_AT_ONCE) if len(given) else ():
                best = box_iou(some, placed).max(dim=1)
                overlap.append(best.values)
                row.append(best.indices)
            overlap, row = torch.cat(overlap), torch.cat(row)
            met = (overlap > 0)[:, None]
        refined = clip_boxes_to_image(self.coder.decode_single(deltas[row], anchors[row]), size)
        probabilities = torch.where(met, logits[row].sigmoid(), 0.0)
        boxes = torch.where(met, refined, clip_boxes_to_image(given, size))
        return probabilities, boxes[:, None].expand(-1, len(self.classes), -1)


def _positives(matched: Sequence[Tensor]) -> Tensor:
    return (torch.cat(list(matched)) >= 0).sum()
