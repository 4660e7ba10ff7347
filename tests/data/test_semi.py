"""Whole images: Soft Teacher's draws, STAC's, the published list of Unbiased Teacher, and lists that do not fit."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from scantling.data import jsonfile, protocols, semi
from scantling.data.index import Index
from scantling.stage import BadInput
from tests.data.tables import REAL, index_of, shuffled

GOLDEN = Path(__file__).parents[1] / "golden" / "soft_teacher"
CASES = json.loads((GOLDEN / "split_soft_teacher.json").read_text())["cases"]
LIST_CASES = json.loads((GOLDEN / "split_unbiased_teacher.json").read_text())["cases"]


def percent(**given: Any) -> semi.PercentParams:
    return semi.PercentParams(protocol="percent", **given)


def one_box_each(ids: Any, bare: Any = ()) -> Index:
    """Images of train with one box of one class; `bare` ones have none."""
    boxes = {"box_id": np.arange(len(ids)), "image_id": np.array(ids), "label": np.zeros(len(ids), dtype=int)}
    return index_of({"image_id": [*ids, *bare]}, boxes, ("a",))


@pytest.mark.parametrize("case", CASES, ids=lambda c: c["labelled_file"])
def test_percent_draws_what_soft_teacher_draws(case: dict[str, Any]) -> None:
    params = percent(percent=case["percent"], seed_offset=case["seed_offset"])
    drawn = semi.draw(np.arange(case["num_images"]), params, case["fold_seed"], "made")
    assert len(drawn) == case["num_labelled"]
    assert drawn[:20].tolist() == case["first_20_draw_order"]
    assert drawn.sum() == case["labelled_sum"]

    rows, facts = protocols.make(one_box_each(range(case["num_images"])), params, case["fold_seed"])
    train = rows.drop_duplicates("image_id")
    assert train.image_id[train.labeled].tolist()[:20] == case["first_20_file_order"]
    assert train.image_id[~train.labeled].tolist()[:20] == case["first_20_unlabelled"]
    assert facts["counts"]["labeled"] == case["num_labelled"]
    assert facts["seed"] == case["fold_seed"] + case["seed_offset"]


def test_percent_has_the_published_sizes_on_coco() -> None:
    sizes = json.loads((GOLDEN / "split_sizes.json").read_text())
    ids = np.arange(sizes["coco_train2017_all_images"])
    for share, size in sizes["soft_teacher"].items():
        assert len(semi.draw(ids, percent(percent=float(share)), 1, "coco")) == size


@settings(max_examples=40, deadline=None)
@given(st.integers(2, 300), st.data(), st.integers(0, 50))
def test_a_smaller_share_lies_within_a_larger_one(images: int, data: st.DataObject, fold: int) -> None:
    few, many = sorted(data.draw(st.tuples(st.integers(1, images), st.integers(1, images))))
    ids = np.arange(images) * 7
    drawn = semi.draw(ids, percent(images=many), fold, "made")
    assert semi.draw(ids, percent(images=few), fold, "made").tolist() == drawn[:few].tolist()
    assert len(set(drawn)) == many and set(drawn) <= set(ids)


def test_stac_draws_with_replacement_from_the_global_generator() -> None:
    ids = np.arange(118287) + 9
    for share, about in ((1, 1176), (10, 11260)):  # of 1182 and 11828 (soft_teacher.md section 10)
        np.random.seed(3)  # this is what the scripts do
        theirs = np.random.choice(range(len(ids)), size=int(share / 100.0 * len(ids)))
        ours = semi.draw(ids, percent(percent=share, rule="stac"), 3, "coco")
        assert set(ours - 9) == set(theirs.tolist()) and len(set(ours)) == len(ours)
        assert abs(len(ours) - about) < 0.01 * about


def test_order_by_id_does_not_depend_on_the_order_of_the_file() -> None:
    index = one_box_each(range(50))
    for order, same in (("id", True), ("file", False)):
        hashes = [
            protocols.make(i, percent(images=5, order=order), 1)[1]["sha256"] for i in (index, shuffled(index, 3))
        ]
        assert (hashes[0] == hashes[1]) == same


def listed(file: Path, share: float = 10, **more: Any) -> semi.ListParams:
    return semi.ListParams(protocol="list", file=str(file), percent=share, **more)


@pytest.mark.parametrize("case", LIST_CASES, ids=lambda c: c["json_key"])
@pytest.mark.parametrize("packed", [False, True])
def test_a_list_gives_the_records_that_unbiased_teacher_takes(
    case: dict[str, Any], packed: bool, tmp_path: Path
) -> None:
    text = json.dumps({case["json_key"]: {str(case["seed"]): case["listed_indices"]}, "7.5": {"1": [0]}}).encode()
    file = tmp_path / ("list.txt.gz" if packed else "list.txt")
    file.write_bytes(gzip.compress(text) if packed else text)
    ids = range(100, 100 + case["dataset_size"])
    index = shuffled(one_box_each(ids, bare=(90, 200)), 5)  # images without a box do not count
    rows, facts = protocols.make(index, listed(file, case["sup_percent"]), case["seed"])
    assert rows.image_id[rows.labeled].tolist() == case["labelled_image_ids"]
    assert rows.image_id[~rows.labeled].tolist() == case["unlabelled_image_ids"]
    assert facts["counts"]["left_out"] == 2
    assert facts["drawn"] == {"file_sha256": jsonfile.sha256(file)}
    rows, _ = protocols.make(index, listed(file, case["sup_percent"], without_boxes="unlabeled"), case["seed"])
    assert rows.image_id[~rows.labeled].tolist() == sorted([90, 200, *case["unlabelled_image_ids"]])


def test_images_count_in_a_list_if_they_have_a_box_that_is_no_crowd(tmp_path: Path) -> None:
    file = tmp_path / "list.json"
    file.write_text(json.dumps({"50.0": {"1": [1]}}))
    index = one_box_each([5, 6, 7, 8])
    assert index.boxes is not None
    flagged = index.boxes.assign(crowd=[True, False, False, True], difficult=[False, True, False, False])
    rows, _ = protocols.make(Index(**{**vars(index), "boxes": flagged}), listed(file, 50), 1)
    assert rows.image_id.tolist() == [6, 7] and rows.labeled.tolist() == [False, True]


def test_lists_that_do_not_fit_are_refused(tmp_path: Path) -> None:
    file = tmp_path / "list.json"
    index = one_box_each(range(20))
    good = {"10.0": {"1": [0, 3], "2": [3, 3], "3": [0], "4": [0, 20], "5": [0, -1], "6": [0, True], "7": 3}, "1.0": {}}
    file.write_text(json.dumps(good))
    for fold, share, more, message in (
        (2, 10, {}, r"percent 10, fold 2: must be distinct whole numbers from 0 on, one is listed twice"),
        (3, 10, {}, r"lists 1 images up to number 0, which does not fit the 20 images with boxes of made \(2 wanted\)"),
        (4, 10, {}, r"lists 2 images up to number 20, which does not fit"),
        (5, 10, {}, r"whole numbers from 0 on, found -1"),
        (6, 10, {}, r"whole numbers from 0 on, found True"),
        (7, 10, {}, r"fold 7 is not in the list; its folds are 1, 2, 3"),
        (9, 10, {}, r"fold 9 is not in the list; its folds are 1, 2, 3"),
        (1, 1, {}, r"fold 1 is not in the list; its folds are none"),
        (1, 5, {}, r"has no list for percent 5; it has 1, 10"),
        (1, 10, {"of_images": 117266}, r"counts in 117266 images with boxes \(`of_images`\), made has 20; use the"),
    ):
        with pytest.raises(BadInput, match=message):
            protocols.make(index, listed(file, share, **more), fold)
    for content in ("[]", "3", '{"x": 1}', '{"10.0": []}', "{", "", "\\x00", "[" * 100_000):
        file.write_text(content)
        with pytest.raises(BadInput, match=r"list\.json: "):
            protocols.make(index, listed(file), 1)


def test_the_published_list() -> None:
    file = REAL / "COCO_supervision.json.gz"
    if not file.is_file():
        pytest.skip(f"{file} is not here")
    known = json.loads((GOLDEN / "ut_dataseed_facts.json").read_text())
    index = one_box_each(np.arange(117266) * 5, bare=np.arange(1021) * 5 + 1)
    chosen = {}
    for key in ("1.0", "2.0", "5.0", "10.0"):
        params = listed(file, float(key), of_images=117266)
        content = jsonfile.read(file, "")
        folds = [semi.indices_of(content, params, fold) for fold in range(10)]
        assert folds[1][:20].tolist() == known["first_20"][key]
        assert max(fold.max() for fold in folds) == known["max_index"][key]
        rows, facts = protocols.make(index, params, 1)
        assert facts["counts"]["labeled"] == known["lengths"][key]
        assert facts["counts"]["images"] == 117266 and facts["counts"]["left_out"] == 1021
        chosen[key] = set(rows.image_id[rows.labeled] // 5)
        assert set(known["first_20"][key]) <= chosen[key]
    for pair, shared in known["overlap_seed1"].items():
        a, b = pair.split("&")
        assert len(chosen[a] & chosen[b]) == shared
