"""What a round changed: the labels that were learned from in the round before against those of this one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from scantling.evaluate.counting import judge, share
from scantling.evaluate.matching import match
from scantling.evaluate.refinement import scores_of, used
from scantling.evaluate.sums import Sums
from scantling.evaluate.truth import Truth

COUNTS = ("before", "now", "same", "moved", "relabeled", "relabeled_from", "added", "removed")


@dataclass(frozen=True)
class Changes(Sums):
    """Two rounds, matched image by image, the better score first: same class, then any class.

    labels   for each of COUNTS (C,): before, now (labels used by any loss), same (same class, IoU >= same_iou), moved
             (same class, IoU below it but >= iou_threshold), relabeled (another class now, counted for the new one),
             relabeled_from (the same labels, counted for the old one), added, removed
             so that before = same + moved + relabeled_from + removed, now = same + moved + relabeled + added
    overlap  sum of the IoU of the labels that kept their class
    images, images_changed   with any label in either round; with one that is not the same
    counted, right   of same, moved, relabeled, added, removed by the hidden truth; a removed label as it was
    """

    labels: dict[str, np.ndarray]
    overlap: float
    images: int
    images_changed: int
    counted: dict[str, int]
    right: dict[str, int]


def between(
    truth: Truth, before: pd.DataFrame, now: pd.DataFrame, classes: int, *, iou_threshold: float, same_iou: float
) -> Changes:
    """Match two refined tables."""
    old, new = used(before), used(now)
    order = np.argsort(-scores_of(new).astype(np.float64), kind="stable")
    taken, iou = match(new, old, order, iou_threshold)
    gone = np.setdiff1d(np.arange(len(old)), taken)
    left = np.flatnonzero(taken < 0)
    rest_order = np.argsort(-scores_of(new)[left].astype(np.float64), kind="stable")
    swapped = match(new.iloc[left].assign(label=0), old.iloc[gone].assign(label=0), rest_order, iou_threshold)[0]
    is_swapped = np.zeros(len(new), dtype=bool)
    is_swapped[left[swapped >= 0]] = True
    origin = gone[swapped[swapped >= 0]]
    removed = np.zeros(len(old), dtype=bool)
    removed[np.setdiff1d(gone, origin)] = True

    kept = taken >= 0
    masks = {
        "same": kept & (iou >= same_iou),
        "moved": kept & ~(iou >= same_iou),
        "relabeled": is_swapped,
        "added": ~kept & ~is_swapped,
    }
    labels = {name: new["label"][mask] for name, mask in masks.items()}
    labels |= {
        "before": old["label"],
        "now": new["label"],
        "relabeled_from": old["label"].iloc[origin],
        "removed": old["label"][removed],
    }
    touched = pd.concat([new.loc[~masks["same"], "image_id"], old.loc[removed, "image_id"]])
    of_new, of_old = _judge(truth, new, iou_threshold), _judge(truth, old, iou_threshold)
    judged = {name: (mask, *of_new) for name, mask in masks.items()} | {"removed": (removed, *of_old)}
    return Changes(
        labels={name: np.bincount(labels[name], minlength=classes) for name in COUNTS},
        overlap=float(iou[kept].sum()),
        images=pd.concat([old["image_id"], new["image_id"]]).nunique(),
        images_changed=touched.nunique(),
        counted={name: int((mask & counted).sum()) for name, (mask, _, counted) in judged.items()},
        right={name: int((mask & right).sum()) for name, (mask, right, _) in judged.items()},
    )


def summary(sums: Changes, classes: Sequence[str]) -> dict[str, Any]:
    """all, classes (each of COUNTS), mean_iou of the labels that kept their class, images, images_changed, precision
    {added, removed, same, moved, relabeled}; None where nothing can be judged."""
    every = {name: int(count.sum()) for name, count in sums.labels.items()}
    return {
        "images": sums.images,
        "images_changed": sums.images_changed,
        "mean_iou": share(sums.overlap, every["same"] + every["moved"]),
        "all": every,
        "classes": {c: {name: int(sums.labels[name][k]) for name in COUNTS} for k, c in enumerate(classes)},
        "precision": {name: share(sums.right[name], n) for name, n in sums.counted.items()},
    }


def _judge(truth: Truth, rows: pd.DataFrame, iou_threshold: float) -> tuple[np.ndarray, np.ndarray]:
    """(N,) right and (N,) counted, among all labels of that round."""
    known = rows["image_id"].isin(truth.images).to_numpy()
    judged = judge(truth, rows[known], scores_of(rows)[known], iou_threshold)
    right, counted = np.zeros((2, len(rows)), dtype=bool)
    right[known], counted[known] = judged.right, judged.counted
    return right, counted
