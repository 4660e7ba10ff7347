"""Thresholds above which enough of a teacher's boxes are right."""

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from scantling.mining import precision_limits

LIMITS = (0.3, 0.9)


def found(*rows: tuple[int, float, bool]) -> pd.DataFrame:
    return pd.DataFrame(rows, columns=["label", "score", "right"]).astype(
        {"label": "int64", "score": "float64", "right": "bool"}
    )


def many(label: int, scores: tuple[float, float], right: float, count: int = 40) -> list[tuple[int, float, bool]]:
    return [(label, score, k < right * count) for k, score in enumerate(np.linspace(*scores, count)[::-1])]


def test_each_class_has_the_lowest_score_that_is_good_enough() -> None:
    table = found(*many(0, (0.4, 1.0), 0.5), *many(1, (0.4, 1.0), 1.0), *many(2, (0.4, 1.0), 0.0), (3, 0.5, True))
    made = precision_limits.thresholds(table, 4, share=0.8, limits=LIMITS)
    kept = table[(table["label"] == 0) & (table["score"] > float(made[0]))]
    assert len(kept) == 25 and kept["right"].mean() == 0.8, "20 of 40 are right, the best ones: 20 of 25 is the share"
    assert made[1] == pytest.approx(0.3), "all of them are right: nothing but the limit holds"
    assert made[2] == pytest.approx(0.9), "no threshold is good enough"
    assert made[3] == precision_limits.thresholds(table.assign(label=0), 1, share=0.8, limits=LIMITS)[0], "too few"


def test_without_a_box_nothing_is_good_enough() -> None:
    assert torch.equal(precision_limits.thresholds(found(), 2, share=0.8, limits=LIMITS), torch.tensor([0.9, 0.9]))


ROWS = st.lists(
    st.tuples(st.integers(0, 2), st.floats(0.0625, 1, width=32), st.booleans()),
    max_size=80,
    unique_by=lambda row: row[1],
)


@given(ROWS, st.floats(0.1, 1))
@settings(deadline=None, max_examples=100)
def test_what_passes_is_as_right_as_wanted(rows: list[tuple[int, float, bool]], share: float) -> None:
    table = found(*rows)
    made = precision_limits.thresholds(table, 3, share=share, limits=(0.0, 2.0))
    for c, threshold in enumerate(made.double().tolist()):
        alone = (table["label"] == c).sum() >= precision_limits.ENOUGH
        judged = table[table["label"] == c] if alone else table
        passes = judged[judged["score"] > threshold]
        assert passes.empty or passes["right"].mean() >= share - 1e-9
        more = judged.nlargest(len(passes) + 1, "score")
        if len(more) > len(passes) and threshold < 2.0:
            assert more["right"].mean() < share, "the lowest one"
