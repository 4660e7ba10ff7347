"""What is told of a teacher that finds nothing, or too much."""

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from scantling import guards, log
from scantling.guards import Guard, GuardParams, Scores, judge
from scantling.methods import supervised
from scantling.mining import label_limits

PARAMS = GuardParams()


class Fake(supervised.Method):
    threshold = "class_score"

    def __init__(self, **limits: object):
        super().__init__(supervised.Params(guards=GuardParams.model_validate(limits)), ("a",), None)


@pytest.fixture(autouse=True)
def nothing_warned(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(log, "_warned", [])


def counts(*scores: float) -> np.ndarray:
    seen = Scores()
    seen.add(torch.tensor(scores), 1)
    return seen.counts.numpy()


def test_the_suggested_score_leaves_as_many_boxes_as_labeled_images_have() -> None:
    found = judge(0.0, 2.0, counts(0.9, 0.6, 0.6, 0.3, 0.1), 1, PARAMS, complete=True)
    assert found.verdict == "nothing" and found.suggested == pytest.approx(0.6)
    assert "`class_score: 0.60` would leave as many" in found.sentence("here", "class_score")
    assert "0.1: 5.00, 0.3: 4.00, 0.5: 3.00, 0.7: 1.00, 0.9: 1.00" in found.sentence("here", "class_score")


@given(st.lists(st.integers(0, 99), max_size=60), st.floats(0.1, 9), st.integers(1, 5))
@settings(deadline=None, max_examples=50)
def test_one_step_higher_the_suggested_score_would_leave_too_few(bins: list[int], labeled: float, images: int) -> None:
    found = judge(1.0, labeled, np.bincount(bins, minlength=100).astype(float), images, PARAMS, complete=True)
    if found.suggested is None:
        assert len(bins) / images < labeled
    else:
        place = round(found.suggested * 100)
        assert sum(b >= place for b in bins) / images >= labeled > sum(b > place for b in bins) / images


def test_too_much_only_where_labeled_images_have_all_their_boxes() -> None:
    many = counts(*[0.95] * 40)
    assert judge(40.0, 2.0, many, 1, PARAMS, complete=True).verdict == "too much"
    assert judge(40.0, 2.0, many, 1, PARAMS, complete=False).verdict == "fine"
    assert judge(40.0, 2.0, many, 1, GuardParams(too_many=30), complete=True).verdict == "fine"
    assert judge(0.0, 0.0, counts(), 0, PARAMS, complete=True).suggested is None


def test_a_teacher_that_finds_less_than_the_labels_needs_training_not_a_threshold() -> None:
    found = judge(0.0, 5.0, counts(0.3, 0.2), 1, PARAMS, complete=True)
    assert found.suggested is None and "train the teacher longer" in found.sentence("here", "class_score")


def test_the_picture_has_a_character_a_tenth() -> None:
    found = judge(0.0, 5.0, counts(*[0.05] * 10, *[0.45] * 5, 0.95, 1.0), 1, PARAMS, complete=True)
    assert found.picture() == "@   +    :"
    assert judge(0.0, 5.0, counts(), 1, PARAMS, complete=True).picture() == " " * 10


def test_of_many_bad_windows_few_are_told_and_the_last_step_is_looked_at() -> None:
    method = Fake(window_steps=2)
    guard = Guard(method, 4.0, "cpu")
    for done in range(1, 20):
        method.scores.add(torch.tensor([0.2, 0.4]), 1)
        guard.see(done, {"pseudo_boxes": 0.0}, last=done == 19)
    said = log.warned()
    assert [text.split(":")[0] for text in said] == [f"pseudo labels up to step {s}" for s in (2, 4, 8, 16)]
    guard.see(20, {"pseudo_boxes": 4.0}, last=True)
    guard.see(21, {}, last=True)  # a step without pseudo labels says nothing
    assert log.warned() == said and method.scores.images == 0


def table(scores: list[float], used: list[bool]) -> pd.DataFrame:
    flags = {"for_class": used, "for_objectness": used}
    return pd.DataFrame({"image_id": 1, "score": scores, **flags, "source": "teacher"})


def test_labels_that_miss_boxes_tell_by_their_scores_and_not_by_their_number() -> None:
    corners = {"x1": [0.0, 50.0, 90.0], "y1": 0.0, "x2": [20.0, 70.0, 99.0], "y2": 20.0}
    found = pd.DataFrame({"image_id": 1, "label": 0, "score": [0.6, 0.4, 0.9], **corners})
    kept = pd.DataFrame({"image_id": [1, 1, 2], "label": 0, "box_id": [0, 1, 2], "labeled": True})
    kept = kept.assign(x1=[0.0, 52.0, 0.0], y1=0.0, x2=[20.0, 70.0, 20.0], y2=20.0)
    refined = found.assign(for_class=False, for_objectness=False, source="teacher")
    half = label_limits.half_of(found, kept)
    told = guards.of_table(found, refined, kept, PARAMS, mines_labeled=True, on_labels=half)
    assert told is not None and told.verdict == "nothing"
    assert told.suggested == pytest.approx(0.4), "the third was missed, so that half of them have 0.4 or more"
    assert told.sentence("in the table", "mine_score").endswith("`mine_score: 0.40` would take what is as sure")
    assert told.sentence("in the table", "mine_quantile").endswith("lower `mine_quantile`, or train the teacher longer")
    during = judge(0.0, 1.5, counts(0.6, 0.4), 1, PARAMS, complete=False)
    assert during.suggested is None and "`guard`" in during.sentence("up to step 100", "mine_score")


def test_a_whole_table_is_judged_by_its_unlabeled_images() -> None:
    split = pd.DataFrame({"image_id": [0, 0, 1, 2], "labeled": [True, True, False, False], "box_id": [5, 6, -1, -1]})
    refined = table([0.9, 0.8, 0.4, 0.3], [False] * 4)
    found = guards.of_table(refined, refined, split, PARAMS, mines_labeled=False)
    assert found is not None and found.verdict == "nothing" and found.labeled == 2
    assert found.suggested == pytest.approx(0.3) and found.facts()["suggested_score"] == pytest.approx(0.3)
    places = refined.assign(for_objectness=True)  # learned from, though no class is
    passed = guards.of_table(refined, places, split, PARAMS, mines_labeled=False)
    assert passed is not None and passed.verdict == "fine" and passed.boxes == 2
    corrected = refined.assign(source="corrected")
    alone = guards.of_table(refined, corrected, split[split["image_id"] < 2], PARAMS, mines_labeled=False)
    assert alone is None  # a person has labeled the only image
