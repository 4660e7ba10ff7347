"""Second stage of Faster R-CNN: the class and the exact place of each region of interest.

Class logits have background LAST (index C). Shapes: B images, R RoIs of all images, P positives of one image,
C classes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional as F
from torchvision.models.detection.faster_rcnn import TwoMLPHead

from scantling.detectors.assign import Rule, assign_images, draw
from scantling.detectors.losses import box_loss, softmax_class_loss
from scantling.detectors.pointwise import linear
from scantling.detectors.pooling import pool
from scantling.detectors.protocol import BackgroundWeight, ClassLoss
from scantling.detectors.settings import CoderParams
from scantling.params import Params
from scantling.target import Target


class RoiParams(Params):
    """The second stage."""

    positive_iou: float = Field(gt=0, le=1)  # below: background
    append_truth: bool  # the truth boxes are RoIs too
    sampled: int = Field(ge=1)  # RoIs per image
    positive_fraction: float = Field(gt=0, le=1)  # at most
    pooled_cells: int = Field(ge=1)  # side of the pooled square
    sampling_ratio: int = Field(ge=0)  # points per cell and axis, 0 = adaptive
    aligned: bool  # RoIAlign without the half-pixel shift of its first version
    level_size_px: float = Field(gt=0)  # level = floor(log2(sqrt(w * h) / this)), held inside the pyramid
    width: int = Field(ge=1)  # units of the two layers
    # how their weights start, uniform in +- a: "torch" 1 / sqrt(inputs); "caffe2" sqrt(3 / inputs), as detectron2;
    # "xavier" sqrt(6 / (inputs + width)), as mmdetection
    start: Literal["torch", "caffe2", "xavier"] = "torch"
    class_specific_boxes: bool
    coder: CoderParams
    smooth_l1_beta: float = Field(ge=0)  # in units of the deltas; 0 = L1
    focal_gamma: float = Field(ge=0)  # 0 = cross-entropy


@dataclass
class Sample:
    """The RoIs of one image that are trained on.

    rois (P + negatives, 4), positives first; boxes (P, 4), labels (P,), weights (P,) of the truth each positive learns.
    """

    rois: Tensor
    boxes: Tensor
    labels: Tensor
    weights: Tensor

    @property
    def positives(self) -> Tensor:
        return self.rois[: len(self.boxes)]

    @property
    def negatives(self) -> Tensor:
        return self.rois[len(self.boxes) :]


class RoiStage(nn.Module):
    """Pooling, two layers, class logits and box deltas."""

    def __init__(self, params: RoiParams, channels: int, strides: Sequence[int], classes: int, ignore_iou: float):
        super().__init__()
        self.params, self.strides, self.classes = params, tuple(strides), classes
        self.rule = Rule(params.positive_iou, params.positive_iou, ignore_iou)
        self.layers = TwoMLPHead(channels * params.pooled_cells**2, params.width)
        for layer in (self.layers.fc6, self.layers.fc7) if params.start != "torch" else ():
            if params.start == "caffe2":
                nn.init.kaiming_uniform_(layer.weight, a=1)
            else:
                nn.init.xavier_uniform_(layer.weight)
            nn.init.zeros_(layer.bias)
        self.class_logits = nn.Linear(params.width, classes + 1)
        self.box_deltas = nn.Linear(params.width, 4 * classes if params.class_specific_boxes else 4)
        for layer, spread in ((self.class_logits, 0.01), (self.box_deltas, 0.001)):  # Fast R-CNN, section 2.3
            nn.init.normal_(layer.weight, std=spread)
            nn.init.zeros_(layer.bias)
        self.coder = params.coder.make()

    def hidden(self, features: Sequence[Tensor], rois: Sequence[Tensor]) -> Tensor:
        """(R, width) the two layers' output for each image's RoIs (R, 4)."""
        p = self.params
        pooled = pool(
            features,
            rois,
            self.strides,
            cells=p.pooled_cells,
            sampling_ratio=p.sampling_ratio,
            aligned=p.aligned,
            level_size=p.level_size_px,
        )
        x = pooled.flatten(1)
        for layer in (self.layers.fc6, self.layers.fc7):
            x = F.relu(linear(x, layer.weight, layer.bias))
        return x

    def forward(self, features: Sequence[Tensor], rois: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
        """Class logits (R, C+1) and deltas (R, C, 4) (or (R, 1, 4) if class-agnostic) of each image's RoIs."""
        hidden = self.hidden(features, rois)
        return self.class_logits(hidden).float(), self.box_deltas(hidden).float().unflatten(1, (-1, 4))

    def decode(self, deltas: Tensor, rois: Tensor) -> Tensor:
        """(R, C, 4) boxes, NOT clipped, from deltas (R, C or 1, 4); a class-agnostic box is repeated."""
        boxes = self.coder.decode_single(deltas.flatten(1), rois).unflatten(1, (-1, 4))
        return boxes.expand(-1, self.classes, -1)

    def sample(
        self, proposals: Sequence[Tensor], targets: Sequence[Target], seen: Sequence[Tensor], stream: int = 1
    ) -> list[Sample]:
        """Draw the RoIs of each image among its proposals and its truth boxes; `seen` (N,) bool says which count.

        Another `stream` is another draw of the same image.
        """
        p, rois = self.params, list(proposals)
        if p.append_truth:
            rois = [torch.cat([r, t.boxes[s]]) for r, t, s in zip(proposals, targets, seen, strict=True)]
        matched = assign_images(rois, targets, seen, self.rule)
        seeds = [t.seed for t in targets]
        drawn = draw(matched, per_image=p.sampled, positive_fraction=p.positive_fraction, seeds=seeds, stream=stream)
        samples = []
        for r, m, t, (positive, negative) in zip(rois, matched, targets, drawn, strict=True):
            truth = m[positive]
            rows = torch.cat([positive, negative])
            samples.append(Sample(r[rows], t.boxes[truth], t.labels[truth], t.weights[truth]))
        return samples

    def class_loss(
        self,
        logits: Tensor,
        samples: Sequence[Sample],
        targets: Sequence[Target],
        background_weight: BackgroundWeight | None,
        formula: ClassLoss | None = None,
    ) -> Tensor:
        """Scalar: what `formula` gives, or `losses.softmax_class_loss`; logits (R, C+1) of all samples in order."""
        labels, weights, shares = [], [], []
        for i, (sample, target) in enumerate(zip(samples, targets, strict=True)):
            n = len(sample.negatives)
            share = logits.new_ones(n)
            if background_weight is not None and target.background:
                with torch.no_grad():
                    share = background_weight(i, sample.negatives).to(share)
            labels += [sample.labels, sample.labels.new_full((n,), self.classes)]
            weights += [sample.weights, logits.new_full((n,), float(target.background))]
            shares += [logits.new_ones(len(sample.labels)), share]
        given = logits, torch.cat(labels), torch.cat(weights), torch.cat(shares)
        loss = None if formula is None else formula(*given)
        return softmax_class_loss(*given, self.params.focal_gamma) if loss is None else loss

    def box_loss(self, deltas: Tensor, samples: Sequence[Sample]) -> Tensor:
        """Scalar: (smooth) L1 of the positives' deltas (P of all images, C or 1, 4), divided by ALL sampled RoIs."""
        labels = torch.cat([s.labels for s in samples])
        column = labels if self.params.class_specific_boxes else torch.zeros_like(labels)
        predicted = deltas[torch.arange(len(labels), device=labels.device), column]
        wanted = self.coder.encode_single(
            torch.cat([s.boxes for s in samples]), torch.cat([s.positives for s in samples])
        )
        return box_loss(
            predicted,
            wanted,
            torch.cat([s.weights for s in samples]),
            beta=self.params.smooth_l1_beta,
            count=sum(len(s.rois) for s in samples),
        )
