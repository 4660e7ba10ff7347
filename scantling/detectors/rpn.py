"""Region proposal network (Ren 2015): which anchors hold an object, and where exactly.

Shapes: B images, L levels, R anchors of an image, A anchors per cell.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import torch
from pydantic import Field
from torch import Tensor, nn
from torchvision.models.detection._utils import BoxCoder
from torchvision.models.detection.rpn import RPNHead, concat_box_prediction_layers
from torchvision.ops import batched_nms, clip_boxes_to_image

from scantling.detectors.assign import assign, draw
from scantling.detectors.decode import has_area
from scantling.detectors.losses import box_loss, objectness_loss
from scantling.params import Params
from scantling.target import Target


class ProposalCounts(Params):
    """How many proposals survive."""

    per_level: int = Field(ge=1)  # best of each level, before NMS
    per_image: int = Field(ge=1)  # after NMS


class RpnParams(Params):
    """The proposal stage."""

    positive_iou: float = Field(gt=0, le=1)
    negative_iou: float = Field(gt=0, le=1)
    low_quality_iou: float = Field(ge=0, le=1)  # a box's best anchor is positive from this IoU on
    sampled: int = Field(ge=1)  # anchors per image
    positive_fraction: float = Field(gt=0, le=1)  # at most
    nms_iou: float = Field(gt=0, le=1)
    train: ProposalCounts
    test: ProposalCounts
    detect_with: Literal["train", "test"]  # proposal counts of detect()
    smooth_l1_beta: float = Field(ge=0)  # in units of the deltas; 0 = L1


class Rpn(nn.Module):
    """Proposal stage over all pyramid levels."""

    def __init__(self, params: RpnParams, channels: int, anchors_per_cell: int, ignore_iou: float):
        super().__init__()
        self.params, self.ignore_iou = params, ignore_iou
        self.head = RPNHead(channels, anchors_per_cell)
        self.coder = BoxCoder((1.0, 1.0, 1.0, 1.0))

    def forward(self, features: list[Tensor]) -> tuple[Tensor, Tensor]:
        """Objectness logits (B, R) and deltas (B, R, 4), anchors in the order of `Anchors.per_level`."""
        logits, deltas = concat_box_prediction_layers(*self.head(features))
        b = len(features[0])
        return logits.reshape(b, -1).float(), deltas.reshape(b, -1, 4).float()

    @torch.no_grad()
    def proposals(
        self,
        logits: Tensor,
        deltas: Tensor,
        anchors: Sequence[Tensor],
        sizes: Sequence[tuple[int, int]],
        counts: ProposalCounts,
    ) -> list[Tensor]:
        """Per image (<= counts.per_image, 4) boxes clipped to the image, best first; NMS within each level."""
        levels = torch.cat([torch.full((len(a),), i, device=logits.device) for i, a in enumerate(anchors)])
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
            boxes = clip_boxes_to_image(boxes, size)
            real = has_area(boxes)
            boxes, score, level = boxes[real], score[real], level[real]
            found.append(boxes[batched_nms(boxes, score, level, self.params.nms_iou)[: counts.per_image]])
        return found

    def losses(
        self, logits: Tensor, deltas: Tensor, anchors: Tensor, targets: Sequence[Target]
    ) -> tuple[Tensor, Tensor]:
        """Objectness and box loss, scalars, both divided by the number of sampled anchors of the batch.

        anchors (R, 4), all levels. Uses the boxes with `for_objectness`. With background=False the terms of an image's
        negatives are zero; the normalizer still counts them.
        """
        p = self.params
        seen = [t.for_objectness for t in targets]
        matched = [
            assign(
                anchors,
                t.boxes[s],
                t.ignore,
                positive_iou=p.positive_iou,
                negative_iou=p.negative_iou,
                low_quality_iou=p.low_quality_iou,
                ignore_iou=self.ignore_iou,
            )
            for t, s in zip(targets, seen, strict=True)
        ]
        seeds = [t.seed for t in targets]
        drawn = draw(matched, per_image=p.sampled, positive_fraction=p.positive_fraction, seeds=seeds)
        positive_logits, negative_logits, weights, shares, predicted, wanted = [], [], [], [], [], []
        for i, (positive, negative) in enumerate(drawn):
            truth = matched[i][positive]
            positive_logits.append(logits[i, positive])
            negative_logits.append(logits[i, negative])
            weights.append(targets[i].weights[seen[i]][truth])
            shares.append(logits.new_full((len(negative),), float(targets[i].background)))
            predicted.append(deltas[i, positive])
            wanted.append(self.coder.encode_single(targets[i].boxes[seen[i]][truth], anchors[positive]))
        drawn_logits = torch.cat(positive_logits + negative_logits)
        is_positive = torch.arange(len(drawn_logits), device=logits.device) < sum(map(len, positive_logits))
        objectness = objectness_loss(drawn_logits, is_positive, torch.cat(weights + shares))
        box = box_loss(
            torch.cat(predicted),
            torch.cat(wanted),
            torch.cat(weights),
            beta=p.smooth_l1_beta,
            count=len(drawn_logits),
        )
        return objectness, box
