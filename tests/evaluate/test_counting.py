"""Sizes in original pixels, refined labels over their own scores, and what adds up."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from scantling.evaluate.counting import SIZES, at_once, by_threshold, judge, size_of, tally
from scantling.evaluate.truth import truth_of
from tests.evaluate.made import found, index, split

CLASSES = ("cat", "dog")


def test_bounds_are_cocos():
    assert [SIZES[k] for k in size_of(np.array([0, 1023.9, 1024, 9215.9, 9216, 1e6]))] == [
        "small", "small", "medium", "medium", "large", "large"
    ]  # fmt: skip


def test_a_right_label_has_the_size_of_its_object():
    """The object has a published area of 900 px^2 (small); the box found on it 40 x 30 = 1200 px^2 (medium)."""
    data = index(
        [
            {"image_id": 1, "label": 0, "xyxy": (0, 0, 30, 40), "area": 900},
            {"image_id": 1, "label": 1, "xyxy": (0, 0, 100, 100)},
        ],
        {1: "train"},
    )
    truth = truth_of(data, split(data, [], []))
    rows = found((1, 0, 0.9, (0, 0, 40, 30)), (1, 0, 0.8, (50, 50, 90, 90)), (1, 1, 0.3, (0, 0, 100, 96)))
    judged = judge(truth, rows, rows["score"].to_numpy(), 0.5)
    sizes = by_threshold(tally(judged, truth, 2, [0.2, 0.5]), CLASSES)["sizes"]
    assert sizes["small"] == {
        "hidden": 1,
        "precision": [1.0, 1.0],
        "recall": [1.0, 1.0],
        "count": [1, 1],
        "boxes_per_image": [1.0, 1.0],
        "mean_iou": [0.6, 0.6],
    }
    assert (sizes["medium"]["hidden"], sizes["medium"]["precision"]) == (0, [0.0, 0.0])  # wrong: its own size counts
    assert (sizes["large"]["recall"], sizes["large"]["count"]) == ([1.0, 0.0], [1, 0])


def test_a_box_without_area_or_upside_down_is_small():
    data = index([], {1: "train"})
    truth = truth_of(data, split(data, [], []))
    judged = judge(truth, found((1, 0, 0.9, (5, 5, 5, 90)), (1, 0, 0.9, (90, 90, 5, 5))), np.ones(2), 0.5)
    assert judged.sizes.tolist() == [0, 0]


side = st.sampled_from([8.0, 30.0, 40.0, 100.0])
rows_of = st.lists(st.tuples(st.integers(1, 2), st.integers(0, 1), st.floats(0, 1, width=32), side), max_size=8)


@settings(max_examples=10, deadline=None)
@given(rows_of, rows_of)
def test_classes_and_sizes_add_up(true, guesses):
    data = index([{"image_id": i, "label": k, "xyxy": (0, 0, s, s)} for i, k, _, s in true], {1: "train", 2: "train"})
    truth = truth_of(data, split(data, [], []))
    rows = found(*((i, k, score, (0, 0, s, s)) for i, k, score, s in guesses))
    judged = judge(truth, rows, rows["score"].to_numpy(), 0.5)
    once = at_once(tally(judged, truth, 2), CLASSES)
    for kind in ("classes", "sizes"):
        for name in ("count", "hidden"):
            assert sum(part[name] for part in once[kind].values()) == once["all"][name]
        right = [p["precision"] * p["count"] for p in once[kind].values() if p["count"]]
        assert sum(right) == pytest.approx((once["all"]["precision"] or 0) * once["all"]["count"], abs=1e-4)
    curve = by_threshold(tally(judged, truth, 2, [0.0, 0.5]), CLASSES)
    assert curve["all"]["count"][0] == once["all"]["count"] == len(rows)
    assert {k: v[0] for k, v in curve["all"].items() if k != "hidden"} == {
        k: v for k, v in once["all"].items() if k != "hidden"
    }
