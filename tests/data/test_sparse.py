"""Sparse protocols: the counts of their definitions, whatever the boxes, and independence of everything else."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from scantling.data import sparse

GOLDEN = Path(__file__).parents[1] / "golden" / "sparse_splits" / "keep1.json"


@st.composite
def tables(draw: st.DrawFn) -> pd.DataFrame:
    """Up to 40 boxes over 6 images and 4 classes, in any order, ids with gaps."""
    n = draw(st.integers(0, 40))
    ids = draw(st.lists(st.integers(0, 10**12), min_size=n, max_size=n, unique=True))
    images = draw(st.lists(st.integers(0, 5), min_size=n, max_size=n))
    labels = draw(st.lists(st.integers(0, 3), min_size=n, max_size=n))
    return pd.DataFrame({"box_id": ids, "image_id": images, "label": labels}).astype("int64")


seeds = st.integers(0, 2**31)
percents = st.integers(0, 99)
EVERY: dict[str, Any] = {
    "drop_dataset": sparse.DropParams(protocol="drop_dataset", percent=50),
    "drop_category": sparse.DropParams(protocol="drop_category", percent=50),
    "drop_image_category": sparse.DropParams(protocol="drop_image_category", percent=50),
    "missing_50p": sparse.Missing50Params(protocol="missing_50p"),
    "missing_50p dataset": sparse.Missing50Params(protocol="missing_50p", unit="dataset"),
    "easy": sparse.EasyHardParams(protocol="easy"),
    "easy image": sparse.EasyHardParams(protocol="easy", guard="image"),
    "hard": sparse.EasyHardParams(protocol="hard"),
    "hard image": sparse.EasyHardParams(protocol="hard", guard="image"),
    "extreme": sparse.ExtremeParams(protocol="extreme"),
    "keep1": sparse.Keep1Params(protocol="keep1"),
    "keep1 random": sparse.Keep1Params(protocol="keep1", select="random"),
}
PER_IMAGE = [name for name in EVERY if name not in {"drop_dataset", "drop_category"} and "missing" not in name]


def mask(boxes: pd.DataFrame, params: Any, seed: int = 1) -> np.ndarray:
    """(N,) bool, which rows are kept; the rows are in the order of the file."""
    columns = (boxes[name].to_numpy(np.int64) for name in ("box_id", "image_id", "label"))
    return sparse.keep(*columns, np.arange(len(boxes)), params, seed)


def kept(boxes: pd.DataFrame, params: Any, seed: int = 1) -> set[int]:
    return set(boxes.box_id[mask(boxes, params, seed)])


@pytest.mark.parametrize("name", EVERY)
@settings(max_examples=30, deadline=None)
@given(boxes=tables(), seed=seeds)
def test_a_mask_over_the_boxes_that_does_not_depend_on_their_order(name: str, boxes: pd.DataFrame, seed: int) -> None:
    found = mask(boxes, EVERY[name], seed)
    assert found.dtype == bool and found.shape == (len(boxes),)
    if name != "keep1":  # that one takes the first of the file
        shuffled = boxes.sample(frac=1, random_state=seed % 2**31)
        assert kept(shuffled, EVERY[name], seed) == set(boxes.box_id[found])


@pytest.mark.parametrize("name", PER_IMAGE)
@settings(max_examples=30, deadline=None)
@given(boxes=tables(), seed=seeds)
def test_an_image_does_not_depend_on_the_others(name: str, boxes: pd.DataFrame, seed: int) -> None:
    everything = kept(boxes, EVERY[name], seed)
    for _, alone in boxes.groupby("image_id"):
        assert kept(alone, EVERY[name], seed) == everything & set(alone.box_id)


@settings(max_examples=60, deadline=None)
@given(tables(), percents, seeds)
def test_drop_category_hides_a_floor_of_every_class_but_not_all(boxes: pd.DataFrame, p: int, seed: int) -> None:
    left = mask(boxes, sparse.DropParams(protocol="drop_category", percent=p), seed)
    before, after = Counter(boxes.label), Counter(boxes.label[left])
    assert after == {c: max(1, n - n * p // 100) for c, n in before.items()}


@settings(max_examples=60, deadline=None)
@given(tables(), percents, seeds)
def test_drop_dataset_hides_a_floor_of_all(boxes: pd.DataFrame, p: int, seed: int) -> None:
    left = mask(boxes, sparse.DropParams(protocol="drop_dataset", percent=p), seed)
    assert left.sum() == len(boxes) - len(boxes) * p // 100


@settings(max_examples=60, deadline=None)
@given(tables(), percents, seeds)
def test_drop_image_category_rounds_halves_up_and_keeps_every_pair(boxes: pd.DataFrame, p: int, seed: int) -> None:
    left = mask(boxes, sparse.DropParams(protocol="drop_image_category", percent=p), seed)
    pairs = list(zip(boxes.image_id, boxes.label, strict=True))
    after = Counter(pair for pair, stays in zip(pairs, left, strict=True) if stays)
    assert after == {pair: max(1, int(n * (100 - p) / 100 + 0.5)) for pair, n in Counter(pairs).items()}


@pytest.mark.parametrize("protocol", ["drop_dataset", "drop_category", "drop_image_category"])
@settings(max_examples=40, deadline=None)
@given(boxes=tables(), low=percents, high=percents, seed=seeds)
def test_what_a_lower_share_hides_a_higher_one_hides_too(
    protocol: Any, boxes: pd.DataFrame, low: int, high: int, seed: int
) -> None:
    low, high = sorted((low, high))
    few, many = (kept(boxes, sparse.DropParams(protocol=protocol, percent=p), seed) for p in (high, low))
    assert few <= many


@settings(max_examples=60, deadline=None)
@given(tables(), seeds)
def test_easy_and_hard(boxes: pd.DataFrame, seed: int) -> None:
    for _, image in boxes.groupby("image_id"):
        n, classes = len(image), image.label.nunique()
        count = {name: len(kept(image, EVERY[name], seed)) for name in ("easy", "easy image", "hard", "hard image")}
        assert count["easy image"] == max(1, n - 1)
        assert count["easy"] == n - min(1, n - classes)
        assert count["hard image"] == n - n // 2
        assert count["hard"] == n - min(n // 2, n - classes)
        for name in ("easy", "hard"):
            assert set(image.label[image.box_id.isin(kept(image, EVERY[name], seed))]) == set(image.label)


@settings(max_examples=60, deadline=None)
@given(tables(), seeds)
def test_extreme_keep1_and_missing_50p(boxes: pd.DataFrame, seed: int) -> None:
    assert sorted(boxes.image_id[mask(boxes, EVERY["extreme"], seed)]) == sorted(set(boxes.image_id))
    pairs = boxes[["image_id", "label"]].drop_duplicates()
    for name in ("keep1", "keep1 random"):
        found = boxes[mask(boxes, EVERY[name], seed)]
        assert len(found) == len(pairs) == len(found[["image_id", "label"]].drop_duplicates())
    halves = Counter(boxes.label[mask(boxes, EVERY["missing_50p"], seed)])
    assert halves == {c: n - n // 2 for c, n in Counter(boxes.label).items()}
    assert mask(boxes, EVERY["missing_50p dataset"], seed).sum() == len(boxes) - len(boxes) // 2


def test_another_seed_or_protocol_is_another_choice() -> None:
    boxes = pd.DataFrame({"box_id": range(100), "image_id": 0, "label": 0})
    drop = [sparse.DropParams(protocol=p, percent=50) for p in ("drop_category", "drop_dataset")]
    choices = [kept(boxes, drop[0], 1), kept(boxes, drop[0], 2), kept(boxes, drop[1], 1)]
    assert choices[0] != choices[1] and choices[0] != choices[2]


def test_what_is_hidden_comes_first_in_the_order_of_the_stated_hash() -> None:
    digests = {i: hashlib.sha256(f"3|drop_category|{i}".encode()).hexdigest() for i in range(10, 15)}
    boxes = pd.DataFrame({"box_id": range(10, 15), "image_id": 0, "label": 0})
    hidden = set(range(10, 15)) - kept(boxes, sparse.DropParams(protocol="drop_category", percent=40), 3)
    assert hidden == set(sorted(digests, key=digests.__getitem__)[:2])


def test_keep1_first_equals_the_published_generator() -> None:
    golden = json.loads(GOLDEN.read_text())
    entries = pd.DataFrame(golden["input"]["annotations"])
    boxes = pd.DataFrame({"box_id": entries.id, "image_id": entries.image_id, "label": entries.category_id})
    drawn = boxes[~entries.iscrowd.astype(bool)]
    assert kept(drawn, EVERY["keep1"]) == set(golden["kept_annotation_ids_in_output_order"])


def test_easy_hides_nothing_where_all_classes_differ_and_never_the_only_box() -> None:
    distinct = pd.DataFrame({"box_id": range(4), "image_id": 0, "label": range(4)})
    single = pd.DataFrame({"box_id": range(3), "image_id": range(3), "label": 0})
    for seed in range(5):
        assert kept(distinct, EVERY["easy"], seed) == set(range(4))
        for name in ("easy", "easy image", "hard", "hard image", "extreme", "keep1"):
            assert kept(single, EVERY[name], seed) == {0, 1, 2}
