"""The labels that a training found, against the truth of what its views showed."""

from typing import Any

import pandas as pd
import pytest

from scantling.evaluate import over_training
from scantling.evaluate.params import QualityParams
from scantling.evaluate.portions import Held
from scantling.mining.record import COLUMNS, VIEW
from scantling.stage import BadInput
from tests.evaluate import made

PARAMS = QualityParams(iou_threshold=0.5, headline_threshold=0.5, thresholds=(0.5,), stretches=2)
KEPT, HIDDEN, FAR = (0.0, 0.0, 10.0, 10.0), (20.0, 20.0, 40.0, 40.0), (80.0, 80.0, 95.0, 95.0)
WHOLE = (0.0, 0.0, 100.0, 100.0)
DATA = made.index(
    [
        {"image_id": 1, "label": 0, "xyxy": KEPT},
        {"image_id": 1, "label": 0, "xyxy": HIDDEN},
        {"image_id": 1, "label": 1, "xyxy": FAR},
        {"image_id": 2, "label": 0, "xyxy": KEPT},
    ],
    {1: "train", 2: "train"},
)


def learned(*views: tuple[int, int, tuple[float, ...], list[tuple[int, float, tuple[float, ...]]]]) -> pd.DataFrame:
    """From (step, image, what the view shows, found boxes as (label, score, corners))."""
    rows = []
    for number, (step, image, frame, boxes) in enumerate(views):
        for label, score, corners in [(VIEW, 1.0, frame), *boxes]:
            rows.append((step, number, image, label, score, *corners))
    kinds = {"step": "int32", "view": "int32", "image_id": "int64", "label": "int32"}
    return pd.DataFrame(rows, columns=COLUMNS).astype(kinds | dict.fromkeys(COLUMNS[4:], "float32"))


def measure(table: pd.DataFrame, kept: list[int] = [0, 3]) -> dict[str, Any] | None:  # noqa: B006
    assert DATA.boxes is not None
    split = made.split(DATA, kept, [1, 2])
    return over_training.measure(DATA, Held(DATA.boxes), Held(split), table, PARAMS)


def test_each_stretch_has_numbers_of_its_own() -> None:
    early = (5, 1, WHOLE, [(0, 0.9, (60.0, 0.0, 70.0, 10.0))])  # wrong
    late = (10, 1, WHOLE, [(0, 0.9, HIDDEN), (1, 0.8, FAR)])
    found = measure(learned(early, late))
    assert found is not None and found["steps"] == [5, 10] and found["views"] == [1, 1]
    assert found["all"]["precision"] == [0.0, 1.0] and found["all"]["recall"] == [0.0, 1.0]
    assert found["all"]["hidden"] == [2, 2] and found["all"]["boxes_per_image"] == [1.0, 2.0]
    assert found["classes"]["dog"]["recall"] == [0.0, 1.0] and found["classes"]["dog"]["precision"] == [None, 1.0]


def test_only_what_a_view_shows_can_be_missed_in_it() -> None:
    found = measure(learned((1, 1, (0.0, 0.0, 50.0, 50.0), [(0, 0.9, HIDDEN)])))
    assert found is not None and found["all"]["hidden"] == [1] and found["all"]["recall"] == [1.0]


def test_a_box_is_compared_with_the_part_of_the_object_that_is_seen() -> None:
    """Three quarters of the object are in the view; the box of that part has an IoU of 0.75 with the whole."""
    found = measure(learned((1, 1, (0.0, 0.0, 35.0, 100.0), [(0, 0.9, (20.0, 20.0, 35.0, 40.0))])))
    assert found is not None and found["all"]["mean_iou"] == [1.0]


def test_less_than_half_of_an_object_is_neither_right_nor_wrong() -> None:
    found = measure(learned((1, 1, (0.0, 0.0, 25.0, 100.0), [(0, 0.9, (20.0, 20.0, 25.0, 40.0))])))
    assert found is not None and found["all"]["hidden"] == [0] and found["all"]["count"] == [0]


def test_a_wrong_box_within_an_object_is_a_part_of_it() -> None:
    """A quarter of a hidden object and of a labeled one, a quarter of an object of another class, one that is right."""
    quarters = [(0, 0.9, (20.0, 20.0, 30.0, 30.0)), (0, 0.8, (0.0, 0.0, 5.0, 5.0)), (0, 0.7, (80.0, 80.0, 87.0, 87.0))]
    found = measure(learned((1, 1, WHOLE, [*quarters, (1, 0.6, FAR)])))
    assert found is not None and found["all"]["count"] == [4] and found["all"]["precision"] == [0.25]
    assert found["all"]["parts"] == [0.5]
    assert found["classes"]["cat"]["parts"] == [0.666667] and found["classes"]["dog"]["parts"] == [0.0]


def test_a_box_with_less_than_70_per_cent_in_an_object_is_no_part_of_it() -> None:
    found = measure(learned((1, 1, WHOLE, [(0, 0.9, (12.0, 20.0, 30.0, 30.0)), (0, 0.8, (16.0, 20.0, 28.0, 30.0))])))
    assert found is not None and found["all"]["parts"] == [0.0]
    found = measure(learned((1, 1, WHOLE, [(0, 0.9, (17.0, 20.0, 27.0, 30.0))])))
    assert found is not None and found["all"]["parts"] == [1.0]


def test_the_same_image_in_two_views_is_two_images() -> None:
    both = [(1, 1, WHOLE, [(0, 0.9, HIDDEN)]), (1, 1, WHOLE, [(0, 0.8, HIDDEN), (1, 0.7, FAR)])]
    found = measure(learned(*both))
    assert found is not None and found["views"] == [2] and found["all"]["hidden"] == [4]
    assert found["all"]["recall"] == [0.75] and found["all"]["precision"] == [1.0]


def test_images_that_miss_nothing_are_not_judged() -> None:
    found = measure(learned((1, 1, WHOLE, []), (1, 2, WHOLE, [(0, 0.9, FAR)])))
    assert found is not None and found["views"] == [1] and found["all"]["count"] == [0]
    assert measure(learned((1, 2, WHOLE, []))) is None


def test_a_training_that_found_nothing_or_looked_nowhere() -> None:
    assert measure(learned()) is None
    found = measure(learned((1, 1, WHOLE, [])))
    assert found is not None and found["all"]["precision"] == [None] and found["all"]["recall"] == [0.0]
    assert found["all"]["parts"] == [None]


def test_a_table_of_something_else_is_refused(tmp_path) -> None:
    file = tmp_path / "learned.parquet"
    pd.DataFrame({"step": [1]}).to_parquet(file)
    with pytest.raises(BadInput, match="has no column 'view'; run retrain again"):
        over_training.load(file)
    learned((1, 1, WHOLE, [])).to_parquet(file)
    assert len(over_training.load(file)) == 1


def test_a_burn_in_has_no_such_table_and_can_be_evaluated(tmp_path) -> None:
    assert measure(over_training.load(tmp_path / "learned.parquet")) is None
