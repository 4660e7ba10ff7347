"""The threshold at which the machine draws as many boxes an image as people did. It needs no hidden truth."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from scantling.evaluate.truth import Truth


def matching_thresholds(
    truth: Truth, split: pd.DataFrame, pseudo: pd.DataFrame, classes: Sequence[str]
) -> dict[str, Any]:
    """For `all` and each of `classes`: boxes_per_image of the labeled images, and the score `threshold` (>=) above
    which the pseudo labels have the same density; None where the labeled images hold none of the class, or the pseudo
    labels of any score are fewer.

    Labeled images count if nothing in them is hidden; their density is compared with all pseudo labels of the other
    images, those that repeat a kept box included. `labeled_images`, `images`: how many there are of either.
    """
    partly = set(truth.hidden["image_id"])
    whole = split[split["labeled"] & ~split["image_id"].isin(partly)]
    others = split.loc[~split["image_id"].isin(whole["image_id"]), "image_id"].nunique()
    boxes = whole.loc[whole["box_id"] >= 0, "label"].to_numpy(np.int64)
    images = whole["image_id"].nunique()
    rows = pseudo[pseudo["image_id"].isin(split["image_id"]) & ~pseudo["image_id"].isin(whole["image_id"])]
    labels, scores = rows["label"].to_numpy(np.int64), rows["score"].to_numpy(np.float32)
    order = np.lexsort((-scores, labels))
    cuts = np.searchsorted(labels[order], np.arange(len(classes) + 1))
    counts = np.bincount(boxes, minlength=len(classes))
    by_class = [_one(counts[k], images, scores[order][cuts[k] : cuts[k + 1]], others) for k in range(len(classes))]
    return {
        "labeled_images": images,
        "images": others,
        "all": _one(len(boxes), images, np.sort(scores)[::-1], others),
        "classes": dict(zip(classes, by_class, strict=True)),
    }


def _one(boxes: int, images: int, scores: np.ndarray, others: int) -> dict[str, float | None]:
    """`boxes` in `images` labeled images against `scores` (falling) in `others` images."""
    density = float(boxes / images) if images else None
    wanted = round((density or 0.0) * others)
    known = 0 < wanted <= len(scores)
    return {
        "boxes_per_image": None if density is None else round(density, 6),
        # rounded down, so that the last wanted box is still at the threshold
        "threshold": math.floor(float(scores[wanted - 1]) * 1e6) / 1e6 if known else None,
    }
