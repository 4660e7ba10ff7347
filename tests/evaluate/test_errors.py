"""Error types and their costs on scenes that can be worked out by hand."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from scantling.data.index import Index
from scantling.evaluate import coco, errors
from scantling.stage import BadInput
from tests.evaluate.made import found, index
from tests.evaluate.test_fast import crowded, found_box, true_box

BOX, FAR = (0.0, 0.0, 40.0, 40.0), (0.0, 60.0, 40.0, 100.0)
HALF = (0.0, 0.0, 40.0, 80.0)  # IoU 0.5 with BOX
THIRD = (20.0, 0.0, 60.0, 40.0)  # IoU 1/3 with BOX
TOUCH = (38.0, 0.0, 78.0, 40.0)  # IoU 1/39 with BOX
CAT, DOG = 0, 1


def two_cats(*more: dict) -> Index:
    """A cat on each of two images; the cat of image 2 is what `rows` of the tests find, so AP50 is about 1/2."""
    boxes = [{"image_id": i, "label": CAT, "xyxy": BOX} for i in (1, 2)]
    return index([*boxes, *more], {1: "test", 2: "test", 3: "test"})


def analyzed(data: Index, *rows: tuple, score_threshold: float = 0.3) -> dict:
    return errors.analyze(data, "test", found((2, CAT, 0.5, BOX), *rows), score_threshold=score_threshold)


def counts(report: dict) -> dict[str, int]:
    return {name: entry["count"] for name, entry in report["types"].items() if entry["count"]}


@pytest.mark.parametrize(
    ("row", "kinds"),
    [
        ((1, DOG, 0.9, BOX), {"classification": 1}),
        ((1, DOG, 0.9, HALF), {"classification": 1}),  # 0.5 itself is enough
        ((1, CAT, 0.9, THIRD), {"localization": 1}),
        ((1, DOG, 0.9, THIRD), {"both": 1, "missed": 1}),
        ((2, CAT, 0.4, BOX), {"duplicate": 1, "missed": 1}),
        ((2, CAT, 0.4, HALF), {"duplicate": 1, "missed": 1}),
        ((1, CAT, 0.9, FAR), {"background": 1, "missed": 1}),
        ((1, CAT, 0.9, TOUCH), {"background": 1, "missed": 1}),
        ((3, CAT, 0.9, BOX), {"background": 1, "missed": 1}),  # nothing is on image 3
        ((1, CAT, 0.9, HALF), {}),
    ],
)
def test_the_type_of_one_mistake(row, kinds):
    report = analyzed(two_cats(), row)
    assert counts(report) == kinds
    assert report["false_positives"]["count"] == sum(n for name, n in kinds.items() if name != "missed")
    assert report["false_negatives"]["count"] == (0 if not kinds else 1)


def test_localization_is_asked_before_classification():
    """A cat box between a dog that it covers and a cat that it touches: TIDE's code calls it badly placed."""
    data = index(
        [{"image_id": 1, "label": DOG, "xyxy": THIRD}, {"image_id": 1, "label": CAT, "xyxy": BOX}], {1: "test"}
    )
    report = errors.analyze(data, "test", found((1, CAT, 0.9, THIRD)), score_threshold=0.5)
    assert counts(report) == {"localization": 1, "missed": 1}
    assert report["classes"]["cat"]["localization"] == 1 and report["classes"]["dog"]["missed"] == 1


SHARE = 51 / 101  # of the 101 recalls, those up to one half


@pytest.mark.parametrize(
    ("row", "kind", "before", "after"),
    [
        # mended, it is a first right box: everything found
        ((1, CAT, 0.9, THIRD), "localization", SHARE / 2, 1),
        ((1, CAT, 0.4, THIRD), "localization", SHARE, 1),
        ((1, DOG, 0.9, BOX), "classification", SHARE, 1),  # there is no dog, so it costs the dogs nothing
        # removed, the cat of image 2 is right at once
        ((1, CAT, 0.9, FAR), "background", SHARE / 2, SHARE),
        ((2, CAT, 0.4, HALF), "duplicate", SHARE, SHARE),  # behind all that is found it costs nothing
        ((1, CAT, 0.9, FAR), "missed", SHARE / 2, 0.5),  # the other cat need not be found
    ],
)
def test_what_one_mistake_costs(row, kind, before, after):
    report = analyzed(two_cats(), row)
    assert report["AP50"] == pytest.approx(before)
    assert report["types"][kind]["dAP"] == pytest.approx(after - before)
    others = {name: e["dAP"] for name, e in report["types"].items() if name != kind and not e["count"]}
    assert set(others.values()) == {0.0}


def test_a_wrong_class_costs_two_classes():
    """The dog on image 3 is called a cat: a mistake of the cats, and a dog that is not found."""
    data = two_cats({"image_id": 3, "label": DOG, "xyxy": BOX})
    report = analyzed(data, (3, CAT, 0.9, BOX))
    assert report["AP50"] == pytest.approx((SHARE / 2 + 0) / 2)
    assert report["types"]["classification"]["dAP"] == pytest.approx((SHARE + 1) / 2 - report["AP50"])
    assert counts(report) == {"classification": 1, "missed": 1}  # missed: the cat of image 1
    assert report["classes"]["cat"] == {**dict.fromkeys(errors.TYPES, 0), "classification": 1, "missed": 1}


