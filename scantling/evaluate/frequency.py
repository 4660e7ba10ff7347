"""Results of rare, common and frequent classes: by the boxes of a class that a split keeps, not by those it hides.

An imbalanced split also names its minority classes; their results and those of all others are means of the same kind.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from scantling.evaluate.params import FrequencyParams
from scantling.evaluate.portions import Table

GROUPS = ("rare", "common", "frequent")
IMBALANCE = ("minority", "majority")


def labeled_boxes(split: Table, classes: int) -> np.ndarray:
    """(C,) how many boxes of each class a split keeps."""
    count = np.zeros(classes, np.int64)
    for rows in split.batches(["box_id", "label"]):
        count += np.bincount(rows.loc[rows["box_id"] >= 0, "label"], minlength=classes)
    return count


def marked(
    per_class: pd.DataFrame, labeled_boxes: np.ndarray, classes: Sequence[str], params: FrequencyParams
) -> pd.DataFrame:
    """The rows (model, class, ...) with `labeled_boxes` (C,) that training saw of their class and their `group`."""
    boxes = per_class["class"].map(dict(zip(classes, labeled_boxes.tolist(), strict=True))).astype("int64")
    place = np.digitize(boxes, [params.rare_boxes + 1, params.common_boxes + 1])
    return per_class.assign(labeled_boxes=boxes, group=[GROUPS[i] for i in place])


def means(rows: pd.DataFrame, groups: Sequence[str] = GROUPS) -> dict[str, Any]:
    """Per group its number of classes, and the mean AP and AP50 of each model over those that the subset has."""
    found: dict[str, Any] = {}
    for group, of_group in rows.groupby("group", sort=False):
        models = {
            model: {name: _mean(one[name]) for name in ("AP", "AP50")} for model, one in of_group.groupby("model")
        }
        found[str(group)] = {"classes": of_group["class"].nunique(), **models}
    return {name: found[name] for name in groups if name in found}


def imbalance(per_class: pd.DataFrame, minority: Sequence[str]) -> dict[str, Any]:
    """As `means`: of the classes that a split names as its minority, and of all others."""
    groups = np.where(per_class["class"].isin(minority), *IMBALANCE)
    return means(per_class.assign(group=groups), IMBALANCE)


def _mean(values: pd.Series) -> float | None:
    return None if values.isna().all() else float(values.mean())
