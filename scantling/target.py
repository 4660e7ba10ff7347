"""What travels between data, detectors and methods: a batch of images and what is known about each.

Shapes: B images, N boxes, M ignore regions, C classes, H x W pixels.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor


@dataclass
class Target:
    """The boxes one image is trained on.

    boxes           (N, 4) float32, xyxy in pixels of the view
    labels          (N,) int64, 0..C-1
    weights         (N,) float32 >= 0, factor of every loss term of the samples matched to the box
    scores          (N,) float32 0..1, 1 for a box drawn by a person
    for_objectness  (N,) bool, seen by the proposal stage (or the only stage of a single-stage detector)
    for_class       (N,) bool, seen by the classification loss
    for_box         (N,) bool, seen by the box regression loss
    ignore          (M, 4) float32, regions where nothing is learned: samples that overlap them are not background
    background      False: this image has no reliable background, its losses count as zero when no box is left
                    and its negatives are never used
    background_from_iou
                    samples are background only if they overlap some box by at least this IoU, 0..1; the others are left
                    out, as nobody said what is there. 0: whatever is no object is background, as it is without a box
    seed            what detectors draw in this image (samples of anchors, of RoIs) follows from it, so that it does not
                    depend on the rest of the batch, nor on the process; None: torch's global generator
    """

    boxes: Tensor
    labels: Tensor
    weights: Tensor
    scores: Tensor
    for_objectness: Tensor
    for_class: Tensor
    for_box: Tensor
    ignore: Tensor
    background: bool = True
    background_from_iou: float = 0.0
    seed: int | None = None

    @classmethod
    def of(
        cls,
        boxes: Tensor,
        labels: Tensor,
        *,
        weights: Tensor | None = None,
        scores: Tensor | None = None,
        for_objectness: Tensor | None = None,
        for_class: Tensor | None = None,
        for_box: Tensor | None = None,
        ignore: Tensor | None = None,
        background: bool = True,
        background_from_iou: float = 0.0,
        seed: int | None = None,
    ) -> Target:
        """A target in which everything not given is plain: weight 1, score 1, seen by every loss."""
        n, device = len(boxes), boxes.device
        ones = torch.ones(n, dtype=torch.float32, device=device)
        seen = torch.ones(n, dtype=torch.bool, device=device)
        return cls(
            boxes=boxes.reshape(-1, 4).float(),
            labels=labels.long(),
            weights=ones if weights is None else weights,
            scores=ones if scores is None else scores,
            for_objectness=seen if for_objectness is None else for_objectness,
            for_class=seen if for_class is None else for_class,
            for_box=seen if for_box is None else for_box,
            ignore=boxes.new_zeros((0, 4)) if ignore is None else ignore,
            background=background,
            background_from_iou=background_from_iou,
            seed=seed,
        )

    @classmethod
    def empty(cls, device: torch.device | str = "cpu", seed: int | None = None) -> Target:
        """No box at all; every pixel is background."""
        return cls.of(torch.zeros((0, 4), device=device), torch.zeros(0, dtype=torch.int64, device=device), seed=seed)

    def to(self, device: torch.device | str) -> Target:
        return replace(self, **{k: v.to(device) for k, v in vars(self).items() if isinstance(v, Tensor)})

    def __len__(self) -> int:
        return len(self.boxes)


@dataclass
class Detections:
    """What a detector finds in one image, best first.

    boxes (N, 4) float32 xyxy, pixels of the view, clipped to it; scores (N,) 0..1; labels (N,) int64 0..C-1;
    probabilities (N, C) float32, the full class vector of each box (without background).
    """

    boxes: Tensor
    scores: Tensor
    labels: Tensor
    probabilities: Tensor

    def __len__(self) -> int:
        return len(self.boxes)

    def keep(self, which: Tensor) -> Detections:
        """The rows chosen by a mask or by indices."""
        return Detections(self.boxes[which], self.scores[which], self.labels[which], self.probabilities[which])


@dataclass
class Batch:
    """Views of B images, padded with zeros at the right and bottom to one size.

    images    (B, 3, H, W) uint8 RGB
    sizes     B pairs (height, width) of the unpadded views
    targets   B targets in pixels of the view; empty ones for unlabeled images
    matrices  (B, 3, 3) float64, original image pixels -> view pixels
    image_ids B ids
    """

    images: Tensor
    sizes: list[tuple[int, int]]
    targets: list[Target]
    matrices: Tensor
    image_ids: list[int] = field(default_factory=list)

    def __len__(self) -> int:
        return len(self.sizes)

    def to(self, device: torch.device | str) -> Batch:
        return Batch(
            self.images.to(device, non_blocking=True),
            self.sizes,
            [t.to(device) for t in self.targets],
            self.matrices.to(device),
            self.image_ids,
        )

    @classmethod
    def joined(cls, batches: Sequence[Batch]) -> Batch:
        """The images of several batches as one, padded to the largest."""
        height, width = (max(b.images.shape[axis] for b in batches) for axis in (2, 3))
        pad = torch.nn.functional.pad
        images = [pad(b.images, (0, width - b.images.shape[3], 0, height - b.images.shape[2])) for b in batches]
        return cls(
            torch.cat(images),
            [size for b in batches for size in b.sizes],
            [target for b in batches for target in b.targets],
            torch.cat([b.matrices for b in batches]),
            [i for b in batches for i in b.image_ids],
        )
