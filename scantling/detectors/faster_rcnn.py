"""Faster R-CNN with a feature pyramid (Ren 2015, Lin 2017), built from torchvision's parts.

Differences to torchvision's own model: per-box weights and visibility, ignore regions, losses in either mode, and
every constant is a parameter.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import torch
from pydantic import Field
from torch import Tensor

from scantling.boxes import clip
from scantling.detectors.decode import select
from scantling.detectors.padding import hold_edge, inside
from scantling.detectors.protocol import BackgroundWeight, ClassLoss
from scantling.detectors.pyramid import Anchors, PyramidDetector
from scantling.detectors.roi import RoiParams, RoiStage
from scantling.detectors.rpn import Rpn, RpnParams
from scantling.detectors.settings import AnchorParams, DetectorParams, DetectParams
from scantling.target import Detections, Target


class FasterRcnnParams(DetectorParams):
    """Everything about a Faster R-CNN."""

    architecture: Literal["faster_rcnn"]
    anchors: AnchorParams
    rpn: RpnParams
    roi: RoiParams
    ignore_iou: float = Field(gt=0, le=1)  # background samples from this IoU with an ignore region on are left out


class FasterRcnn(PyramidDetector):
    """Fulfils `scantling.detectors.protocol.Detector`; the losses are rpn_class, rpn_box, class, box.

    Normalizers: the two RPN losses by the sampled anchors, `box` by the sampled RoIs, `class` by the sampled RoIs or,
    with `background_weight`, by the sum of these weights (1 for positives). Per-box weights and `background=False`
    multiply terms and leave all normalizers alone, so a batch keeps its scale.
    """

    has_background = True
    has_proposals = True

    def __init__(self, params: FasterRcnnParams, classes: tuple[str, ...]):
        super().__init__(params, classes)
        self.anchors = Anchors(params.anchors, self.strides)
        channels = self.channels
        per_cell = self.anchors.num_anchors_per_location()[0]
        self.rpn = Rpn(params.rpn, channels, per_cell, params.ignore_iou)
        self.roi = RoiStage(params.roi, channels, self.backbone.strides, len(self.classes), params.ignore_iou)

    def losses(
        self,
        features: list[Tensor],
        targets: Sequence[Target],
        sizes: Sequence[tuple[int, int]],
        background_weight: BackgroundWeight | None = None,
        class_loss: ClassLoss | None = None,
    ) -> dict[str, Tensor]:
        """See the protocol. `background_weight` is asked for the drawn background RoIs of `class` only."""
        losses, proposals = self._first_stage(self.rpn(features), features, targets, sizes)
        boxes = [boxes for boxes, _ in proposals]
        return losses | self.region_losses(features, boxes, targets, sizes, background_weight, class_loss)[0]

    def region_losses(
        self,
        features: list[Tensor],
        proposals: Sequence[Tensor],
        targets: Sequence[Target],
        sizes: Sequence[tuple[int, int]],
        background_weight: BackgroundWeight | None = None,
        class_loss: ClassLoss | None = None,
    ) -> tuple[dict[str, Tensor], list[Tensor]]:
        """The losses `class` and `box` on RoIs drawn among given proposals, and the RoIs (R, 4) of each image."""
        features = self._for_rois(features, inside(features, sizes, self.strides))
        samples = self.roi.sample(proposals, targets, [t.for_class for t in targets])
        rois = [s.rois for s in samples]
        class_logits, box_deltas = self.roi(features, rois)
        of_class = self.roi.class_loss(class_logits, samples, targets, background_weight, class_loss)

        apart = [i for i, t in enumerate(targets) if not torch.equal(t.for_class, t.for_box)]
        if not apart:
            device = class_logits.device
            positive = torch.cat([torch.arange(len(s.rois), device=device) < len(s.boxes) for s in samples])
            box_deltas = box_deltas[positive]
        else:
            # Soft Teacher section 7: where the box loss sees other boxes than the class loss, it has an assignment and
            # a sample of its own, of which only the positives need the head. Decided image by image: what an image is
            # trained on must not depend on the rest of the batch.
            chosen = [targets[i] for i in apart]
            own = self.roi.sample([proposals[i] for i in apart], chosen, [t.for_box for t in chosen], stream=2)
            for i, sample in zip(apart, own, strict=True):
                samples[i] = sample
            _, box_deltas = self.roi(features, [s.positives for s in samples])
        return {"class": of_class, "box": self.roi.box_loss(box_deltas, samples)}, rois

    def propose(
        self, features: list[Tensor], sizes: Sequence[tuple[int, int]], *, limit: int
    ) -> list[tuple[Tensor, Tensor]]:
        """See the protocol: what the first stage offers at test time, with its objectness."""
        with torch.no_grad():
            logits, deltas = self.rpn(features)
            anchors, valid = self.anchors.per_level(features), self.valid_anchors(inside(features, sizes, self.strides))
            offered = self.rpn.offered(logits, deltas, anchors, sizes, self.rpn.params.test, valid)
        return [(boxes[:limit], scores[:limit]) for boxes, scores in offered]

    def propose_pair(
        self,
        features: list[Tensor],
        others: list[Tensor],
        targets: Sequence[Target],
        sizes: Sequence[tuple[int, int]],
    ) -> tuple[dict[str, Tensor], list[tuple[Tensor, Tensor]]]:
        """One set of proposals for two pixel-aligned views (SparseDet's common RPN; needs `rpn.views: 2` to see both).

        The losses rpn_class and rpn_box, and per image the proposals of training (P, 4) with their objectness (P,).
        """
        return self._first_stage(self.rpn(features, others), features, targets, sizes)

    def hidden(self, features: list[Tensor], boxes: Sequence[Tensor], sizes: Sequence[tuple[int, int]]) -> Tensor:
        """(N, width) what the second stage makes of given boxes before its last layers; with gradient."""
        return self.roi.hidden(self._for_rois(features, inside(features, sizes, self.strides)), boxes)

    @property
    def regions_per_image(self) -> int:
        """How many RoIs of an image are trained on."""
        return self.roi.params.sampled

    def _first_stage(
        self,
        outputs: tuple[Tensor, Tensor],
        features: list[Tensor],
        targets: Sequence[Target],
        sizes: Sequence[tuple[int, int]],
    ) -> tuple[dict[str, Tensor], list[tuple[Tensor, Tensor]]]:
        anchors = self.anchors.per_level(features)
        valid = self.valid_anchors(inside(features, sizes, self.strides))
        rpn_class, rpn_box = self.rpn.losses(*outputs, torch.cat(anchors), targets, sizes, valid)
        proposals = self.rpn.offered(*outputs, anchors, sizes, self.rpn.params.train, valid)
        return {"rpn_class": rpn_class, "rpn_box": rpn_box}, proposals

    @property
    def second_view_at_test(self) -> bool:
        """Whether `detect` is to be given the features of a second view as `others` (SparseDet section 9)."""
        return self.rpn.params.views == 2 and self.rpn.params.second_view_at_test == "seeded_random"

    def _detect(
        self,
        features: list[Tensor],
        sizes: Sequence[tuple[int, int]],
        rule: DetectParams,
        labeling: bool,
        others: list[Tensor] | None = None,
    ) -> list[Detections]:
        """others: features of a second, pixel-aligned view, for the proposals; without them the first stands in."""
        params = self.rpn.params
        logits, deltas = self.rpn(features, others)
        counts = params.train if labeling and params.label_with == "train" else params.test
        anchors, valid = self.anchors.per_level(features), self.valid_anchors(inside(features, sizes, self.strides))
        offered = self.rpn.offered(logits, deltas, anchors, sizes, counts, valid)
        return self._detect_among(features, [boxes for boxes, _ in offered], sizes, rule)

    @torch.no_grad()
    def detect_regions(
        self,
        features: list[Tensor],
        rois: Sequence[Tensor],
        sizes: Sequence[tuple[int, int]],
        *,
        score_threshold: float,
        nms_iou: float,
        limit: int,
    ) -> list[Detections]:
        """`detect` among given RoIs (R, 4) of each image instead of proposals."""
        asked = {"score_threshold": score_threshold, "nms_iou": nms_iou, "limit": limit}
        return self._detect_among(features, rois, sizes, self.params.detect.model_copy(update=asked))

    def _detect_among(
        self, features: list[Tensor], rois: Sequence[Tensor], sizes: Sequence[tuple[int, int]], rule: DetectParams
    ) -> list[Detections]:
        """A RoI can be found under several classes; NMS sees clipped boxes."""
        features = self._for_rois(features, inside(features, sizes, self.strides))
        found = []
        for (probabilities, boxes), size in zip(self._refine(features, rois), sizes, strict=True):
            rows, labels = torch.where(probabilities > rule.score_threshold)
            scores, placed = probabilities[rows, labels], clip(boxes[rows, labels], size)
            found.append(select(placed, scores, labels, probabilities[rows], size, rule))
        return found

    def score(
        self, features: list[Tensor], boxes: Sequence[Tensor], sizes: Sequence[tuple[int, int]]
    ) -> list[tuple[Tensor, Tensor]]:
        """See the protocol. The RoI head on the given boxes; gradients reach the features, not the boxes."""
        given = [b.detach().float().reshape(-1, 4) for b in boxes]
        features = self._for_rois(features, inside(features, sizes, self.strides))
        return [
            (probabilities, clip(refined, size))
            for (probabilities, refined), size in zip(self._refine(features, given), sizes, strict=True)
        ]

    def _refine(self, features: list[Tensor], rois: Sequence[Tensor]) -> list[tuple[Tensor, Tensor]]:
        """Per image class probabilities (N, C) and unclipped boxes (N, C, 4) of RoIs (N, 4)."""
        logits, deltas = self.roi(features, rois)
        probabilities = logits.softmax(dim=1)[:, :-1]
        boxes = self.roi.decode(deltas, torch.cat(list(rois)))
        if len(rois) == 1:  # nothing to cut; an exported graph could not, as it has no fixed counts
            return [(probabilities, boxes)]
        counts = [len(r) for r in rois]
        return list(zip(probabilities.split(counts), boxes.split(counts), strict=True))

    def _for_rois(self, features: list[Tensor], masks: list[Tensor] | None) -> list[Tensor]:
        """The levels that RoIs are pooled from, with the border of each image held beyond it."""
        levels = features[: len(self.roi.strides)]
        return levels if masks is None else [hold_edge(f, m) for f, m in zip(levels, masks, strict=False)]
