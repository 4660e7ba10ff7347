"""Whether a run's teacher has fallen below the teacher it began with: pseudo labels that teach wrong do that."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd

from scantling import log
from scantling.data.index import Index
from scantling.evaluate import coco, portions, tested


def some(images: pd.DataFrame, count: int) -> pd.DataFrame:
    """At most `count` rows, spread evenly over the ids: the same images for every model."""
    ordered = images.sort_values("image_id")
    if len(ordered) <= count:
        return ordered
    return ordered.iloc[np.linspace(0, len(ordered) - 1, count).round().astype(int)]


def compare(index: Index, images: pd.DataFrame, before: tested.Found, after: tested.Found) -> dict[str, Any]:
    """AP of the burn-in teacher and of the run's on the same images of one subset; a warning if the latter is lower.

    before, after  detections as `predict` gives them; those of other images are left out
    """
    part = replace(index, images=images)
    subset = images["subset"].iloc[0]
    ids = images["image_id"].to_numpy()
    found = {"burn_in_AP": before, "teacher_AP": after}
    numbers = {
        name: coco.evaluate(part, subset, portions.of_images(tested.table_of(table), ids)).numbers["AP"]
        for name, table in found.items()
    }
    old, new = numbers["burn_in_AP"], numbers["teacher_AP"]
    fallen = old is not None and new is not None and new < old
    if fallen:
        log.warn(
            f"the teacher is below its burn-in: AP {new:.4f} against {old:.4f} on the same {len(images)} images; its "
            "pseudo labels teach wrong things: compare label_quality.json with the threshold that training used"
        )
    return {"images": len(images), **numbers, "below_burn_in": fallen}
