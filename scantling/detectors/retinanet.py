"""RetinaNet (Lin 2017), built from torchvision's parts; settings and formulas as in Co-mining's reference.

Differences to torchvision's own model: losses normalized over the batch (not per image), per-box weights and
visibility, ignore regions, losses in either mode, and every constant is a parameter.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import torch
from pydantic import Field
from torch import Tensor, nn
from torchvision.models.detection.retinanet import RetinaNetClassificationHead, RetinaNetRegressionHead

from scantling import distributed
from scantling.detectors.assign import Rule, assign_images
from scantling.detectors.dense import DenseDetector, DenseHeadParams, Predictions, count_positives, positives
from scantling.detectors.losses import box_loss
from scantling.detectors.padding import inside
from scantling.detectors.pyramid import Anchors
from scantling.detectors.settings import AnchorParams, CoderParams, DetectorParams
from scantling.detectors.towers import by_place, norm_of, run_tower
from scantling.target import Target


class RetinaHeadParams(DenseHeadParams):
    """The two towers, the assignment and the losses."""

    tower_depth: int = Field(ge=1, le=4)
    positive_iou: float = Field(gt=0, le=1)
    negative_iou: float = Field(gt=0, le=1)
    low_quality_iou: float = Field(ge=0, le=1)  # a box's best anchor is positive from this IoU on
    low_quality_box: Literal["best", "own"]  # what it learns: the box of its highest IoU, or the one it is best for
    coder: CoderParams
    smooth_l1_beta: float = Field(ge=0)  # in units of the deltas; 0 = L1
    # keep rate of the count of positives (from 100) that losses are divided by, as detectron2; null: the batch alone
    count_keep: float | None = Field(None, ge=0, lt=1)


class RetinaNetParams(DetectorParams):
    """Everything about a RetinaNet."""

    architecture: Literal["retinanet"]
    anchors: AnchorParams
    head: RetinaHeadParams
    ignore_iou: float = Field(gt=0, le=1)  # background anchors from this IoU with an ignore region on are left out


class RetinaNet(DenseDetector):
    """Fulfils `scantling.detectors.protocol.Detector`; the losses are class and box, both divided by max(1, positive
    anchors of the batch)."""

    def __init__(self, params: RetinaNetParams, classes: tuple[str, ...]):
        super().__init__(params, classes)
        self.head = p = params.head
        self.anchors = Anchors(params.anchors, self.strides)
        channels, per_cell = params.neck.channels, self.anchors.num_anchors_per_location()[0]
        norm = norm_of(p.norm_groups, channels)
        self.class_head = RetinaNetClassificationHead(channels, per_cell, len(self.classes), p.prior, norm)
        self.box_head = RetinaNetRegressionHead(channels, per_cell, norm)
        for tower in (self.class_head, self.box_head):
            tower.conv = nn.Sequential(*list(tower.conv)[: p.tower_depth])
        self.coder, self.beta = p.coder.make(), p.smooth_l1_beta
        if p.count_keep is not None:
            self.register_buffer("positives", torch.tensor(100.0))
        own = p.low_quality_box == "own"
        self.rule = Rule(p.positive_iou, p.negative_iou, params.ignore_iou, p.low_quality_iou, own)

    def predict(self, features: list[Tensor], sizes: Sequence[tuple[int, int]]) -> Predictions:
        """Class logits and deltas of every anchor."""
        masks = inside(features, sizes, self.strides)
        logits, deltas = [], []
        for i, x in enumerate(features):
            valid = None if masks is None else masks[i]
            hidden = run_tower(self.class_head.conv, x, valid)
            logits.append(by_place(self.class_head.cls_logits(hidden), len(self.classes)))
            deltas.append(by_place(self.box_head.bbox_reg(run_tower(self.box_head.conv, x, valid)), 4))
        return Predictions(
            torch.cat(logits, dim=1),
            torch.cat(deltas, dim=1),
            torch.cat(self.anchors.per_level(features)),
            [level.shape[1] for level in logits],
            valid=self.valid_anchors(masks),
        )

    def decode(self, raw: Tensor, places: Tensor) -> Tensor:
        return self.coder.decode_single(raw, places)

    def assign(self, found: Predictions, targets: Sequence[Target], seen: Sequence[Tensor]) -> list[Tensor]:
        return assign_images([found.places] * len(targets), targets, seen, self.rule, found.valid)

    def counted(self, matched: Sequence[Tensor], *, fresh: bool) -> Tensor:
        """With `count_keep` the running count, so that a batch without positives is not divided by 1."""
        count, keep = count_positives(matched), self.head.count_keep
        if keep is None:
            return count
        if fresh and self.training:
            self.positives.mul_(keep).add_((1 - keep) * distributed.total(count.float()))
        return self.positives / distributed.world()  # `normalizer` puts the processes' shares together

    def box_losses(self, found: Predictions, matched: Sequence[Tensor], targets: Sequence[Target]) -> dict[str, Tensor]:
        """box: (smooth) L1 of the positives' deltas, divided by max(1, positives)."""
        image, place, boxes, weights = positives(matched, targets)
        wanted = self.coder.encode_single(boxes, found.places[place])
        count = self.counted(matched, fresh=False)
        return {"box": box_loss(found.raw[image, place], wanted, weights, beta=self.beta, count=count)}
