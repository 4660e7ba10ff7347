import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from scantling.evaluate import matching
from scantling.evaluate.matching import match, overlaps
from tests.evaluate.made import found

A = (0.0, 0.0, 10.0, 10.0)


def plain_iou(a, b):
    w = max(min(a[2], b[2]) - max(a[0], b[0]), 0)
    h = max(min(a[3], b[3]) - max(a[1], b[1]), 0)
    union = (a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - w * h
    return w * h / union if union > 0 else 0.0


def test_only_same_image_and_class():
    rows = found((1, 0, 1, A), (2, 0, 1, A), (1, 1, 1, A))
    p, t, value = overlaps(rows, found((1, 1, 1, A), (2, 0, 1, A)), 0.5)
    assert sorted(zip(p.tolist(), t.tolist(), value.tolist(), strict=True)) == [(1, 1, 1.0), (2, 0, 1.0)]


def test_overlap_over_the_found_box():
    """A small box inside a crowd lies in it wholly, though its IoU is 0.01."""
    rows, crowd = found((1, 0, 1, (0, 0, 1, 1))), found((1, 0, 1, A))
    assert len(overlaps(rows, crowd, 0.5)[0]) == 0
    assert overlaps(rows, crowd, 0.5, over="found")[2].tolist() == [1.0]


def test_threshold_is_inclusive():
    rows, truth = found((1, 0, 1, (0, 0, 10, 5))), found((1, 0, 1, A))
    assert match(rows, truth, np.array([0]), 0.5)[0].tolist() == [0]
    assert match(rows, truth, np.array([0]), 0.5001)[0].tolist() == [-1]


def test_best_first_takes_its_best_and_the_next_what_is_left():
    truth = found((1, 0, 1, A), (1, 0, 1, (2, 0, 12, 10)))
    rows = found((1, 0, 0.9, (2, 0, 12, 10)), (1, 0, 0.8, (2, 0, 12, 10)), (1, 0, 0.7, A))
    taken, iou = match(rows, truth, np.array([0, 1, 2]), 0.5)
    assert taken.tolist() == [1, 0, -1]  # the second takes the poorer box that is left, so the third finds none
    assert iou[:2].tolist() == pytest.approx([1.0, 80 / 120])
    assert match(rows, truth, np.array([2, 0, 1]), 0.5)[0].tolist() == [1, -1, 0]


def test_empty_tables():
    for rows, truth in ((found(), found((1, 0, 1, A))), (found((1, 0, 1, A)), found()), (found(), found())):
        taken, iou = match(rows, truth, np.arange(len(rows)), 0.5)
        assert taken.tolist() == [-1] * len(rows) and np.isnan(iou).all()


coordinate = st.integers(0, 8)
boxes = st.tuples(coordinate, coordinate, coordinate, coordinate).map(
    lambda b: (float(min(b[0], b[2])), float(min(b[1], b[3])), float(max(b[0], b[2])), float(max(b[1], b[3])))
)
rows_of = st.lists(st.tuples(st.integers(1, 2), st.integers(0, 1), boxes), max_size=10)


@settings(max_examples=80, deadline=None)
@given(rows_of, rows_of, st.sampled_from([1, 3, 2_000_000]))
def test_equals_the_plain_double_loop(first, second, portion):
    """Against a direct implementation, also with portions of a few pairs."""
    rows, truth = (found(*((i, k, 0.5, b) for i, k, b in table)) for table in (first, second))
    before, matching.PAIRS_AT_ONCE = matching.PAIRS_AT_ONCE, portion
    try:
        taken, iou = match(rows, truth, np.arange(len(first)), 0.5)
    finally:
        matching.PAIRS_AT_ONCE = before
    free = set(range(len(second)))
    for n, (image, label, box) in enumerate(first):
        near = [
            (-plain_iou(box, other), j)
            for j, (i, k, other) in enumerate(second)
            if j in free and (i, k) == (image, label) and plain_iou(box, other) >= 0.5
        ]
        if near:
            best, j = min(near)
            free.remove(j)
            assert taken[n] == j and iou[n] == pytest.approx(-best)
        else:
            assert taken[n] == -1 and np.isnan(iou[n])
