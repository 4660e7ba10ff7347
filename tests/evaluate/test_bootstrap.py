"""Resampled AP against pycocotools on images that are really there several times."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from scantling.data.index import Index
from scantling.evaluate import bootstrap, coco, fast
from scantling.stage import BadInput
from tests.evaluate.made import found, index
from tests.evaluate.test_fast import crowded

WHOLE, OTHER = (10.0, 10.0, 50.0, 50.0), (60.0, 60.0, 90.0, 90.0)
TOLD = {"resamples": 200, "seed": 3, "level": 0.9}


def copied(data: Index, rows: pd.DataFrame, times: np.ndarray) -> tuple[Index, pd.DataFrame]:
    """Images, boxes and detections as often as `times` says; copies of an image lie beside each other."""

    def several(table: pd.DataFrame) -> pd.DataFrame:
        count = pd.Series(times, index=np.sort(data.images["image_id"]))[table["image_id"]].to_numpy()
        more = table.loc[table.index.repeat(count)]
        number = np.concatenate([np.arange(n) for n in count]) if len(count) else np.zeros(0, int)
        return more.assign(image_id=more["image_id"] * 100 + number).reset_index(drop=True)

    boxes = several(data.boxes)
    boxes = boxes.assign(box_id=np.arange(len(boxes)))
    return replace(data, images=several(data.images), boxes=boxes), several(rows)


def test_a_resample_is_what_pycocotools_says_of_the_copies():
    """Scores of different images differ; with equal ones the order of copies would be a matter of taste."""
    data, rows = crowded(2, per_image=40, images=6)
    rows = rows.assign(score=np.random.default_rng(0).permutation(len(rows)).astype("float32") / len(rows))
    ranks = fast.ranking(data, "test", rows, {"": fast.AREAS[""]})
    drawn = np.vstack([np.ones(6, np.int32), [[3, 0, 1, 0, 2, 0], [0, 0, 0, 6, 0, 0]], bootstrap.draws(6, 2, seed=1)])
    result = bootstrap.resample(ranks, drawn)
    for n, times in enumerate(drawn):
        images, found_there = copied(data, rows, times)
        wanted = coco.evaluate(images, "test", found_there)
        for name in ("AP", "AP50"):
            assert result.whole[name][n] == pytest.approx(wanted.numbers[name], abs=1e-12)
            assert result.classes[name][n] == pytest.approx(wanted.per_class[name].to_numpy(), abs=1e-12)


def test_portions_change_nothing(monkeypatch):
    data, rows = crowded(3, per_image=40)
    whole = bootstrap.intervals(data, "test", rows, **TOLD)
    monkeypatch.setattr(bootstrap, "AT_ONCE", 500)
    assert bootstrap.intervals(data, "test", rows, **TOLD) == whole
    monkeypatch.setattr(bootstrap, "DRAWN_AT_ONCE", 30)
    assert bootstrap.intervals(data, "test", rows, **TOLD) == whole


def test_draws():
    drawn = bootstrap.draws(50, 400, seed=0)
    assert drawn.shape == (400, 50) and (drawn.sum(axis=1) == 50).all()
    assert drawn.mean(axis=0) == pytest.approx(np.ones(50), abs=0.25)
    assert (drawn == bootstrap.draws(50, 400, seed=0)).all() and (drawn != bootstrap.draws(50, 400, seed=1)).any()


def test_intervals_hold_the_number_and_grow_with_the_level():
    data, rows = crowded(4, per_image=40, images=12)
    number = fast.evaluate(data, "test", rows).numbers["AP"]
    narrow, wide = (bootstrap.intervals(data, "test", rows, **(TOLD | {"level": level})) for level in (0.5, 0.99))
    for name in ("AP", "AP50"):
        assert 0 <= wide[name][0] < narrow[name][0] < narrow[name][1] < wide[name][1] <= 1
    assert wide["AP"][0] < number < wide["AP"][1]
    assert list(wide["classes"]) == ["cat", "dog"]
    assert bootstrap.intervals(data, "test", rows, **TOLD) == bootstrap.intervals(data, "test", rows, **TOLD)


def half() -> tuple[Index, pd.DataFrame]:
    """Ten images with a cat each, found on the first five; no dog."""
    boxes = [{"image_id": i, "label": 0, "xyxy": WHOLE} for i in range(10)]
    return index(boxes, dict.fromkeys(range(10), "test")), found(*((i, 0, 0.9, WHOLE) for i in range(5)))


def test_a_width_that_can_be_worked_out():
    """AP is about the share of images drawn from the first five: binomial, 2 to 8 of 10 in 90 % of draws."""
    data, rows = half()
    result = bootstrap.intervals(data, "test", rows, resamples=2000, seed=0, level=0.9)
    assert result["AP"] == pytest.approx([0.2, 0.8], abs=0.02)  # 101 recalls, so 3 of 10 are 0.307
    assert result["classes"]["dog"] == {"AP": None, "AP50": None}


def test_nothing_found_or_nothing_to_find():
    data, _ = half()
    assert bootstrap.intervals(data, "test", found(), **TOLD)["AP50"] == [0, 0]
    bare = index([], {1: "test"})
    assert bootstrap.intervals(bare, "test", found((1, 0, 0.9, WHOLE)), **TOLD)["AP"] is None
    nothing = bootstrap.difference(bare, "test", found(), found(), **TOLD)
    assert nothing["AP"] == {"difference": None, "interval": None, "above_zero": None}
    with pytest.raises(BadInput, match="outside subset"):
        bootstrap.intervals(data, "test", found((77, 0, 0.9, WHOLE)), **TOLD)


def test_a_class_on_few_images_is_left_out_where_it_is_not_drawn():
    """A dog on one image of ten, found: where it is not drawn, AP is the cats' alone."""
    data, rows = half()
    boxes = [*data.boxes[["image_id", "label"]].to_dict("records"), {"image_id": 9, "label": 1}]
    data = index([{**b, "xyxy": OTHER if b["label"] else WHOLE} for b in boxes], dict.fromkeys(range(10), "test"))
    rows = pd.concat([rows, found((9, 1, 0.9, OTHER))], ignore_index=True)
    result = bootstrap.intervals(data, "test", rows, **TOLD)
    assert result["classes"]["dog"]["AP"] == pytest.approx([1, 1])
    assert result["AP"][1] > 0.8 > result["classes"]["cat"]["AP"][1] - 0.05


def test_a_paired_difference():
    data, rows = half()
    same = bootstrap.difference(data, "test", rows, rows, **TOLD)["AP"]
    assert same == {"difference": 0.0, "interval": [0.0, 0.0], "above_zero": 0.0}
    more = pd.concat([rows, found((5, 0, 0.9, WHOLE))], ignore_index=True)
    better = bootstrap.difference(data, "test", rows, more, **TOLD)["AP50"]
    assert better["difference"] == pytest.approx(0.1, abs=0.01)
    low, high = better["interval"]
    assert low == 0 and 0.15 < high < 0.4  # image 5 is drawn none to three times in most draws
    assert better["above_zero"] == pytest.approx(1 - 0.9**10, abs=0.1)
    worse = bootstrap.difference(data, "test", more, rows, **TOLD)["AP50"]
    assert worse["interval"] == pytest.approx([-high, 0]) and worse["above_zero"] == 0
    single = bootstrap.intervals(data, "test", rows, **TOLD)["AP50"]
    assert high - low < single[1] - single[0]  # the images both find or both miss cancel
