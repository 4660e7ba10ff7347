"""Reliability tables by hand, and what must hold of any."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from scantling.evaluate.calibration import binned, suggested
from scantling.evaluate.calibration import reliability as reliability_of
from scantling.evaluate.counting import Judged

CLASSES = ("cat", "dog")


def reliability(labels, classes, bins):
    return reliability_of(binned(labels, len(classes), bins), classes)


def judged(*rows, uncounted=0):
    """(label, score, right) of labels that count, then as many that do not."""
    labels, scores, right = (np.array([r[k] for r in rows] + [0] * uncounted) for k in range(3))
    n = len(rows) + uncounted
    return Judged(
        labels=labels.astype(np.int64),
        scores=scores.astype(np.float32),
        iou=np.where(right.astype(bool), 0.8, np.nan),
        sizes=np.zeros(n, dtype=np.int64),
        counted=np.arange(n) < len(rows),
        discarded={},
    )


def test_by_hand():
    """Ranges 0-0.5 and 0.5-1: 2 of 4 right at mean 0.3, and 3 of 4 at mean 0.8."""
    low = [(0, 0.2, 1), (0, 0.4, 1), (0, 0.2, 0), (1, 0.4, 0)]
    high = [(0, 0.8, 1), (0, 0.8, 1), (1, 0.8, 1), (1, 0.8, 0)]
    table = reliability(judged(*low, *high, uncounted=3), CLASSES, bins=2)
    assert table["edges"] == [0.0, 0.5, 1.0]
    assert table["all"]["count"] == [4, 4] and table["all"]["precision"] == [0.5, 0.75]
    assert table["all"]["mean_score"] == pytest.approx([0.3, 0.8], abs=1e-6)
    assert table["all"]["error"] == pytest.approx(0.5 * 0.2 + 0.5 * 0.05, abs=1e-6)
    dog = table["classes"]["dog"]
    assert dog["count"] == [1, 2] and dog["precision"] == [0.0, 0.5]
    assert dog["error"] == pytest.approx((1 * 0.4 + 2 * 0.3) / 3, abs=1e-6)


def test_a_score_on_an_edge_lies_in_the_upper_range_and_one_in_the_last():
    table = reliability(judged((0, 0.7, 1), (0, 1.0, 1), (0, 0.0, 0)), CLASSES, bins=10)
    assert table["all"]["count"] == [1, 0, 0, 0, 0, 0, 0, 1, 0, 1]


def test_nothing():
    table = reliability(judged(uncounted=2), CLASSES, bins=3)
    assert table["all"] == {"count": [0] * 3, "mean_score": [None] * 3, "precision": [None] * 3, "error": None}


@settings(max_examples=40, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 1), st.floats(0, 1, width=32), st.integers(0, 1)), max_size=20))
def test_error_is_bounded_and_counts_add_up(rows):
    table = reliability(judged(*rows), CLASSES, bins=5)
    assert sum(table["all"]["count"]) == len(rows)
    assert np.array_equal(np.sum([c["count"] for c in table["classes"].values()], axis=0), table["all"]["count"])
    error = table["all"]["error"]
    assert (error is None) == (not rows) and (error is None or 0 <= error <= 1)
    if rows:  # never less than the difference of the means (triangle inequality)
        overall = abs(np.mean([r[2] for r in rows]) - np.mean([np.float32(r[1]) for r in rows]))
        assert error >= overall - 1e-5


def test_the_best_f1_is_suggested_and_the_lowest_of_equals():
    numbers = {"precision": [0.2, 0.5, 0.5, 1.0], "recall": [0.9, 0.8, 0.8, 0.1]}
    none = {"precision": [0.0, 0.0, None, None], "recall": [0.0, 0.0, 0.0, 0.0]}
    found = suggested({"all": numbers, "classes": {"cat": none}}, [0.1, 0.3, 0.5, 0.9])
    assert found["all"] == {"threshold": 0.3, "precision": 0.5, "recall": 0.8, "f1": pytest.approx(0.615385)}
    assert found["classes"]["cat"] == {"threshold": None, "precision": None, "recall": None, "f1": None}