def test_only_the_best_mistake_about_a_box_becomes_right():
    """Two badly placed boxes about the lost cat, one about the found one: one becomes right, two are removed."""
    rows = ((1, CAT, 0.9, THIRD), (1, CAT, 0.8, THIRD), (2, CAT, 0.7, THIRD))
    report = analyzed(two_cats(), *rows)
    assert counts(report) == {"localization": 3}
    assert report["AP50"] == pytest.approx(SHARE / 4)
    assert report["types"]["localization"]["dAP"] == pytest.approx(1 - SHARE / 4)
    assert report["false_positives"]["dAP"] == pytest.approx(SHARE - SHARE / 4)
    assert report["false_negatives"]["dAP"] == pytest.approx(1 / 4 - SHARE / 4)


def test_shown_are_those_above_the_score():
    report = analyzed(two_cats(), (1, CAT, 0.9, FAR), (1, CAT, 0.2, FAR), (3, DOG, 0.3, BOX))
    assert report["types"]["background"] == pytest.approx({"count": 3, "shown": 2, "dAP": SHARE / 2})
    assert report["false_positives"]["shown"] == 2 and report["types"]["missed"]["shown"] is None


@pytest.mark.parametrize("flag", ["crowd", "difficult"])
def test_crowd_and_difficult_boxes_are_in_nothing(flag):
    data = two_cats({"image_id": 3, "label": CAT, "xyxy": BOX, flag: True})
    report = analyzed(data, (3, CAT, 0.9, BOX), (1, CAT, 0.8, BOX))
    assert counts(report) == {} and report["AP50"] == pytest.approx(1)
    assert report["confusion"] == [[0, 0, 2]]


def test_confusion():
    """Cat right; dog called cat; cat not found; a dog in the air; what is below the score is not there."""
    data = two_cats({"image_id": 3, "label": DOG, "xyxy": BOX})
    report = analyzed(data, (3, CAT, 0.9, BOX), (3, DOG, 0.6, FAR), (1, CAT, 0.2, BOX))
    assert report["confusion"] == [[0, 0, 1], [0, 2, 1], [1, 0, 1], [2, 1, 1]]
    assert analyzed(data, (1, CAT, 0.3, BOX))["confusion"] == [[0, 0, 2], [1, 2, 1]]  # 0.3 itself is shown


def test_a_right_box_is_not_given_to_a_better_wrong_one():
    """A better scored dog lies on the cat that a cat box finds: the cat stays found, the dog lies on nothing."""
    data = index([{"image_id": 1, "label": CAT, "xyxy": BOX}], {1: "test"})
    rows = found((1, DOG, 0.9, BOX), (1, CAT, 0.4, BOX))
    assert errors.analyze(data, "test", rows, score_threshold=0.0)["confusion"] == [[0, 0, 1], [2, 1, 1]]
    assert errors.analyze(data, "test", rows, score_threshold=0.5)["confusion"] == [[0, 1, 1]]


def test_nothing_found_or_nothing_to_find():
    nothing = errors.analyze(two_cats(), "test", found(), score_threshold=0.5)
    assert nothing["AP50"] == 0 and counts(nothing) == {"missed": 2} and nothing["confusion"] == [[0, 2, 2]]
    bare = errors.analyze(index([], {1: "test"}), "test", found((1, DOG, 0.9, BOX)), score_threshold=0.5)
    assert bare["AP50"] is None and bare["types"]["background"] == {"count": 1, "shown": 1, "dAP": None}
    assert bare["confusion"] == [[2, 1, 1]]
    empty = errors.analyze(index([], {1: "test"}), "test", found(), score_threshold=0.5)
    assert counts(empty) == {} and empty["confusion"] == []
    with pytest.raises(BadInput, match="outside subset"):
        errors.analyze(index([], {1: "test"}), "test", found((2, DOG, 0.9, BOX)), score_threshold=0.5)


@settings(max_examples=30, deadline=None)
@given(st.lists(true_box, max_size=10), st.lists(found_box, max_size=12))
def test_nothing_is_counted_twice_or_forgotten(boxes, rows):
    _check(index(boxes, {1: "test", 2: "test", 3: "test"}), found(*rows))


@pytest.mark.parametrize("seed", [0, 1])
def test_nothing_is_counted_twice_or_forgotten_in_a_crowd(seed):
    _check(*crowded(seed, per_image=80))


def _check(data: Index, rows) -> None:
    report = errors.analyze(data, "test", rows, score_threshold=0.0)
    ap50 = coco.evaluate(data, "test", rows).numbers["AP50"]
    assert report["AP50"] == (None if ap50 is None else pytest.approx(ap50, abs=1e-12))
    types = report["types"]
    assert sum(e["count"] for name, e in types.items() if name != "missed") == report["false_positives"]["count"]
    for name in errors.TYPES:
        assert sum(of_class[name] for of_class in report["classes"].values()) == types[name]["count"]
    assert all(e["dAP"] is None or e["dAP"] >= -1e-12 for e in (*types.values(), report["false_positives"]))
    matrix = np.zeros((3, 3), dtype=int)
    for true, named, n in report["confusion"]:
        matrix[true, named] = n
    counted = data.boxes[~data.boxes["crowd"] & ~data.boxes["difficult"]]
    assert matrix.sum(axis=1)[:2].tolist() == np.bincount(counted["label"], minlength=2).tolist()
    assert matrix[2, 2] == 0 and matrix[:, :2].sum() <= len(rows)
    right = len(counted) - report["false_negatives"]["count"]
    assert np.trace(matrix) == right and matrix[:, :2].sum() == right + report["false_positives"]["count"]
