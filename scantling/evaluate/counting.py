"""Right, wrong or neither: labels against a truth, and the numbers of it per class, per size and per score threshold.

A label that only repeats a kept box is no new information; one that lies in a crowd, on a difficult box or of a class
that nobody checked in its image can be neither right nor wrong: these are discarded before anything is counted.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
import pandas as pd

from scantling.data.index import XYXY
from scantling.evaluate.matching import match, overlaps
from scantling.evaluate.truth import Truth

ROWS_AT_ONCE = 1_000_000  # labels; of images with more than that, as many as they have
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


def judge(truth: Truth, rows: pd.DataFrame, scores: np.ndarray, iou_threshold: float) -> Judged:
    """Labels (image_id, label, corners) of images of `truth` against it; the best score takes its box first.

    No image knows of another one, so many rows are judged in portions of whole images: what is added to the memory of
    the tables is the result and the work on one portion.
    """
    ids = rows["image_id"].to_numpy()
    if len(rows) <= ROWS_AT_ONCE:
        return _judge(truth, rows, scores, iou_threshold)
    order = np.argsort(ids, kind="stable")
    ids = ids[order]
    starts = np.unique(np.searchsorted(ids, ids[::ROWS_AT_ONCE]))
    made = [
        _judge(truth.between(ids[part[0]], ids[part[-1]]), rows.iloc[order[part]], scores[order[part]], iou_threshold)
        for part in np.split(np.arange(len(ids)), starts[1:])
    ]
    back = np.argsort(order)

    def whole(parts: list[np.ndarray]) -> np.ndarray:
        return np.concatenate(parts)[back]

    columns = {f.name: whole([getattr(one, f.name) for one in made]) for f in fields(Judged) if f.name != "discarded"}
    return Judged(**columns, discarded={k: whole([one.discarded[k] for one in made]) for k in made[0].discarded})


def _judge(truth: Truth, rows: pd.DataFrame, scores: np.ndarray, iou_threshold: float) -> Judged:
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


def by_threshold(
    judged: Judged, truth: Truth, classes: Sequence[str], thresholds: Sequence[float]
) -> dict[str, dict[str, Any]]:
    """`all`, `classes` (by name) and `sizes`: hidden (a number), and precision, recall, count, boxes_per_image,
    mean_iou as lists along `thresholds`, of the labels with score >= threshold."""
    above = [judged.counted & (judged.scores >= np.float32(threshold)) for threshold in thresholds]
    return _grouped([_numbers(judged, truth, use, len(classes)) for use in above], classes, _along)


def at_once(judged: Judged, truth: Truth, classes: Sequence[str]) -> dict[str, dict[str, Any]]:
    """The same with one number each: all labels, whatever their score."""
    return _grouped([_numbers(judged, truth, judged.counted, len(classes))], classes, lambda tables, k: tables[0][k])


def sums(discarded: dict[str, np.ndarray], **more: int) -> dict[str, int]:
    return {name: int(mask.sum()) for name, mask in discarded.items()} | more


def rounded(value: float) -> float | None:
    """To six places, None for NaN."""
    return None if np.isnan(value) else round(float(value), 6)


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


def _numbers(judged: Judged, truth: Truth, use: np.ndarray, classes: int) -> list[dict[str, Any]]:
    """One dict of numbers each for all labels, for every class and for every size, in this order."""
    hidden_sizes = size_of(truth.hidden["area"].to_numpy(np.float64))
    hidden_labels = truth.hidden["label"].to_numpy(np.int64)
    right = use & ~np.isnan(judged.iou)
    groups = (
        (np.zeros(len(judged.labels), dtype=np.int64), np.zeros(len(hidden_labels), dtype=np.int64), 1),
        (judged.labels, hidden_labels, classes),
        (judged.sizes, hidden_sizes, len(SIZES)),
    )
    made: list[dict[str, Any]] = []
    for mine, theirs, n in groups:
        count, correct = np.bincount(mine[use], minlength=n), np.bincount(mine[right], minlength=n)
        overlap, hidden = np.bincount(mine[right], judged.iou[right], minlength=n), np.bincount(theirs, minlength=n)
        with np.errstate(divide="ignore", invalid="ignore"):
            precision, mean_iou = correct / count, overlap / correct
            recall = np.where(hidden > 0, correct / hidden, np.nan)
        made += [
            {
                "hidden": int(hidden[k]),
                "precision": rounded(precision[k]),
                "recall": rounded(recall[k]),
                "count": int(count[k]),
                "boxes_per_image": round(float(count[k] / max(len(truth.images), 1)), 6),
                "mean_iou": rounded(mean_iou[k]),
            }
            for k in range(n)
        ]
    return made


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
