"""Right, wrong or neither: labels against a truth, and the numbers of it per class, per size and per score threshold.

A label that only repeats a kept box is no new information; one that lies in a crowd, on a difficult box or of a class
that nobody checked in its image can be neither right nor wrong: these are discarded before anything is counted.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from scantling.data.index import XYXY
from scantling.evaluate.matching import match, overlaps
from scantling.evaluate.sums import Sums
from scantling.evaluate.truth import Truth

SIZES = ("small", "medium", "large")
BOUNDS = (32.0**2, 96.0**2)  # px^2, COCO's (cocodataset.org, detection evaluation); the bound itself is the larger size


@dataclass(frozen=True)
class Judged:
    """One entry per label, in any order.

    labels    (N,) int64, class
    scores    (N,) float32
    iou       (N,) float64, with the hidden box that it takes; NaN: it takes none
    sizes     (N,) int64, place in SIZES: by the published area of the hidden box that it takes, else by its own box, in
              pixels of the original image, not of what a detector sees
    counted   (N,) bool: right or wrong
    discarded why the others are neither, (N,) bool each
    """

    labels: np.ndarray
    scores: np.ndarray
    iou: np.ndarray
    sizes: np.ndarray
    counted: np.ndarray
    discarded: dict[str, np.ndarray]

    @property
    def right(self) -> np.ndarray:
        return self.counted & ~np.isnan(self.iou)


@dataclass(frozen=True)
class Tally(Sums):
    """Labels above each of T thresholds, in G groups: all, then each class, then each of SIZES.

    count, right  (T, G) int64, labels that are right or wrong, and right
    overlap       (T, G) float64, sum of the IoU of the right ones
    hidden        (G,) int64, hidden boxes
    images        how many images have a truth
    """

    count: np.ndarray
    right: np.ndarray
    overlap: np.ndarray
    hidden: np.ndarray
    images: int


def judge(truth: Truth, rows: pd.DataFrame, scores: np.ndarray, iou_threshold: float) -> Judged:
    """Labels (image_id, label, corners) of images of `truth` against it; the best score takes its box first."""
    rows = rows.reset_index(drop=True)
    scores = np.asarray(scores, dtype=np.float32)  # compared as float32: a stored 0.7 is not below 0.7
    repeats = _touches(rows, truth.kept, iou_threshold)
    fresh = np.flatnonzero(~repeats)
    order = np.argsort(-scores[fresh].astype(np.float64), kind="stable")
    iou, taken = np.full(len(rows), np.nan), np.full(len(rows), -1)
    taken[fresh], iou[fresh] = match(rows.iloc[fresh], truth.hidden, order, iou_threshold)
    area = _area(rows)
    area[taken >= 0] = truth.hidden["area"].to_numpy(np.float64)[taken[taken >= 0]]
    free = ~repeats & np.isnan(iou)
    uncertain = free & (
        _touches(rows, truth.difficult, iou_threshold) | _touches(rows, truth.crowd, iou_threshold, over="found")
    )
    unverified = free & ~uncertain & _unverified(truth, rows)
    discarded = {"kept": repeats, "crowd_or_difficult": uncertain, "unverified": unverified}
    return Judged(
        labels=rows["label"].to_numpy(np.int64),
        scores=scores,
        iou=iou,
        sizes=size_of(area),
        counted=~(repeats | uncertain | unverified),
        discarded=discarded,
    )


def size_of(area: np.ndarray) -> np.ndarray:
    """(N,) int64, place in SIZES of areas in px^2."""
    return np.searchsorted(BOUNDS, area, side="right")


def tally(judged: Judged, truth: Truth, classes: int, thresholds: Sequence[float] = (-np.inf,)) -> Tally:
    """Count the labels with score >= each threshold; without thresholds all labels, in a single row."""
    hidden_sizes = size_of(truth.hidden["area"].to_numpy(np.float64))
    groups = (
        (np.zeros_like(judged.labels), np.zeros_like(hidden_sizes), 1),
        (judged.labels, truth.hidden["label"].to_numpy(np.int64), classes),
        (judged.sizes, hidden_sizes, len(SIZES)),
    )

    def along(which: np.ndarray, values: np.ndarray | None = None) -> np.ndarray:
        """(T, G) how many labels of each group are `which` and above the threshold, or the sum of their values."""
        rows = []
        for threshold in thresholds:
            use = which & (judged.scores >= np.float32(threshold))
            weights = None if values is None else values[use]
            rows.append(np.concatenate([np.bincount(mine[use], weights, minlength=n) for mine, _, n in groups]))
        return np.array(rows)

    return Tally(
        count=along(judged.counted),
        right=along(judged.right),
        overlap=along(judged.right, judged.iou),
        hidden=np.concatenate([np.bincount(theirs, minlength=n) for _, theirs, n in groups]),
        images=len(truth.images),
    )


def by_threshold(counts: Tally, classes: Sequence[str]) -> dict[str, dict[str, Any]]:
    """`all`, `classes` (by name) and `sizes`: hidden (a number), and precision, recall, count, boxes_per_image,
    mean_iou as lists along the thresholds."""
    return _grouped(_numbers(counts), classes, _along)


def at_once(counts: Tally, classes: Sequence[str]) -> dict[str, dict[str, Any]]:
    """The same with one number each, of the first row of the counts."""
    return _grouped(_numbers(counts), classes, lambda tables, k: tables[0][k])


def sums(discarded: dict[str, np.ndarray], **more: int) -> dict[str, int]:
    return {name: int(mask.sum()) for name, mask in discarded.items()} | more


def rounded(value: float) -> float | None:
    """To six places, None for NaN."""
    return None if np.isnan(value) else round(float(value), 6)


def share(part: float, whole: float) -> float | None:
    """part / whole to six places, None of nothing."""
    return rounded(part / whole) if whole else None


def _area(rows: pd.DataFrame) -> np.ndarray:
    corners = rows[XYXY].to_numpy(np.float64)
    return (corners[:, 2:] - corners[:, :2]).clip(0).prod(axis=1)


def _touches(rows: pd.DataFrame, boxes: pd.DataFrame, threshold: float, over: str = "union") -> np.ndarray:
    mask = np.zeros(len(rows), dtype=bool)
    mask[overlaps(rows, boxes, threshold, over=over)[0]] = True
    return mask


def _unverified(truth: Truth, rows: pd.DataFrame) -> np.ndarray:
    """(N,) bool: in an image of which only some classes are known, a class that is not, or not every object of which
    has its box. The federated rule of LVIS (Gupta et al. 2019, section 3)."""
    said = truth.image_labels
    if not len(said):
        return np.zeros(len(rows), dtype=bool)
    boxes = pd.concat([truth.hidden, truth.kept, truth.difficult, truth.crowd])
    verified = _is_pair(rows, boxes) | _is_pair(rows, said[said["kind"] == "negative"])
    exhaustive = ~_is_pair(rows, said[said["kind"] == "not_exhaustive"])
    return rows["image_id"].isin(said["image_id"]).to_numpy() & ~(verified & exhaustive)


def _is_pair(rows: pd.DataFrame, others: pd.DataFrame) -> np.ndarray:
    """(N,) bool, whether others has a row of the same image and class."""
    if not len(others) or not len(rows):
        return np.zeros(len(rows), dtype=bool)
    pair = ["image_id", "label"]
    return pd.MultiIndex.from_frame(rows[pair]).isin(pd.MultiIndex.from_frame(others[pair]))


def _numbers(counts: Tally) -> list[list[dict[str, Any]]]:
    """For each threshold one dict of numbers each for all labels, for every class and for every size, in this order."""
    with np.errstate(divide="ignore", invalid="ignore"):
        precision, mean_iou = counts.right / counts.count, counts.overlap / counts.right
        recall = np.where(counts.hidden > 0, counts.right / counts.hidden, np.nan)
    return [
        [
            {
                "hidden": int(counts.hidden[k]),
                "precision": rounded(precision[t, k]),
                "recall": rounded(recall[t, k]),
                "count": int(counts.count[t, k]),
                "boxes_per_image": round(float(counts.count[t, k] / max(counts.images, 1)), 6),
                "mean_iou": rounded(mean_iou[t, k]),
            }
            for k in range(len(counts.hidden))
        ]
        for t in range(len(counts.count))
    ]


def _grouped(tables: list[list[dict[str, Any]]], classes: Sequence[str], one: Any) -> dict[str, dict[str, Any]]:
    first = 1 + len(classes)
    return {
        "all": one(tables, 0),
        "classes": {name: one(tables, 1 + k) for k, name in enumerate(classes)},
        "sizes": {name: one(tables, first + k) for k, name in enumerate(SIZES)},
    }


def _along(tables: list[list[dict[str, Any]]], k: int) -> dict[str, Any]:
    rows = [table[k] for table in tables]
    return {"hidden": rows[0]["hidden"]} | {name: [r[name] for r in rows] for name in rows[0] if name != "hidden"}
