"""Region proposal network (Ren 2015): which anchors hold an object, and where exactly.

Shapes: B images, L levels, R anchors of an image, A anchors per cell.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import torch
from pydantic import AliasChoices, Field
from torch import Tensor, nn
from torchvision.models.detection.rpn import RPNHead, concat_box_prediction_layers
from torchvision.ops import batched_nms

from scantling.boxes import clip
from scantling.detectors.assign import Rule, assign_images, draw
from scantling.detectors.decode import has_area
from scantling.detectors.losses import binary_loss, box_loss
from scantling.detectors.settings import CoderParams
from scantling.params import Params
from scantling.target import Target


class ProposalCounts(Params):
    """How many proposals survive."""

    per_level: int = Field(ge=1)  # best of each level, before NMS
    per_image: int = Field(ge=1)  # after NMS


class RpnParams(Params):
    """The proposal stage."""

    views: int = Field(1, ge=1, le=2)  # pixel-aligned views whose features it reads together (SparseDet); 1 = one
    # of two views, the second one at test: the first again, or drawn with the image's id as seed (SparseDet section 9)
    second_view_at_test: Literal["identity", "seeded_random"] = "identity"
    positive_iou: float = Field(gt=0, le=1)
    negative_iou: float = Field(gt=0, le=1)
    low_quality_iou: float = Field(ge=0, le=1)  # a box's best anchor is positive from this IoU on
    low_quality_box: Literal["best", "own"]  # what it learns: the box of its highest IoU, or the one it is best for
    border_px: float | None = Field(ge=0)  # anchors farther outside of the image are not trained; null = all are
    sampled: int = Field(ge=1)  # anchors per image
    positive_fraction: float = Field(gt=0, le=1)  # at most
    normalizer: Literal["drawn", "sampled"]  # both losses: over the anchors drawn, or `sampled` times images
    coder: CoderParams
    smooth_l1_beta: float = Field(ge=0)  # in units of the deltas; 0 = L1
    nms_iou: float = Field(gt=0, le=1)
    nms_per_level: bool  # proposals of different levels do not suppress each other
    min_side_px: float = Field(ge=0)  # proposals are wider and higher than this
    train: ProposalCounts
    test: ProposalCounts
    # which a teacher has that labels; evaluation always has test's. `detect_with` in the header of older weights
    label_with: Literal["train", "test"] = Field(validation_alias=AliasChoices("label_with", "detect_with"))


class Rpn(nn.Module):
    """Proposal stage over all pyramid levels."""

    def __init__(self, params: RpnParams, channels: int, anchors_per_cell: int, ignore_iou: float):
        super().__init__()
        self.params = p = params
        self.head = RPNHead(channels * p.views, anchors_per_cell)
        self.coder = p.coder.make()
        self.rule = Rule(p.positive_iou, p.negative_iou, ignore_iou, p.low_quality_iou, p.low_quality_box == "own")

    def forward(self, features: list[Tensor], others: list[Tensor] | None = None) -> tuple[Tensor, Tensor]:
        """Objectness logits (B, R) and deltas (B, R, 4), anchors in the order of `Anchors.per_level`.

        With `views: 2` the features of a second view stand beside those of the first; without one the first stands in.
        """
        if self.params.views == 2:
            features = [torch.cat(pair, 1) for pair in zip(features, others or features, strict=True)]
        logits, deltas = concat_box_prediction_layers(*self.head(features))
        b = len(features[0])
        return logits.reshape(b, -1).float(), deltas.reshape(b, -1, 4).float()

    @torch.no_grad()
    def offered(
        self,
        logits: Tensor,
        deltas: Tensor,
        anchors: Sequence[Tensor],
        sizes: Sequence[tuple[int, int]],
        counts: ProposalCounts,
        valid: Tensor | None = None,
    ) -> list[tuple[Tensor, Tensor]]:
        """Per image at most counts.per_image boxes (P, 4), clipped to it, and their objectness (P,) 0..1, best first.

        valid (B, R): anchors to use.
        """
        if valid is not None:
            logits = logits.masked_fill(~valid, -torch.inf)
        levels = torch.cat([torch.full((len(a),), i, device=logits.device) for i, a in enumerate(anchors)])
        if not self.params.nms_per_level:
            levels = torch.zeros_like(levels)
        tops, start = [], 0
        for a in anchors:
            top = logits[:, start : start + len(a)].topk(min(counts.per_level, len(a)), dim=1).indices
            tops.append(top + start)
            start += len(a)
        best = torch.cat(tops, dim=1)  # (B, K)
        scores, of_level = logits.gather(1, best), levels[best]
        start_boxes = torch.cat(list(anchors))[best.flatten()]
        chosen = deltas.gather(1, best[:, :, None].expand(-1, -1, 4)).reshape(-1, 4)
        moved = self.coder.decode_single(chosen, start_boxes).reshape(len(logits), -1, 4)
        found = []
        for boxes, score, level, size in zip(moved, scores, of_level, sizes, strict=True):
            boxes = clip(boxes, size)
            real = has_area(boxes, self.params.min_side_px) & (score > -torch.inf)
            boxes, score, level = boxes[real], score[real], level[real]
            kept = batched_nms(boxes, score, level, self.params.nms_iou)[: counts.per_image]
            found.append((boxes[kept], score[kept].sigmoid()))
        return found

    def losses(
        self,
        logits: Tensor,
        deltas: Tensor,
        anchors: Tensor,
        targets: Sequence[Target],
        sizes: Sequence[tuple[int, int]],
        valid: Tensor | None = None,
    ) -> tuple[Tensor, Tensor]:
        """Objectness and box loss, scalars, both divided by the number of sampled anchors of the batch.

        anchors (R, 4), all levels; valid (B, R) bool: the ones to use. Uses the boxes with `for_objectness`. With
        background=False the terms of an image's negatives are zero, and an image without a box counts for nothing
        (SparseDet section 5, step 1).
        """
        p = self.params
        if p.border_px is not None:
            near = torch.stack([within(anchors, size, p.border_px) for size in sizes])
            valid = near if valid is None else near & valid
        seen = [t.for_objectness for t in targets]
        matched = assign_images([anchors] * len(targets), targets, seen, self.rule, valid)
        seeds = [t.seed for t in targets]
        drawn = draw(matched, per_image=p.sampled, positive_fraction=p.positive_fraction, seeds=seeds)
        positive_logits, negative_logits, weights, shares, predicted, wanted = [], [], [], [], [], []
        for i, (positive, negative) in enumerate(drawn):
            truth = matched[i][positive]
            positive_logits.append(logits[i, positive])
            negative_logits.append(logits[i, negative])
            weights.append(targets[i].weights[truth])
            shares.append(logits.new_full((len(negative),), float(targets[i].background)))
            predicted.append(deltas[i, positive])
            wanted.append(self.coder.encode_single(targets[i].boxes[truth], anchors[positive]))
        drawn_logits = torch.cat(positive_logits + negative_logits)
        is_positive = torch.arange(len(drawn_logits), device=logits.device) < sum(map(len, positive_logits))
        learned = [t.background or bool(s.any()) for t, s in zip(targets, seen, strict=True)]
        sizes_drawn = [p.sampled if p.normalizer == "sampled" else len(a) + len(b) for a, b in drawn]
        count = sum(n for n, here in zip(sizes_drawn, learned, strict=True) if here)
        objectness = binary_loss(drawn_logits, is_positive, torch.cat(weights + shares), count=count)
        box = box_loss(torch.cat(predicted), torch.cat(wanted), torch.cat(weights), beta=p.smooth_l1_beta, count=count)
        return objectness, box


def within(anchors: Tensor, size: tuple[int, int], border: float) -> Tensor:
    """(R,) bool: anchors (R, 4) that reach at most `border` pixels out of an image of size (height, width)."""
    limit = anchors.new_tensor([size[1], size[0]]) + border
    return ((anchors[:, :2] >= -border) & (anchors[:, 2:] <= limit)).all(dim=1)
