"""What is in a data set, as numbers: images and boxes of each subset and class, sizes of boxes, boxes on an image."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from scantling.data.check.boxes import chunks

SIDE_STEPS = 16  # bins an octave of the box sides
SIDE_BINS = 16 * SIDE_STEPS  # 2^-2 .. 2^14 pixels; what is beyond is counted in the outermost
SIDE_START = -2  # log2 of the first edge
COCO_AREAS = (32**2, 96**2)  # px: where small ends and large begins in COCO's evaluation
MOST_BOXES = 4096  # of the histogram of boxes an image; what is beyond is counted in the last


@dataclass(frozen=True)
class Counts:
    """Per subset (S, in the order of the table): images, boxes, crowd (S,); classes (S, C), crowds left out; sides
    (S, SIDE_BINS): the square root of the box area; ranges (S, 3): boxes of an area below 32^2, 96^2 and above, as COCO
    divides them; on_image (S, MOST_BOXES): images with that many boxes."""

    subsets: tuple[str, ...]
    images: np.ndarray
    boxes: np.ndarray
    crowd: np.ndarray
    classes: np.ndarray
    sides: np.ndarray
    ranges: np.ndarray
    on_image: np.ndarray

    def facts(self, classes: tuple[str, ...]) -> dict[str, Any]:
        """As plain JSON types, by subset."""
        return {
            subset: {
                "images": int(self.images[s]),
                "boxes": int(self.boxes[s]),
                "crowd": int(self.crowd[s]),
                "classes": dict(zip(classes, self.classes[s].tolist(), strict=True)),
            }
            for s, subset in enumerate(self.subsets)
        }

    def side_quantile(self, subset: int, share: float) -> float:
        """Pixels: the side of a square as large as the box that is larger than this share of the boxes."""
        return quantile(self.sides[subset], share)


def quantile(sides: np.ndarray, share: float) -> float:
    """The middle of the bin of a histogram of sides in which the share is reached; 0 where it is empty."""
    total = np.cumsum(sides)
    if not len(total) or not total[-1]:
        return 0.0
    return float(2 ** (SIDE_START + (np.searchsorted(total, share * total[-1]) + 0.5) / SIDE_STEPS))


def count(images: pd.DataFrame, boxes: pd.DataFrame, at: np.ndarray, classes: int) -> Counts:
    """`at` (N,): the row of each box's image in `images`; labels are 0..classes-1."""
    subset, names = pd.factorize(images.subset)
    s = len(names)
    per_class, sides = np.zeros(s * classes, np.int64), np.zeros(s * SIDE_BINS, np.int64)
    crowds, ranges = np.zeros(s, np.int64), np.zeros(s * 3, np.int64)
    columns = {c: boxes[c].to_numpy() for c in ("label", "crowd", "x1", "y1", "x2", "y2")}
    for rows in chunks(len(boxes)):
        label, crowd, x1, y1, x2, y2 = (columns[c][rows] for c in columns)
        of = subset[at[rows]]
        crowds += np.bincount(of[crowd], minlength=s)
        per_class += np.bincount(of[~crowd] * classes + label[~crowd], minlength=s * classes)
        area = (x2 - x1) * (y2 - y1)
        ranges += np.bincount(of * 3 + np.digitize(area, COCO_AREAS), minlength=s * 3)
        octave = np.log2(np.maximum(area, 2.0**-40)) / 2 - SIDE_START
        bins = np.clip(octave * SIDE_STEPS, 0, SIDE_BINS - 1).astype(np.int64)
        sides += np.bincount(of * SIDE_BINS + bins, minlength=s * SIDE_BINS)
    per_image = np.bincount(at, minlength=len(images))
    on_image = np.bincount(subset * MOST_BOXES + np.minimum(per_image, MOST_BOXES - 1), minlength=s * MOST_BOXES)
    return Counts(
        subsets=tuple(names),
        images=np.bincount(subset, minlength=s),
        boxes=np.bincount(subset, per_image, minlength=s).astype(np.int64),
        crowd=crowds,
        classes=per_class.reshape(s, classes),
        sides=sides.reshape(s, SIDE_BINS),
        ranges=ranges.reshape(s, 3),
        on_image=on_image.reshape(s, MOST_BOXES),
    )
