import pytest
from hypothesis import given
from hypothesis import strategies as st

from scantling.report.intervals import T95, interval

values = st.lists(st.floats(-1, 1), min_size=1, max_size=40)


def test_quantiles_are_students_t():
    stats = pytest.importorskip("scipy.stats")
    assert T95 == pytest.approx([stats.t.ppf(0.975, df) for df in range(1, len(T95) + 1)], abs=6e-4)


def test_hand_worked():
    """1, 2, 3: mean 2, standard deviation 1, half width 4.303 / sqrt(3)."""
    found = interval([1.0, 2.0, 3.0])
    assert (found.mean, found.n, found.kind) == (2.0, 3, "t95")
    assert found.high - found.mean == pytest.approx(4.303 / 3**0.5)


def test_one_and_two_numbers_claim_no_interval():
    assert vars(interval([0.5])) == {"mean": 0.5, "low": 0.5, "high": 0.5, "n": 1, "kind": "one"}
    assert vars(interval([0.4, 0.2])) == pytest.approx({"mean": 0.3, "low": 0.2, "high": 0.4, "n": 2, "kind": "range"})


def test_undefined_numbers_are_left_out():
    assert interval([None, 0.5, float("nan")]).n == 1
    assert interval([None]) is None and interval([]) is None


@given(values)
def test_the_mean_lies_inside(numbers):
    found = interval(numbers)
    assert found.low <= found.mean + 1e-12 and found.mean <= found.high + 1e-12
    if len(numbers) > 2:
        assert found.high - found.mean == pytest.approx(found.mean - found.low)


@given(values, st.floats(-1, 1))
def test_shifting_moves_it_without_widening(numbers, by):
    a, b = interval(numbers), interval([v + by for v in numbers])
    assert (b.mean - a.mean, b.high - b.low) == pytest.approx((by, a.high - a.low), abs=1e-6)
