"""The threshold at which the machine draws as many boxes an image as people did. It needs no hidden truth."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from scantling.evaluate.portions import Table
from scantling.evaluate.truth import Truth

STEPS = 1_000_000  # of the score 0..1: thresholds have six places
COARSE = 1_000  # steps in a range of the first look at the scores


class Density:
    """Labeled images count if nothing in them is hidden; their density is compared with all pseudo labels of the other
    images, those that repeat a kept box included.

    The first look counts, portion by portion, how many labels of a class are in each range of the score. The second one
    counts the steps of the only range that the wanted label can be in. No label is held.
    """

    def __init__(self, classes: int):
        self._images = 0  # labeled ones
        self._boxes = np.zeros(classes + 1, np.int64)  # of these; the last: all
        self._others = [np.zeros(0, np.int64)]  # ids of the other images, ascending
        self._ranges = np.zeros((classes + 1, STEPS // COARSE + 1), np.int64)

    def add(self, truth: Truth, split: pd.DataFrame, pseudo: pd.DataFrame) -> None:
        """Count one portion, its images with higher ids than those before."""
        whole = split[split["labeled"] & ~split["image_id"].isin(truth.hidden["image_id"])]
        boxes = whole.loc[whole["box_id"] >= 0, "label"].to_numpy(np.int64)
        self._images += whole["image_id"].nunique()
        self._boxes += np.bincount(_and_all(boxes, len(self._boxes) - 1), minlength=len(self._boxes))
        self._others.append(np.setdiff1d(split["image_id"], whole["image_id"]))
        labels, steps = self._steps(pseudo, self._others[-1])
        self._ranges += _table(labels, steps // COARSE, self._ranges.shape)

    def thresholds(self, pseudo: Table, classes: Sequence[str]) -> dict[str, Any]:
        """For `all` and each of `classes`: boxes_per_image of the labeled images, and the score `threshold` (>=) above
        which the pseudo labels have the same density; None where the labeled images hold none of the class, or the
        pseudo labels of any score are fewer. `labeled_images`, `images`: how many there are of either.
        """
        others = np.concatenate(self._others)
        density = self._boxes / max(self._images, 1)
        wanted = np.array([round(value * len(others)) for value in density])
        place, rest = _from_the_top(self._ranges, wanted)
        fine = np.zeros((len(wanted), COARSE), np.int64)
        for batch in pseudo.batches(["image_id", "label", "score"]):
            labels, steps = self._steps(batch, others)
            near = steps // COARSE == place[labels]
            fine += _table(labels[near], steps[near] % COARSE, fine.shape)
        lowest = place * COARSE + _from_the_top(fine, rest)[0]
        known = (wanted > 0) & (wanted <= self._ranges.sum(axis=1))
        rows = [
            {
                "boxes_per_image": round(float(density[k]), 6) if self._images else None,
                # rounded down, so that the last wanted box is still at the threshold
                "threshold": int(lowest[k]) / STEPS if known[k] else None,
            }
            for k in range(len(wanted))
        ]
        counts = {"labeled_images": self._images, "images": len(others)}
        return {**counts, "all": rows[-1], "classes": dict(zip(classes, rows[:-1], strict=True))}

    def _steps(self, pseudo: pd.DataFrame, others: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Class and step of the score of the labels on `others`; then all of them again as the class after the last."""
        ids = pseudo["image_id"].to_numpy()
        rows = pseudo[np.searchsorted(others, ids, "right") > np.searchsorted(others, ids)]
        scores = rows["score"].to_numpy(np.float32).astype(np.float64)
        steps = np.floor(scores * STEPS).astype(np.int64).clip(0, STEPS)
        return _and_all(rows["label"].to_numpy(np.int64), len(self._boxes) - 1), np.tile(steps, 2)


def _and_all(labels: np.ndarray, classes: int) -> np.ndarray:
    return np.concatenate([labels, np.full(len(labels), classes)])


def _table(rows: np.ndarray, columns: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
    """How often each pair occurs."""
    return np.bincount(rows * shape[1] + columns, minlength=shape[0] * shape[1]).reshape(shape)


def _from_the_top(counts: np.ndarray, wanted: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """For each row of counts (K, B) the column (K,) in which the last of the `wanted` (K,) is, counted from the last
    column on, and the how manyth of that column it is; column -1 if there are fewer."""
    reached = np.pad(counts[:, ::-1].cumsum(axis=1), ((0, 0), (1, 0)))
    passed = (reached[:, 1:] < wanted[:, None]).sum(axis=1)
    return counts.shape[1] - 1 - passed, wanted - np.take_along_axis(reached, passed[:, None], 1)[:, 0]
