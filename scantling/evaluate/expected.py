"""How many of the labels that a method is about to learn from are right, as held-out images tell before any training.

The share of the teacher's boxes that are right there, by tenths of the score, is taken over to the boxes that are used.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from scantling.data.index import Index
from scantling.evaluate.counting import judge
from scantling.evaluate.truth import held_out

BINS = 10  # of a score 0..1
RIGHT_IOU = 0.5  # with a true box of the class


@dataclass(frozen=True)
class Expected:
    """precision: share 0..1 of the used boxes that should be right; boxes: on how many boxes of the held-out images it
    rests, whose scores lie in the tenths that are used; verdict: "too wrong" or "fine"."""

    subset: str
    images: int
    boxes: int
    precision: float
    verdict: str

    def sentence(self, threshold: str) -> str:
        """For a person: what is known of the labels, and what to do. threshold: the name of the parameter."""
        return (
            f"labels as sure as those in the table: {self.precision:.0%} right on `{self.subset}` ({self.boxes} boxes, "
            f"{self.images} images). Students of such labels were worse than without them (docs/results/cards.md): "
            f"train burn_in longer, raise `{threshold}`, label more, or learn places alone (`soft_teacher_places`)"
        )

    def facts(self) -> dict[str, Any]:
        """The same as plain JSON types."""
        return {
            "verdict": self.verdict,
            "subset": self.subset,
            "images": self.images,
            "boxes": self.boxes,
            "precision": round(self.precision, 4),
        }


@dataclass(frozen=True)
class HeldOut:
    """The teacher's boxes in labeled images that no training saw: `boxes` has label, score (0..1) and right (bool)."""

    subset: str
    images: int
    boxes: pd.DataFrame


def judged(index: Index, subset: str, found: pd.DataFrame) -> HeldOut | None:
    """None where no label is known, as of LVIS. Boxes that are neither right nor wrong (of a crowd, say) are left out.

    index  with the boxes of `subset`
    found  the teacher's boxes on its images: image_id, label, score, corners in original pixels
    """
    truth = held_out(index, subset)
    if not len(truth.hidden):
        return None
    rows = found[found["image_id"].isin(truth.images)]
    seen = judge(truth, rows, rows["score"].to_numpy(), RIGHT_IOU)
    boxes = pd.DataFrame({"label": seen.labels, "score": seen.scores, "right": seen.right})
    return HeldOut(subset, len(truth.images), boxes[seen.counted])


def measure(seen: HeldOut, used: np.ndarray, *, too_wrong: float, enough: int) -> Expected | None:
    """None where the held-out images have fewer than `enough` found boxes with such scores.

    used       (N,) scores 0..1 of the boxes that are learned from
    too_wrong  share 0..1; below it the verdict is "too wrong"
    """
    places = _tenth(seen.boxes["score"].to_numpy())
    count = np.bincount(places, minlength=BINS)
    right = np.bincount(places[seen.boxes["right"].to_numpy(bool)], minlength=BINS)
    share = np.bincount(_tenth(used), minlength=BINS) * (count > 0)  # nothing is known of a tenth without a box
    boxes = int(count[share > 0].sum())
    if boxes < enough:
        return None
    precision = float((share * right / np.maximum(count, 1)).sum() / share.sum())
    verdict = "too wrong" if precision < too_wrong else "fine"
    return Expected(seen.subset, seen.images, boxes, precision, verdict)


def _tenth(scores: np.ndarray) -> np.ndarray:
    return np.clip((np.asarray(scores, np.float64) * BINS).astype(np.int64), 0, BINS - 1)
