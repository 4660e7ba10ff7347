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


def measure(
    index: Index, subset: str, found: pd.DataFrame, used: np.ndarray, *, too_wrong: float, enough: int
) -> Expected | None:
    """None where the held-out images have no label or fewer than `enough` found boxes with such scores.

    index      with the boxes of `subset`
    found      the teacher's boxes on its images: image_id, label, score, corners in original pixels
    used       (N,) scores 0..1 of the boxes that are learned from
    too_wrong  share 0..1; below it the verdict is "too wrong"
    """
    truth = held_out(index, subset)
    if not len(truth.hidden):  # none is known, as of LVIS
        return None
    rows = found[found["image_id"].isin(truth.images)]
    judged = judge(truth, rows, rows["score"].to_numpy(), RIGHT_IOU)
    places = _tenth(judged.scores)
    count = np.bincount(places[judged.counted], minlength=BINS)
    right = np.bincount(places[judged.right], minlength=BINS)
    share = np.bincount(_tenth(used), minlength=BINS) * (count > 0)  # nothing is known of a tenth without a box
    boxes = int(count[share > 0].sum())
    if boxes < enough:
        return None
    precision = float((share * right / np.maximum(count, 1)).sum() / share.sum())
    verdict = "too wrong" if precision < too_wrong else "fine"
    return Expected(subset, len(truth.images), boxes, precision, verdict)


def _tenth(scores: np.ndarray) -> np.ndarray:
    return np.clip((np.asarray(scores, np.float64) * BINS).astype(np.int64), 0, BINS - 1)
