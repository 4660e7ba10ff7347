"""What held-out images tell of labels that a method is about to learn from."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from scantling.data.index import Index
from scantling.evaluate import expected
from tests.evaluate import made

BOX, FAR = (10.0, 10.0, 40.0, 40.0), (60.0, 60.0, 90.0, 90.0)
DATA = made.index(
    [{"image_id": i, "label": 0, "xyxy": BOX} for i in (1, 2, 3)], {1: "val", 2: "val", 3: "train"}
)  # fmt: skip
LIMITS = {"too_wrong": 0.6, "enough": 1}


def told_of(data: Index, found: pd.DataFrame, used: np.ndarray, **limits: float) -> expected.Expected | None:
    seen = expected.judged(data, "val", found)
    return None if seen is None else expected.measure(seen, used, **limits)  # type: ignore[arg-type]


def test_right_shares_by_score_are_taken_over_to_what_is_used() -> None:
    found = made.found((1, 0, 0.95, BOX), (2, 0, 0.91, BOX), (1, 0, 0.75, FAR), (2, 1, 0.72, BOX), (2, 0, 0.71, FAR))
    sure = told_of(DATA, found, np.array([0.92, 0.99]), **LIMITS)
    assert sure is not None
    assert (sure.precision, sure.boxes, sure.images, sure.verdict) == (1.0, 2, 2, "fine")
    mixed = told_of(DATA, found, np.array([0.92, 0.74, 0.74, 0.79]), **LIMITS)
    assert mixed is not None and (mixed.precision, mixed.boxes, mixed.verdict) == (0.25, 5, "too wrong")
    assert "25% right on `val` (5 boxes, 2 images)" in mixed.sentence("class_score")
    assert "raise `class_score`" in mixed.sentence("class_score")
    assert mixed.facts() == {"verdict": "too wrong", "subset": "val", "images": 2, "boxes": 5, "precision": 0.25}


def test_tenths_that_held_out_images_do_not_have_say_nothing() -> None:
    found = made.found((1, 0, 0.95, BOX), (3, 0, 0.55, BOX))  # the other image is of no interest
    told = told_of(DATA, found, np.array([0.95, 0.55]), **LIMITS)
    assert told is not None and (told.precision, told.boxes) == (1.0, 1)
    assert told_of(DATA, found, np.array([0.55]), **LIMITS) is None
    assert told_of(DATA, found, np.array([]), **LIMITS) is None
    assert told_of(DATA, found.iloc[:0], np.array([0.95]), **LIMITS) is None
    assert told_of(DATA, found, np.array([0.95]), too_wrong=0.6, enough=2) is None


@given(st.lists(st.tuples(st.floats(0, 1, width=32), st.booleans()), min_size=1, max_size=30))
@settings(deadline=None, max_examples=50)
def test_of_the_same_boxes_it_is_their_own_share(boxes: list[tuple[float, bool]]) -> None:
    """Used as they were found: the tenths are left as they are, so nothing is lost by them."""
    data = made.index(
        [{"image_id": k, "label": 0, "xyxy": BOX} for k in range(len(boxes))], dict.fromkeys(range(len(boxes)), "val")
    )
    found = made.found(*[(k, 0, score, BOX if right else FAR) for k, (score, right) in enumerate(boxes)])
    told = told_of(data, found, found["score"].to_numpy(), **LIMITS)
    assert told is not None and told.boxes == len(boxes)
    assert told.precision == pytest.approx(sum(right for _, right in boxes) / len(boxes))


def test_without_a_label_nothing_is_known() -> None:
    assert DATA.boxes is not None
    bare = replace(DATA, boxes=DATA.boxes.iloc[:0])
    found = made.found((1, 0, 0.95, BOX))
    assert told_of(bare, found, np.array([0.95]), **LIMITS) is None
