"""Average precision as PASCAL VOC defines it: at 11 recalls (VOC07) or as the area under the curve (VOC10 and later).

The devkit counts pixels, so it adds 1 to the sides of its inclusive corners. The index stores the outer edges of the
pixels (x1 = xmin - 1, x2 = xmax), whose plain differences are those sides: nothing is added here.
"""

from __future__ import annotations

from typing import Literal

import numpy as np
import pandas as pd

from scantling.data.index import Index
from scantling.evaluate import tested
from scantling.evaluate.matching import overlaps
from scantling.evaluate.rankings import ByClass

Rule = Literal["11_points", "area"]
RECORD = np.dtype([("score", "<f8"), ("right", "?")])


def evaluate(
    index: Index, subset: str, detections: tested.Found, *, iou_threshold: float = 0.5, rule: Rule = "area"
) -> pd.DataFrame:
    """One row per class of the index: class, AP (fraction, NaN without true boxes), boxes (difficult ones left out).

    Equal scores keep the order of image ids, and in an image that of the rows.
    """
    ranks, boxes = ByClass(RECORD, len(index.classes)), np.zeros(len(index.classes), np.int64)
    for _, part, rows in tested.walk(index, subset, detections):
        best = rows.sort_values("score", ascending=False, kind="stable").reset_index(drop=True)
        assert part.boxes is not None
        truth = part.boxes.reset_index(drop=True)
        right, counts = judged(best, truth, iou_threshold)
        found = np.zeros(int(counts.sum()), RECORD)
        found["score"], found["right"] = best["score"][counts], right[counts]
        ranks.add(found, best["label"].to_numpy()[counts])
        wanted = truth.loc[~truth["difficult"] & ~truth["crowd"], "label"]
        boxes += np.bincount(wanted, minlength=len(boxes))
    rows = []
    for label, name in enumerate(index.classes):
        mine = ranks.of(label)
        right = mine["right"][np.argsort(-mine["score"], kind="stable")]
        ap = average_precision(right, int(boxes[label]), rule)
        rows.append({"class": name, "AP": ap, "boxes": int(boxes[label])})
    return pd.DataFrame(rows, columns=["class", "AP", "boxes"])


def judged(found: pd.DataFrame, truth: pd.DataFrame, iou_threshold: float) -> tuple[np.ndarray, np.ndarray]:
    """(P,) bool, which found boxes are right, and which count at all. `found` best first.

    Each box is compared with the true box of its class it overlaps most, taken or not: it is right if that is by
    `iou_threshold` or more and the true box is still free, and does not count if that one is difficult (or a crowd).
    """
    p, t, iou = overlaps(found, truth, 1e-9)
    order = np.lexsort((t, -iou, p))
    first = np.unique(p[order], return_index=True)[1]  # the largest overlap of each found box
    p, t, iou = (column[order][first] for column in (p, t, iou))
    near = iou >= iou_threshold
    p, t = p[near], t[near]
    ignored = (truth["difficult"] | truth["crowd"]).to_numpy()[t]
    right, counts = np.zeros(len(found), dtype=bool), np.ones(len(found), dtype=bool)
    counts[p[ignored]] = False
    p, t = p[~ignored], t[~ignored]
    right[p[np.unique(t, return_index=True)[1]]] = True  # rows are best first: the first to claim a true box has it
    return right, counts


def average_precision(right: np.ndarray, boxes: int, rule: Rule) -> float:
    """AP of one class from its found boxes, best first, and its number of true boxes; NaN without any."""
    if boxes == 0:
        return float("nan")
    hits = np.cumsum(right)
    recall, precision = hits / boxes, hits / np.arange(1, len(right) + 1)
    if rule == "11_points":
        levels = np.linspace(0, 1, 11)
        # compared without tolerance, as everyone does: a recall of 9/15 misses the level 6 * 0.1 by the last bit
        best = [precision[recall >= level].max(initial=0.0) for level in levels]
        return float(np.mean(best))
    envelope = np.maximum.accumulate(precision[::-1])[::-1]
    return float(np.sum(np.diff(recall, prepend=0.0) * envelope))
