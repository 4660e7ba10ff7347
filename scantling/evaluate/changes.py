"""What a round changed: the labels that were learned from in the round before against those of this one."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from scantling.evaluate.counting import judge, rounded
from scantling.evaluate.matching import match
from scantling.evaluate.refinement import scores_of, used
from scantling.evaluate.truth import Truth

COUNTS = ("before", "now", "same", "moved", "relabeled", "relabeled_from", "added", "removed")


def between(
    truth: Truth,
    before: pd.DataFrame,
    now: pd.DataFrame,
    classes: Sequence[str],
    *,
    iou_threshold: float,
    same_iou: float,
) -> dict[str, Any]:
    """Two refined tables, matched image by image, the better score first: same class, then any class.

    all, classes   before, now (labels used by any loss), same (same class, IoU >= same_iou), moved (same class, IoU
                   below it but >= iou_threshold), relabeled (another class now, counted for the new one),
                   relabeled_from (the same labels, counted for the old one), added, removed
                   so that before = same + moved + relabeled_from + removed, now = same + moved + relabeled + added
    mean_iou       of the labels that kept their class
    images, images_changed   with any label in either round; with one that is not the same
    precision      {added, removed, same, moved, relabeled}: how many of them are right by the hidden truth; a removed
                   label as it was. None where nothing can be judged
    """
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
    n = len(classes)
    per_class = {name: np.bincount(new["label"][mask], minlength=n) for name, mask in masks.items()}
    per_class |= {
        "before": np.bincount(old["label"], minlength=n),
        "now": np.bincount(new["label"], minlength=n),
        "relabeled_from": np.bincount(old["label"].iloc[origin], minlength=n),
        "removed": np.bincount(old["label"][removed], minlength=n),
    }
    touched = pd.concat([new.loc[~masks["same"], "image_id"], old.loc[removed, "image_id"]])
    judge_now = _judge(truth, new, iou_threshold)
    return {
        "images": pd.concat([old["image_id"], new["image_id"]]).nunique(),
        "images_changed": touched.nunique(),
        "mean_iou": rounded(iou[kept].mean()) if kept.any() else None,
        "all": {name: int(per_class[name].sum()) for name in COUNTS},
        "classes": {c: {name: int(per_class[name][k]) for name in COUNTS} for k, c in enumerate(classes)},
        "precision": {name: _share(*judge_now, mask) for name, mask in masks.items()}
        | {"removed": _share(*_judge(truth, old, iou_threshold), removed)},
    }


def _judge(truth: Truth, rows: pd.DataFrame, iou_threshold: float) -> tuple[np.ndarray, np.ndarray]:
    """(N,) right and (N,) counted, among all labels of that round."""
    known = rows["image_id"].isin(truth.images).to_numpy()
    judged = judge(truth, rows[known], scores_of(rows)[known], iou_threshold)
    right, counted = np.zeros((2, len(rows)), dtype=bool)
    right[known], counted[known] = judged.right, judged.counted
    return right, counted


def _share(right: np.ndarray, counted: np.ndarray, mask: np.ndarray) -> float | None:
    return rounded(right[mask].sum() / counted[mask].sum()) if counted[mask].any() else None
