"""What is worth a look, and how much."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from scantling.data.index import XYXY, table
from scantling.data.split import SPLIT_COLUMNS
from scantling.review.params import ReviewParams
from scantling.review.ranking import REASONS, Ranking, rank
from tests import toy
from tests.review.made import boxes

PARAMS = ReviewParams.load(toy.ROOT / "params/review.yaml")  # threshold 0.7, margin 0.2, spread 0.04
A, B, C = (0, 0, 10, 10), (20, 0, 30, 10), (40, 0, 50, 10)


def split(*rows: tuple) -> pd.DataFrame:
    """A split from (image_id, labeled[, label, box])."""
    made = []
    for number, (image_id, labeled, *box) in enumerate(rows):
        known = (
            {"box_id": number, "label": box[0], **dict(zip(XYXY, box[1], strict=True))}
            if box
            else {"box_id": -1, "label": -1}
        )
        made.append({"image_id": image_id, "labeled": labeled, **known})
    return table(made, SPLIT_COLUMNS)


def said(found: Ranking) -> list[tuple]:
    """(image, reason, score, source, label) of every finding."""
    about = found.findings.merge(found.boxes, left_on="box", right_index=True, suffixes=("", "_box"))
    return [(row.image_id, row.reason, round(row.score, 3), row.source, row.label) for row in about.itertuples()]


def test_a_sure_box_far_from_every_label_is_a_missing_label() -> None:
    kept = split((1, True, 0, A))
    found = rank(kept, boxes((1, 0, 0.9, *A), (1, 1, 0.8, *B), (1, 0, 0.6, *C)), None, PARAMS)
    assert said(found) == [(1, "missing_label", 0.8, "model", 1)]
    assert found.boxes["source"].tolist() == ["label", "model"]


def test_a_poor_box_of_a_labeled_object_is_no_missing_label() -> None:
    near = (0, 0, 10, 22)  # IoU 0.45 with A: too far to be its box, too near to be another object
    assert "missing_label" not in {
        reason for _, reason, *_ in said(rank(split((1, True, 0, A)), boxes((1, 0, 0.9, *near)), None, PARAMS))
    }


def test_one_object_is_missing_once() -> None:
    found = rank(split((1, True)), boxes((1, 0, 0.9, *A), (1, 1, 0.8, 0, 0, 10, 11)), None, PARAMS)
    assert said(found) == [(1, "missing_label", 0.9, "model", 0)]


def test_a_label_in_a_sure_box_of_another_class_is_wrong() -> None:
    found = rank(split((1, True, 0, A)), boxes((1, 1, 0.9, *A), (1, 0, 0.2, *A)), None, PARAMS)
    assert said(found) == [(1, "wrong_class", 0.7, "label", 0)]
    assert found.findings[["said", "said_score"]].values.tolist() == [[1, pytest.approx(0.9)]]
    assert found.boxes["source"].tolist() == ["label", "model"]  # what it says instead is proposed
    agrees = rank(split((1, True, 0, A)), boxes((1, 1, 0.9, *A), (1, 0, 0.95, *A)), None, PARAMS)
    assert said(agrees) == []


def test_a_label_that_no_box_fits_is_unfound() -> None:
    found = rank(split((1, True, 0, A), (1, True, 1, B)), boxes((1, 0, 0.2, *A), (1, 1, 0.4, *B)), None, PARAMS)
    assert said(found) == [(1, "unfound_label", 0.4, "label", 0)]


def test_doubts_about_boxes_of_images_that_nobody_labeled() -> None:
    found = rank(
        split((1, False)), boxes((1, 0, 0.75, *A, 0.08), (1, 1, 0.6, *B, 0.5), (1, 1, 0.95, *C, 0.01)), None, PARAMS
    )
    assert sorted(said(found)) == [
        (1, "near_threshold", 0.25, "model", 1),
        (1, "near_threshold", 0.375, "model", 0),
        (1, "wide_spread", 0.25, "model", 0),
    ]
    assert len(found.boxes) == 3  # the sure one is proposed, too
    sums = found.images[["score", "near_threshold", "wide_spread"]]
    assert sums.values.tolist() == [pytest.approx([0.875, 0.625, 0.25])]


def test_teacher_and_student_disagree() -> None:
    student = boxes((1, 0, 0.95, *A), (1, 0, 0.92, *B))
    teacher = boxes((1, 0, 0.5, *A), (1, 0, 0.9, *B), (1, 1, 0.9, *C))
    found = rank(split((1, False)), student, teacher, PARAMS)
    assert sorted(said(found)) == [
        (1, "disagreement", 0.225, "model", 0),
        (1, "disagreement", 0.45, "teacher", 1),
    ]


def test_images_by_score_then_id_and_only_those_of_the_split() -> None:
    kept = split((3, False), (2, True), (1, True))
    found = rank(kept, boxes((1, 0, 0.8, *A), (2, 0, 0.8, *A), (3, 0, 0.7, *A), (9, 0, 0.8, *A)), None, PARAMS)
    assert found.images["image_id"].tolist() == [1, 2, 3]
    assert list(found.images.columns) == ["image_id", "score", *REASONS]
    assert found.boxes["image_id"].tolist() == [1, 2, 3]


@pytest.mark.parametrize("kept", [split(), split((1, True)), split((1, False)), split((1, True, 0, A))])
@pytest.mark.parametrize("teacher", [None, boxes()])
def test_empty_is_legal(kept: pd.DataFrame, teacher: pd.DataFrame | None) -> None:
    found = rank(kept, boxes(), teacher, PARAMS)
    unfound = int((kept["box_id"] >= 0).sum())
    assert len(found.images) == unfound and len(found.findings) == unfound


NUMBERS = st.tuples(st.integers(1, 3), st.integers(0, 1), st.integers(1, 100), st.integers(0, 6), st.integers(0, 3))


@given(st.lists(NUMBERS, max_size=12), st.randoms(use_true_random=False))
@settings(max_examples=10, deadline=None)
def test_the_sum_is_the_score_and_the_order_of_rows_means_nothing(rows: list[tuple], draw) -> None:
    made = [(i, label, score / 100, 6.0 * x, 5.0 * y, 6.0 * x + 10, 5.0 * y + 10) for i, label, score, x, y in rows]
    made = list({(row[0], row[2]): row for row in made}.values())  # equal scores may change places
    kept = split((1, True, 0, A), (2, True, 1, B), (3, False))
    teacher = boxes(*made[::2])
    found = rank(kept, boxes(*made), teacher, PARAMS)
    draw.shuffle(made)
    pd.testing.assert_frame_equal(rank(kept, boxes(*made), teacher, PARAMS).images, found.images)
    assert np.allclose(found.images["score"], found.images[list(REASONS)].sum(axis=1))
    assert found.findings["score"].between(0, 1).all() and (found.images["score"] > 0).all()
    sums = found.findings["score"].groupby(found.boxes["image_id"].to_numpy()[found.findings["box"]]).sum()
    assert np.allclose(sums[found.images["image_id"]], found.images["score"])
