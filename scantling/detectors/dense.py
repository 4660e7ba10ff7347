"""One-stage detectors: a class vector and a box at every place of the pyramid.

A place is an anchor or a location, always written as a box. Shapes: B images, R places of an image (all levels,
row-major over level, y, x, anchor), N boxes, C classes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from pydantic import Field
from torch import Tensor
from torchvision.ops import box_iou, nms

from scantling.boxes import clip
from scantling.detectors.assign import BACKGROUND
from scantling.detectors.decode import best_pairs, has_area, select
from scantling.detectors.losses import focal_loss, normalizer
from scantling.detectors.protocol import BackgroundWeight
from scantling.detectors.pyramid import PyramidDetector
from scantling.detectors.settings import DetectParams
from scantling.params import Params
from scantling.target import Detections, Target

PROPOSAL_NMS_IOU = 0.7
BOXES_AT_ONCE = 64  # given boxes compared with all predictions at a time, which bounds the memory of score()


class DenseHeadParams(Params):
    """What the heads of all one-stage detectors have."""

    tower_depth: int = Field(ge=1, le=64)  # 3x3 convolutions before the last one, in each tower
    norm_groups: int = Field(ge=0)  # GroupNorm after each of them; 0 = no norm
    prior: float = Field(gt=0, lt=1)  # class probability that the untrained head gives everywhere
    focal_alpha: float = Field(ge=0, le=1)  # share of the positive term
    focal_gamma: float = Field(ge=0)
    candidates_per_level: int = Field(ge=1)  # pairs (place, class) before NMS
    clip_before_nms: bool  # NMS sees boxes clipped to the image


@dataclass
class Predictions:
    """What the head says about a batch.

    logits (B, R, C); raw (B, R, 4), from which `DenseDetector.decode` makes boxes; places (R, 4) boxes; counts: places
    of each level; quality (B, R) logits of how well the box is placed, or None; valid (B, R) bool, places that lie on
    their image, None = all.
    """

    logits: Tensor
    raw: Tensor
    places: Tensor
    counts: list[int]
    quality: Tensor | None = None
    valid: Tensor | None = None


class DenseDetector(PyramidDetector):
    """The contract for one-stage detectors; a subclass predicts, assigns, decodes and has the losses of its boxes.

    There is no proposal stage, so `for_objectness` is not used. If `for_class` and `for_box` differ anywhere, each has
    an assignment and a count of positives of its own. `background=False`: the image's negatives are not used. Per-box
    weights leave all normalizers alone, so a batch keeps its scale.
    """

    has_background = False
    has_proposals = False
    head: DenseHeadParams
    threshold_on_score = False  # score_threshold and the choice per level are about sqrt(class x quality)

    def predict(self, features: list[Tensor], sizes: Sequence[tuple[int, int]]) -> Predictions:
        raise NotImplementedError

    def decode(self, raw: Tensor, places: Tensor) -> Tensor:
        """(K, 4) boxes, not clipped, of raw outputs (K, 4) at places (K, 4)."""
        raise NotImplementedError

    def assign(self, found: Predictions, targets: Sequence[Target], seen: Sequence[Tensor]) -> list[Tensor]:
        """Per image (R,) int64 index into ALL boxes of the target, assign.BACKGROUND or assign.UNUSED.

        seen (N,) bool: the boxes that take part.
        """
        raise NotImplementedError

    def box_losses(self, found: Predictions, matched: Sequence[Tensor], targets: Sequence[Target]) -> dict[str, Tensor]:
        """Named losses of the positives' boxes."""
        raise NotImplementedError

    def candidate_boxes(self, found: Predictions, image: int, rows: Tensor) -> Tensor:
        """The boxes that `background_weight` is asked about, of places `rows` of an image."""
        return found.places[rows]

    def losses(
        self,
        features: list[Tensor],
        targets: Sequence[Target],
        sizes: Sequence[tuple[int, int]],
        background_weight: BackgroundWeight | Tensor | None = None,
    ) -> dict[str, Tensor]:
        """See the protocol. `background_weight` is asked for all background places of an image, or has a factor for
        each place (B, R); the factors multiply the negative term of every class."""
        found = self.predict(features, sizes)
        matched = self.assign(found, targets, [t.for_class for t in targets])
        class_loss = self.class_loss(found, matched, targets, background_weight)
        if any(not torch.equal(t.for_class, t.for_box) for t in targets):
            matched = self.assign(found, targets, [t.for_box for t in targets])
        return {"class": class_loss, **self.box_losses(found, matched, targets)}

    def class_loss(
        self,
        found: Predictions,
        matched: Sequence[Tensor],
        targets: Sequence[Target],
        background_weight: BackgroundWeight | Tensor | None = None,
    ) -> Tensor:
        """Scalar focal loss over all places that are not UNUSED, divided by max(1, `counted`)."""
        labels, weights = [], []
        for i, (m, target) in enumerate(zip(matched, targets, strict=True)):
            positive, negative = m >= 0, m == BACKGROUND
            label = torch.full_like(m, len(self.classes))
            label[positive] = target.labels[m[positive]]
            weight = torch.zeros_like(m, dtype=found.logits.dtype)
            weight[positive] = target.weights[m[positive]].to(weight)
            if target.background:
                weight[negative] = 1.0
                if isinstance(background_weight, Tensor):
                    weight[negative] = background_weight[i, negative].to(weight)
                elif background_weight is not None:
                    with torch.no_grad():
                        asked = self.candidate_boxes(found, i, torch.where(negative)[0])
                        weight[negative] = background_weight(i, asked).to(weight)
            labels.append(label)
            weights.append(weight)
        total = focal_loss(
            found.logits.flatten(0, 1),
            torch.cat(labels),
            torch.cat(weights),
            alpha=self.head.focal_alpha,
            gamma=self.head.focal_gamma,
        )
        return total / normalizer(self.counted(matched, fresh=True), total)

    def counted(self, matched: Sequence[Tensor], *, fresh: bool) -> Tensor:
        """What a loss is divided by, at least 1: the positives. `fresh`: the first time that a batch asks."""
        return count_positives(matched)

    def sureness(self, features: list[Tensor], sizes: Sequence[tuple[int, int]]) -> Tensor:
        """(B, R) highest class probability at each place, levels and places in the order of the losses."""
        return self.predict(features, sizes).logits.sigmoid().amax(2)

    def _detect(
        self, features: list[Tensor], sizes: Sequence[tuple[int, int]], rule: DetectParams, labeling: bool
    ) -> list[Detections]:
        return self.detections(self.predict(features, sizes), sizes, rule)

    def detections(
        self, found: Predictions, sizes: Sequence[tuple[int, int] | None], rule: DetectParams
    ) -> list[Detections]:
        """What `detect` gives, of predictions; boxes of an image of size None are not clipped."""
        p = found.logits.sigmoid()
        quality = None if found.quality is None else found.quality.sigmoid()
        ranks = (p * quality[..., None]).sqrt() if quality is not None and self.threshold_on_score else p
        values, rows, labels = best_pairs(ranks, found.counts, self.head.candidates_per_level, found.valid)
        detections = []
        for i, size in enumerate(sizes):
            passed = values[i] > rule.score_threshold
            row, label = rows[i][passed], labels[i][passed]
            boxes = self.decode(found.raw[i, row], found.places[row])
            if self.head.clip_before_nms and size is not None:
                boxes = clip(boxes, size)
            scores = p[i, row, label] if quality is None else (p[i, row, label] * quality[i, row]).sqrt()
            detections.append(select(boxes, scores, label, p[i, row], size, rule))
        return detections

    @torch.no_grad()
    def propose(
        self, features: list[Tensor], sizes: Sequence[tuple[int, int]], *, limit: int
    ) -> list[tuple[Tensor, Tensor]]:
        """See the protocol. NMS at 0.7, as between a first stage's proposals (ours; none is published)."""
        found = self.predict(features, sizes)
        sure = found.logits.sigmoid().amax(dim=2, keepdim=True)
        values, rows, _ = best_pairs(sure, found.counts, self.head.candidates_per_level, found.valid)
        offered = []
        for i, size in enumerate(sizes):
            boxes = clip(self.decode(found.raw[i, rows[i]], found.places[rows[i]]), size)
            real = has_area(boxes) & (values[i] > 0)
            boxes, scores = boxes[real], values[i][real]
            kept = nms(boxes, scores, PROPOSAL_NMS_IOU)[:limit]
            offered.append((boxes[kept], scores[kept]))
        return offered

    def score(
        self, features: list[Tensor], boxes: Sequence[Tensor], sizes: Sequence[tuple[int, int]]
    ) -> list[tuple[Tensor, Tensor]]:
        """See the protocol. A single stage has no head for given boxes: a box gets the class probabilities and the
        clipped box (repeated for each class) of the prediction with the highest IoU to it, of several the surest one. A
        detection so gets its own values again. A box that meets no prediction gets zeros and itself."""
        found = self.predict(features, sizes)
        return [
            self._nearest(found, i, given.detach().float().reshape(-1, 4), size)
            for i, (given, size) in enumerate(zip(boxes, sizes, strict=True))
        ]

    def _nearest(self, found: Predictions, image: int, given: Tensor, size: tuple[int, int]) -> tuple[Tensor, Tensor]:
        logits, raw = found.logits[image], found.raw[image]
        with torch.no_grad():
            placed = clip(self.decode(raw, found.places), size)
            if found.valid is not None:
                placed[~found.valid[image]] = 0.0  # no area, so it meets nothing
            overlap, row = [given.new_zeros(0)], [given.new_zeros(0, dtype=torch.int64)]
            sureness = logits.amax(dim=1)
            for some in given.split(BOXES_AT_ONCE) if len(given) else ():
                iou = box_iou(some, placed)
                overlap.append(iou.amax(dim=1))
                nearest = iou == overlap[-1][:, None]  # many at once where clipping makes boxes equal
                row.append(torch.where(nearest, sureness, -torch.inf).argmax(dim=1))
            overlap, row = torch.cat(overlap), torch.cat(row)
            met = (overlap > 0)[:, None]
        refined = clip(self.decode(raw[row], found.places[row]), size)
        probabilities = torch.where(met, logits[row].sigmoid(), 0.0)
        boxes = torch.where(met, refined, clip(given, size))
        return probabilities, boxes[:, None].expand(-1, len(self.classes), -1)


def positives(matched: Sequence[Tensor], targets: Sequence[Target]) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Over all images: (P,) position in the batch, (P,) place, and the boxes (P, 4) and weights (P,) they learn."""
    image, place = torch.where(torch.stack(list(matched)) >= 0)
    rows = [torch.where(m >= 0)[0] for m in matched]
    truth = [m[r] for m, r in zip(matched, rows, strict=True)]
    boxes = torch.cat([t.boxes[k] for t, k in zip(targets, truth, strict=True)])
    weights = torch.cat([t.weights[k] for t, k in zip(targets, truth, strict=True)])
    return image, place, boxes, weights


def count_positives(matched: Sequence[Tensor]) -> Tensor:
    return (torch.cat(list(matched)) >= 0).sum()
