"""Which classes are rare, and the mean results of a group."""

import numpy as np
import pandas as pd
import pytest

from scantling.evaluate import frequency
from scantling.evaluate.params import FrequencyParams
from scantling.evaluate.portions import Held
from scantling.params import ParamsError, check

CLASSES = ("a", "b", "c", "never")
SPLIT = pd.DataFrame({"label": [0] * 3 + [1] * 4 + [2] * 8 + [-1], "box_id": [*range(15), -1], "image_id": 1})
LABELED = frequency.labeled_boxes(Held(SPLIT), len(CLASSES))
BORDERS = FrequencyParams(rare_boxes=3, common_boxes=7)


def rows(ap: list[float]) -> pd.DataFrame:
    return pd.DataFrame({"model": "teacher", "class": CLASSES, "AP": ap, "AP50": ap})


def test_borders_belong_to_the_rarer_group():
    found = frequency.marked(rows([0.1] * 4), LABELED, CLASSES, BORDERS)
    assert found["labeled_boxes"].tolist() == [3, 4, 8, 0]
    assert found["group"].tolist() == ["rare", "common", "frequent", "rare"]


def test_means_leave_out_classes_that_the_subset_has_not():
    found = frequency.marked(rows([0.2, 0.5, np.nan, 0.4]), LABELED, CLASSES, BORDERS)
    means = frequency.means(pd.concat([found, found.assign(model="student", AP=0.0)]))
    assert list(means) == ["rare", "common", "frequent"]
    assert means["rare"] == {
        "classes": 2,
        "student": {"AP": 0.0, "AP50": pytest.approx(0.3)},
        "teacher": {"AP": pytest.approx(0.3), "AP50": pytest.approx(0.3)},
    }
    assert means["frequent"]["teacher"] == {"AP": None, "AP50": None} and means["frequent"]["classes"] == 1


def test_minority_and_majority_are_what_the_split_names():
    found = frequency.marked(rows([0.2, 0.5, np.nan, 0.4]), LABELED, CLASSES, BORDERS)
    both = frequency.imbalance(pd.concat([found, found.assign(model="student", AP=0.0)]), ["c", "never"])
    assert list(both) == ["minority", "majority"] and both["minority"]["classes"] == both["majority"]["classes"] == 2
    assert both["minority"]["teacher"] == {"AP": pytest.approx(0.4), "AP50": pytest.approx(0.4)}  # the subset has no c
    assert both["majority"]["teacher"]["AP"] == pytest.approx(0.35) and both["majority"]["student"]["AP"] == 0
    assert list(frequency.means(found)) == ["rare", "common", "frequent"], "groups by frequency stay as they are"


def test_borders_must_rise():
    with pytest.raises(ParamsError, match="common_boxes 3 is below rare_boxes 10"):
        check(FrequencyParams, {"common_boxes": 3}, "evaluate.yaml")
