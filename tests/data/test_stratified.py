"""Stratified draws: exact size, every class where there is room, shares closer than those of plain draws."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from scantling.data import protocols, stratified
from scantling.data.stratified import StratifiedParams, stratify
from tests.data.tables import index_of, long_tailed

PAIRS = st.lists(st.lists(st.integers(0, 4), unique=True, max_size=4), min_size=1, max_size=40)


@settings(max_examples=100, deadline=None)
@given(PAIRS, st.data())
def test_exact_size_and_a_class_each_where_there_is_room(labels_of: list[list[int]], data: st.DataObject) -> None:
    wanted = data.draw(st.integers(1, len(labels_of)))
    chosen = stratify(labels_of, 5, wanted)
    assert chosen.shape == (len(labels_of),) and chosen.sum() == wanted
    present = {label for labels in labels_of for label in labels}
    got = {label for labels, taken in zip(labels_of, chosen, strict=True) if taken for label in labels}
    if wanted >= len(present):  # one image a class always suffices
        assert got == present


@settings(max_examples=60, deadline=None)
@given(st.lists(st.integers(0, 4), min_size=10, max_size=200), st.integers(1, 9))
def test_one_label_an_image_is_shared_out_to_the_nearest_number(labels: list[int], tenths: int) -> None:
    wanted = max(5, len(labels) * tenths // 10)
    # one image for every class comes first: where that is more than its share, others have less than theirs
    assume(all(wanted * labels.count(label) >= len(labels) for label in set(labels)))
    chosen = stratify([[label] for label in labels], 5, wanted)
    for label in set(labels):
        ideal = wanted / len(labels) * labels.count(label)
        assert abs(sum(c for c, own in zip(chosen, labels, strict=True) if own == label) - ideal) < 2


def test_few_images_that_hold_many_classes_are_taken_when_one_each_would_be_too_many() -> None:
    labels_of = [[0], [1], [2], [3], [0, 1], [2, 3], [4]]
    chosen = stratify(labels_of, 5, 3)
    assert {label for labels, taken in zip(labels_of, chosen, strict=True) if taken for label in labels} == set(
        range(5)
    )


@pytest.mark.parametrize("share", [5, 20])
def test_shares_are_closer_than_those_of_plain_draws(share: int) -> None:
    index = long_tailed(400, 12, seed=1, boxes_each=3)
    assert index.boxes is not None
    pairs = index.boxes.drop_duplicates(["image_id", "label"])
    ideal = np.bincount(pairs.label, minlength=12) * share / 100

    def error(**given: object) -> float:
        found = []
        for fold in range(1, 6):
            params = {"percent": share, "allow_missing_class": True, **given}
            _, facts = protocols.make(index, protocols.PROTOCOLS[given["protocol"]].params(**params), fold)
            found.append(np.abs([n["images"] for n in facts["per_class"].values()] - ideal).mean())
        return float(np.mean(found))

    assert error(protocol="stratified") < 0.5 * error(protocol="percent")


def test_images_without_boxes_and_data_without_classes() -> None:
    assert stratify([[], [], []], 0, 2).sum() == 2
    index = index_of({"image_id": [4, 2, 9]}, {"box_id": [1], "image_id": [9], "label": [0]}, ("a",))
    rows, facts = protocols.make(index, StratifiedParams(protocol="stratified", images=2), 1)
    assert facts["counts"]["labeled"] == 2 and facts["counts"]["kept"] == 1
    assert rows.labeled[rows.image_id == 9].all()
    assert stratified.LABELED != stratified.UNLABELED
