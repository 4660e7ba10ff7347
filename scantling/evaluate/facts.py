"""Everything that is measured of a finished run, from its detections and its labels."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import pandas as pd

from scantling.data.index import Index
from scantling.evaluate import below, bootstrap, errors, frequency, label_quality, metrics, tested
from scantling.evaluate.params import EvaluateParams

BURN_IN = "burn_in"  # the model that the run's teacher is compared with


@dataclass(frozen=True)
class Facts:
    """documents: file name -> content; tables: file name -> rows (see stages/evaluate.py)."""

    documents: dict[str, Any]
    tables: dict[str, pd.DataFrame]


def measure(
    data: Index,
    labeled_boxes: np.ndarray,
    found: Mapping[str, tested.Found],
    looked_at: Mapping[str, pd.DataFrame],
    quality: dict[str, Any],
    params: EvaluateParams,
    minority: Sequence[str] = (),
) -> Facts:
    """labeled_boxes: (C,) of each class in the split; found, looked_at: per model its detections and the rows of images
    it looked at; quality: of the labels; minority: classes that an imbalanced split names."""
    burn_in = found.get(BURN_IN)
    found = {role: table for role, table in found.items() if role != BURN_IN}
    names = metrics.chosen(data, params.metrics)
    results = {role: metrics.measure(data, params.subset, table, names) for role, table in found.items()}
    per_class = by_model({role: result.per_class for role, result in results.items()})
    per_class = frequency.marked(per_class, labeled_boxes, data.classes, params.frequency)

    numbers: dict[str, Any] = {role: result.numbers["coco"] for role, result in results.items()}
    numbers |= {"pseudo": label_quality.headline(quality), "groups": frequency.means(per_class)}
    numbers |= {"imbalance": frequency.imbalance(per_class, minority)} if minority else {}
    numbers |= {name: {role: result.numbers[name] for role, result in results.items()} for name in names[1:]}
    if burn_in is not None:
        numbers[BURN_IN] = below.compare(data, looked_at[BURN_IN], burn_in, found["teacher"])
    errors_of = {"judge": partial(metrics.judgeable, metrics=names), **params.errors.model_dump()}
    return Facts(
        documents={
            "metrics.json": numbers,
            "intervals.json": bootstrap.measure(data, params.subset, found, **params.intervals.model_dump()),
            "errors.json": errors.measure(data, params.subset, found, **errors_of),
            "label_quality.json": quality,
        },
        tables={"per_class.csv": per_class},
    )


def by_model(tables: dict[str, pd.DataFrame]) -> pd.DataFrame:
    """The tables one below the other, with the model that each row is of as first column."""
    return pd.concat(tables, names=["model"]).reset_index(level="model")
