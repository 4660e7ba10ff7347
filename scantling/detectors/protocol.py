"""The one contract between methods and detectors. A method imports nothing else of this package.

Shapes: B images, N boxes, R candidate boxes (anchors or RoIs), C classes, H x W pixels.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol, runtime_checkable

from torch import Tensor

from scantling.target import Detections, Target

# background_weight(image, boxes): image = position in the batch, boxes = (R, 4) candidate boxes that the detector is
# about to use as background; gives (R,) factors 0..1 of their classification loss. Called without gradient.
BackgroundWeight = Callable[[int, Tensor], Tensor]
# A single-stage detector also takes the factors of all of its places, (B, R), in the order of its `sureness`.

# class_loss(logits, labels, weights, shares): what a detector with a background class may be given instead of its own
# formula, `losses.softmax_class_loss`, whose arguments these are. None: it only looked, the detector's own is used.
ClassLoss = Callable[[Tensor, Tensor, Tensor, Tensor], Tensor | None]


@runtime_checkable
class Detector(Protocol):
    classes: tuple[str, ...]
    channels: int  # of every level of the features
    has_proposals: bool  # True: a first stage offers regions to a second one
    has_background: bool  # True: class probabilities are a softmax with background; False: independent sigmoids

    def features(self, images: Tensor, sizes: Sequence[tuple[int, int]]) -> list[Tensor]:
        """Pyramid features of (B, 3, H, W) uint8 or float images 0..255 RGB; pixels beyond `sizes` count as zero
        after normalisation. H and W need not be multiples of anything."""
        ...

    def losses(
        self,
        features: list[Tensor],
        targets: Sequence[Target],
        sizes: Sequence[tuple[int, int]],
        background_weight: BackgroundWeight | Tensor | None = None,
    ) -> dict[str, Tensor]:
        """Named scalar losses, each already normalised as the specification of the detector says.

        Faster R-CNN: rpn_class, rpn_box, class, box. Single-stage: class, box, and for FCOS centerness.
        Works in train and eval mode, with empty targets, and draws from the targets' seeds, or from torch's global
        generator where they have none. With a background class it takes `class_loss` as well.
        """
        ...

    def detect(
        self,
        features: list[Tensor],
        sizes: Sequence[tuple[int, int]],
        *,
        score_threshold: float | None = None,
        nms_iou: float | None = None,
        limit: int | None = None,
        labeling: bool = False,
    ) -> list[Detections]:
        """Boxes with class probability > score_threshold after NMS, best first, at most `limit` per image; None: the
        value of the detector's own parameters (`detect`). labeling: for a student to learn from; a detector may look
        closer then (Faster R-CNN: `rpn.label_with`).

        `scores` are what boxes are sorted by: the class probability, in FCOS sqrt(class probability x centerness), so
        lower than the threshold at times. `probabilities[i, labels[i]]` is the class probability in every detector.
        """
        ...

    def score(
        self, features: list[Tensor], boxes: Sequence[Tensor], sizes: Sequence[tuple[int, int]]
    ) -> list[tuple[Tensor, Tensor]]:
        """For GIVEN boxes, per image: class probabilities (N, C) [softmax without the background column, so the
        background probability is 1 - row sum; or sigmoids] and refined boxes (N, C, 4), one per class, clipped.
        A class-agnostic detector repeats its box. Empty boxes give (0, C) and (0, C, 4)."""
        ...

    def propose(
        self, features: list[Tensor], sizes: Sequence[tuple[int, int]], *, limit: int
    ) -> list[tuple[Tensor, Tensor]]:
        """Per image at most `limit` boxes (P, 4) that may hold any object, clipped, and how sure that is (P,) 0..1,
        best first. Single-stage: the best class counts, NMS over all classes."""
        ...

    def pooled(
        self, features: list[Tensor], boxes: Sequence[Tensor], sizes: Sequence[tuple[int, int]], cells: int
    ) -> Tensor:
        """(N, channels, cells, cells) float32 features of given boxes (N_i, 4), image after image.

        The padding around an image changes nothing, of boxes that reach beyond it neither.
        """
        ...
