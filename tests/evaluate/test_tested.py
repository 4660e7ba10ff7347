"""What is measured of a few images at a time is what is measured of all at once, to the last bit."""

from __future__ import annotations

import json
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from scantling.data.index import IMAGE_LABEL_COLUMNS, Index, table
from scantling.evaluate import accumulation, bootstrap, coco, errors, fast, lvis, metrics, tested, voc
from scantling.evaluate.portions import Held, Stored
from scantling.stage import BadInput
from tests.evaluate.made import found, index
from tests.evaluate.test_fast import crowded, found_box, true_box

WHOLE = (10.0, 10.0, 50.0, 50.0)


def federated(data: Index, seed: int) -> Index:
    rng = np.random.default_rng(seed)
    pairs = [(i, k) for i in data.images["image_id"] for k in range(len(data.classes)) if rng.random() < 0.4]
    known = [{"image_id": i, "label": k, "kind": rng.choice(["negative", "not_exhaustive"])} for i, k in pairs]
    return replace(data, image_labels=table(known, IMAGE_LABEL_COLUMNS), facts={"frequencies": ["r", "f"]})


def everything(data: Index, rows: tested.Found) -> str:
    """All that `evaluate` measures of detections, every digit of it."""
    numbers: dict[str, Any] = {}
    for engine in (coco, fast, lvis):
        result = engine.evaluate(data, "test", rows)
        numbers[engine.__name__] = [result.numbers, result.per_class.to_csv()]
    numbers |= {rule: voc.evaluate(data, "test", rows, rule=rule).to_csv() for rule in ("area", "11_points")}
    told = {"resamples": 20, "level": 0.9, "seed": 1}
    numbers["intervals"] = bootstrap.measure(data, "test", {"one": rows}, **told)
    for name, judge in (("all", None), ("lvis", partial(metrics.judgeable, metrics=("coco", "lvis")))):
        numbers[f"errors {name}"] = errors.measure(data, "test", {"one": rows}, score_threshold=0.4, judge=judge)
    return json.dumps(numbers)


def in_portions(data: Index, rows: tested.Found, at_once: int) -> str:
    with mock.patch.object(tested, "ROWS", at_once), mock.patch.object(accumulation, "ROWS", at_once):
        return everything(data, rows)


@pytest.mark.parametrize(("seed", "per_image", "images"), [(0, 60, 4), (1, 200, 3), (2, 30, 12), (3, 4, 20)])
def test_portions_change_nothing(seed, per_image, images, tmp_path: Path):
    """Scores in hundredths, so many are equal; crowds, difficult boxes, more than 100 of a class in an image."""
    data, rows = crowded(seed, per_image, images)
    data, whole = federated(data, seed), everything(federated(data, seed), rows)
    for at_once in (1, 90):
        assert in_portions(data, rows, at_once) == whole
    rows.sort_values("image_id", kind="stable").to_parquet(tmp_path / "rows.parquet", row_group_size=50)
    assert in_portions(data, Stored(tmp_path / "rows.parquet"), 90) == whole


@settings(max_examples=10, deadline=None)
@given(st.lists(true_box, max_size=12), st.lists(found_box, max_size=16))
def test_portions_change_nothing_of_few_boxes(boxes, rows):
    data = federated(index(boxes, {1: "test", 2: "test", 3: "test"}), 0)
    assert in_portions(data, found(*rows), 1) == everything(data, found(*rows))


def test_walk_gives_each_image_and_row_once():
    data, rows = crowded(5, per_image=10, images=20)
    data = replace(data, images=pd.concat([data.images, data.images.assign(image_id=99, subset="val")[:1]]))
    parts = list(tested.walk(data, "test", rows, at_once=70))
    assert len(parts) > 3
    counts = [len(part.images) for _, part, _ in parts]
    assert [before for before, _, _ in parts] == [sum(counts[:n]) for n in range(len(parts))] and sum(counts) == 20
    assert all(set(some["image_id"]) <= set(part.images["image_id"]) for _, part, some in parts)
    assert sum(len(some) for *_, some in parts) == len(rows)
    assert sum(len(part.boxes) for _, part, _ in parts) == len(data.boxes)


def test_detections_that_cannot_be_are_refused_wherever_they_lie():
    data = index([], {1: "test", 2: "test", 3: "val"})
    many = [(1, 0, 0.5, WHOLE)] * 5

    class Dealt(Held):
        def batches(self, columns=None):
            for rows in super().batches(columns):
                yield from (rows[n : n + 2] for n in range(0, len(rows), 2))

    tested.check(data, "test", Dealt(found(*many)))
    with pytest.raises(BadInput, match="2 detections are of images outside subset `test`, the first of image 3"):
        tested.check(data, "test", Dealt(found(*many, (3, 0, 0.5, WHOLE), (4, 9, 0.5, WHOLE))))
    with pytest.raises(BadInput, match="has label 2, but labels go from 0 to 1"):
        tested.check(data, "test", Dealt(found(*many, (2, 2, 0.5, WHOLE))))
    with pytest.raises(BadInput, match="not finite"):
        tested.check(data, "test", Dealt(found(*many, (2, 1, float("inf"), WHOLE))))
