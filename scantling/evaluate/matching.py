"""Which box of one table is which box of another: same image, same class, enough overlap.

Tables have the columns image_id, label, x1, y1, x2, y2; P rows are found, T rows are true.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pandas as pd

from scantling.data.index import XYXY

PAIRS_AT_ONCE = 500_000  # bounds the memory of one pass, 100 to 150 bytes a pair


def match(
    found: pd.DataFrame, truth: pd.DataFrame, order: np.ndarray, iou_threshold: float
) -> tuple[np.ndarray, np.ndarray]:
    """The true box that each found box takes: row number (P,) int64, -1 for none; and the IoU (P,) float64, NaN then.

    Greedy as in COCO: in `order` (P row numbers, best first) each found box takes the free true box of its image and
    class with the highest IoU, if that is at least `iou_threshold`. A prefix of `order` has the same matches alone.
    """
    p, t, iou = overlaps(found, truth, iou_threshold)
    place = np.empty(len(found), dtype=np.int64)
    place[order] = np.arange(len(found))
    sequence = np.lexsort((t, -iou, place[p]))
    taken, overlap = np.full(len(found), -1, dtype=np.int64), np.full(len(found), np.nan)
    used, done = bytearray(len(truth)), bytearray(len(found))
    for start in range(0, len(sequence), PAIRS_AT_ONCE):
        some = sequence[start : start + PAIRS_AT_ONCE]
        for i, j, value in zip(*(column[some].tolist() for column in (p, t, iou)), strict=True):
            if not used[j] and not done[i]:
                used[j] = done[i] = True
                taken[i], overlap[i] = j, value
    return taken, overlap


def overlaps(
    found: pd.DataFrame, truth: pd.DataFrame, threshold: float, *, over: str = "union"
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Pairs (row of found, row of truth, overlap) of one image and class whose overlap is at least `threshold` (> 0).

    over  "union": IoU; "found": intersection over the area of the found box, COCO's rule for crowd regions
    """
    corners = found[XYXY].to_numpy(), truth[XYXY].to_numpy()
    parts = [_overlaps_of(*corners, p, t, threshold, over) for p, t in _pairs(found, truth)]
    empty = (np.zeros(0, np.int64), np.zeros(0, np.int64), np.zeros(0))
    p, t, iou = (np.concatenate(column) for column in zip(*parts, strict=True)) if parts else empty
    return p, t, iou


def _overlaps_of(
    found: np.ndarray, truth: np.ndarray, p: np.ndarray, t: np.ndarray, threshold: float, over: str
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    a, b = found[p].astype(np.float64), truth[t].astype(np.float64)
    sides = np.minimum(a[:, 2:], b[:, 2:]) - np.maximum(a[:, :2], b[:, :2])
    shared = sides.clip(0).prod(axis=1)
    area, other = (a[:, 2:] - a[:, :2]).prod(axis=1), (b[:, 2:] - b[:, :2]).prod(axis=1)
    whole = area + other - shared if over == "union" else area
    value = np.divide(shared, whole, out=np.zeros_like(shared), where=whole > 0)
    near = value >= threshold
    return p[near], t[near], value[near]


def _pairs(found: pd.DataFrame, truth: pd.DataFrame) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """All pairs of rows of one image and class, in portions of about PAIRS_AT_ONCE."""
    images, labels = (np.concatenate([found[name], truth[name]]) for name in ("image_id", "label"))
    group = pd.factorize(images)[0].astype(np.int64) * (int(labels.max(initial=0)) + 1) + labels
    mine, theirs = group[: len(found)], group[len(found) :]
    by_group = np.argsort(theirs, kind="stable")
    first = np.searchsorted(theirs[by_group], mine, side="left")
    count = np.searchsorted(theirs[by_group], mine, side="right") - first
    cuts = np.flatnonzero(np.diff(np.cumsum(count) // PAIRS_AT_ONCE)) + 1
    for rows in np.split(np.arange(len(found)), cuts):
        n = count[rows]
        within = np.arange(n.sum()) - np.repeat(np.cumsum(n) - n, n)  # 0..n-1 for each found box
        yield np.repeat(rows, n), by_group[np.repeat(first[rows], n) + within]
