"""Class-imbalanced labels: the counts of the recipe on data of COCO's proportions, real data, and what is refused."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from scantling.data import protocols
from scantling.data.choice import Truth
from scantling.data.imbalanced import ImbalancedParams, TransferParams, few_shot
from scantling.data.index import Index
from scantling.stage import BadInput
from tests.data.tables import index_of, long_tailed, real

SPLITS = Path(__file__).parents[2] / "params" / "splits"


def imbalanced(minority: Any, **given: Any) -> ImbalancedParams:
    return ImbalancedParams(protocol="imbalanced", minority=minority, **given)


@pytest.mark.parametrize("seed", [0, 1])
@pytest.mark.parametrize("every", [2, 4])
def test_a_tenth_of_the_majority_and_ten_shots_of_the_minority(seed: int, every: int) -> None:
    index = long_tailed(12000, 40, seed)
    assert index.boxes is not None
    rare = list(range(40))[1::every]
    rows, facts = protocols.make(index, imbalanced([f"c{k}" for k in rare]), seed)
    truth = np.bincount(index.boxes.label, minlength=40)
    kept = np.array([n["kept"] for n in facts["per_class"].values()])
    major = np.setdiff1d(np.arange(40), rare)
    few_boxes = 0.02 * truth[major] + 5 * np.sqrt(0.1 * truth[major])  # what few-shot images add, and chance
    assert (np.abs(kept[major] - 0.1 * truth[major]) < few_boxes).all()
    assert (kept[rare] >= 10).all() and np.median(kept[rare]) < 60
    assert not facts["complete"]

    # an image is of one list or of the other: no minority box at all, or every box
    labeled = rows[rows.box_id >= 0]
    total = index.boxes.groupby("image_id").size()
    with_rare = labeled.label.isin(rare).groupby(labeled.image_id).any()
    whole = labeled.groupby("image_id").size() == total[np.sort(labeled.image_id.unique())]
    assert whole[with_rare].all() and with_rare.sum() == facts["drawn"]["few_shot_images"]
    n_major = index.boxes[~index.boxes.label.isin(rare)].image_id.nunique()
    assert facts["drawn"]["majority_images"] == n_major // 10
    assert facts["counts"]["labeled"] == sum(facts["drawn"][k] for k in ("majority_images", "few_shot_images"))
    assert facts["drawn"]["minority"] == [f"c{k}" for k in rare]
    # what CI-SSOD weights by: images of a class among the labeled ones
    images = labeled.drop_duplicates(["image_id", "label"]).label.value_counts()
    assert all(facts["per_class"][f"c{k}"]["images"] == images.get(k, 0) for k in range(40))


def truth_of(images: np.ndarray, labels: np.ndarray) -> Truth:
    boxes = {"box_id": np.arange(len(images)), "image_id": images, "label": labels}
    return Truth.of(index_of({"image_id": range(8)}, pd.DataFrame(boxes), tuple("abcde")), difficult=False)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 7), st.integers(0, 4)), max_size=60), st.integers(1, 6), st.data())
def test_few_shots_are_reached_and_no_image_is_taken_in_vain(
    pairs: list[tuple[int, int]], shots: int, data: st.DataObject
) -> None:
    images, labels = (np.array([p[k] for p in pairs], dtype=np.int64) for k in (0, 1))
    pool = np.array(data.draw(st.permutations(range(6))))  # images 6 and 7 are not to be had
    wanted = np.array(sorted(data.draw(st.sets(st.integers(0, 4)))), dtype=np.int64)
    taken = few_shot(pool, truth_of(images, labels), wanted, shots)
    assert set(taken) <= set(pool.tolist()) and len(set(taken)) == len(taken)
    for label in wanted:
        there = np.isin(images, pool) & (labels == label)
        got = (there & np.isin(images, taken)).sum()
        assert got >= min(shots, there.sum())
    for image in taken:  # without it some class would lack boxes, or it came before a later class filled up
        assert np.isin(labels[images == image], wanted).any()
    if len(wanted) == 1 and len(taken):
        last = max(taken, key=pool.tolist().index)
        held = np.isin(images, [i for i in taken if i != last]) & (labels == wanted[0])
        assert held.sum() < shots


def test_rare_classes_come_first_and_boxes_on_their_images_count() -> None:
    # class 0: one box, on image 3; class 1: three boxes, two of them on image 3
    images, labels = np.array([3, 3, 3, 1]), np.array([0, 1, 1, 1])
    truth = truth_of(images, labels)
    assert few_shot(np.array([1, 2, 3]), truth, np.array([0, 1]), 2).tolist() == [3]
    assert few_shot(np.array([1, 2, 3]), truth, np.array([1]), 1).tolist() == [1]
    assert few_shot(np.array([], dtype=np.int64), truth, np.array([1]), 1).tolist() == []


def test_the_long_tail_of_taco() -> None:
    index = real("taco_annotations")
    assert index.boxes is not None
    truth = np.bincount(index.boxes.label, minlength=60)
    rare = [index.classes[k] for k in np.argsort(truth, kind="stable")[:30] if truth[k]]
    _, facts = protocols.make(index, imbalanced(rare, minority_shots=3, allow_missing_class=True), 1)
    for name in rare:  # boxes on majority images are hidden, so that a class of few boxes may fall short
        own = facts["per_class"][name]
        assert own["kept"] >= min(3, own["kept"] + own["hidden"]) or own["hidden"] > 0
    assert sum(facts["per_class"][name]["kept"] >= 3 for name in rare) > len(rare) / 2


def test_minority_classes_may_stand_in_a_file(tmp_path: Path) -> None:
    file = tmp_path / "rare.txt"
    file.write_text("c3\n\n c5 \n")
    index = long_tailed(300, 6, 0)
    one, other = (protocols.make(index, imbalanced(m), 1)[1] for m in (str(file), ["c5", "c3", "c3"]))
    assert one["sha256"] == other["sha256"] and one["drawn"]["minority"] == ["c3", "c5"]


def test_minority_classes_that_cannot_be() -> None:
    index = long_tailed(300, 6, 0)
    for minority, message in (
        (["c33"], r"`minority`: made has no class 'c33'; did you mean c3\?"),
        (["dog"], r"`minority`: made has no class 'dog'; its classes begin with c0, c1"),
        ([], r"0 of the 6 classes of made are minority classes; name some of them, not all and not none"),
        (index.classes, r"6 of the 6 classes"),
        ("nowhere.txt", r"nowhere\.txt: there is no such text file; give `minority` a list of classes or a file"),
    ):
        with pytest.raises(BadInput, match=message):
            protocols.make(index, imbalanced(minority), 1)


def test_the_shipped_class_lists_are_those_of_the_authors() -> None:
    one, two = (protocols.SplitParams.load(SPLITS / f"imbalanced_coco_split{k}.yaml") for k in (1, 2))
    # box-wise counts of the authors' files (gradient_sampling.md section 6.1), whose small ones are the minority
    assert len(set(one.minority)) == 20 and len(set(two.minority)) == 40
    assert set(one.minority) & set(two.minority) >= {"airplane", "bus", "cow", "cat", "dining table", "tv"}
    assert "person" in one.minority and "person" not in two.minority
    assert {"zebra", "toothbrush", "book"} <= set(two.minority) and not {"zebra", "toothbrush"} & set(one.minority)


def two_sets(shots_there: int = 30) -> Index:
    """Train has classes a and b; subset unlabeled a, c and d, of which d is on every third image."""
    rng = np.random.default_rng(4)
    ids = np.arange(200)
    labels = np.where(ids < 100, rng.integers(0, 2, 200), rng.choice([0, 2, 2], 200))
    boxes = pd.DataFrame({"image_id": ids, "label": labels})
    boxes = pd.concat([boxes, pd.DataFrame({"image_id": ids[100 : 100 + 3 * shots_there : 3], "label": 3})])
    boxes["box_id"] = np.arange(len(boxes))
    return index_of({"image_id": ids, "subset": ["train"] * 100 + ["unlabeled"] * 100}, boxes, tuple("abcde"))


def test_transfer_labels_train_and_a_few_shots_of_what_it_lacks() -> None:
    rows, facts = protocols.make(two_sets(), TransferParams(protocol="transfer", shots=10), 1)
    assert rows.labeled[rows.image_id < 100].all()
    few = rows[(rows.image_id >= 100) & rows.labeled]
    assert few.image_id.nunique() == facts["drawn"]["few_shot_images"] < 25
    assert facts["drawn"]["few_shot_classes"] == 3  # e has no box anywhere
    counts = few.label.value_counts()
    assert counts[2] >= 10 and counts[3] == 10
    truth = two_sets().boxes
    assert truth is not None
    assert set(few.box_id) == set(truth.box_id[truth.image_id.isin(few.image_id)])  # with all their boxes
    assert not facts["complete"] and facts["counts"]["labeled"] == 100 + few.image_id.nunique()


def test_transfer_without_anything_to_learn_is_refused() -> None:
    index = two_sets()
    assert index.boxes is not None
    known = Index(**{**vars(index), "boxes": index.boxes.assign(label=index.boxes.label % 2)})
    with pytest.raises(BadInput, match=r"finds no box of a class that is missing in subset train among the 100 images"):
        protocols.make(known, TransferParams(protocol="transfer", shots=10), 1)


def test_facts_are_plain_json() -> None:
    _, facts = protocols.make(long_tailed(300, 6, 0), imbalanced(["c3"]), 1)
    assert json.loads(json.dumps(facts)) == facts
