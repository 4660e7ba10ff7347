"""The split table: labeled images as Soft Teacher draws them, what it holds, what it refuses."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from scantling.data import sparse, split
from scantling.data.index import BOX_COLUMNS, IMAGE_COLUMNS, Index, table
from scantling.params import ParamsError
from scantling.stage import BadInput

GOLDEN = Path(__file__).parents[1] / "golden" / "soft_teacher"
FULL = split.FullParams(protocol="full")


def percent(**given: Any) -> split.PercentParams:
    return split.PercentParams(protocol="percent", **given)


def made(images: int = 20, boxes_each: int = 2, first_id: int = 0) -> Index:
    """An index without files: `images` of train (one of them without boxes), then one each of val and unlabeled."""
    ids = list(range(first_id, first_id + images + 2))
    subsets = ["train"] * images + ["val", "unlabeled"]
    rows = [{"image_id": i, "subset": s, "file_name": f"{i}.jpg"} for i, s in zip(ids, subsets, strict=True)]
    frame = table(pd.DataFrame(rows).assign(width=40, height=30, bytes=1, mtime_ns=0), IMAGE_COLUMNS)
    owners = np.repeat(ids[1:], boxes_each)
    found = pd.DataFrame({"box_id": range(len(owners)), "image_id": owners})
    found = found.assign(label=found.box_id % 3, x1=1.0, y1=2.0, x2=found.box_id % 20 + 3.0, y2=9.0, area=1.0)
    boxes = table(found.assign(crowd=False, difficult=False), BOX_COLUMNS)
    return Index("made", Path("."), ("a", "b", "c"), (1, 2, 3), frame, boxes, {})


def with_boxes(index: Index, **columns: Any) -> Index:
    assert index.boxes is not None
    return Index(**{**vars(index), "boxes": index.boxes.assign(**columns)})


CASES = json.loads((GOLDEN / "split_soft_teacher.json").read_text())["cases"]


@pytest.mark.parametrize("case", CASES, ids=lambda c: c["labelled_file"])
def test_percent_draws_what_soft_teacher_draws(case: dict[str, Any]) -> None:
    params = percent(percent=case["percent"], seed_offset=case["seed_offset"])
    ids = np.arange(case["num_images"])
    drawn = split.draw(ids, params, case["fold_seed"], "made")
    assert len(drawn) == case["num_labelled"]
    assert drawn[:20].tolist() == case["first_20_draw_order"]
    assert drawn.sum() == case["labelled_sum"]

    rows, facts = split.make(made(case["num_images"]), params, case["fold_seed"])
    train = rows[rows.image_id < case["num_images"]].drop_duplicates("image_id")
    assert train.image_id[train.labeled].tolist()[:20] == case["first_20_file_order"]
    assert train.image_id[~train.labeled].tolist()[:20] == case["first_20_unlabelled"]
    assert facts["counts"]["labeled"] == case["num_labelled"]


def test_percent_has_the_published_sizes_on_coco() -> None:
    sizes = json.loads((GOLDEN / "split_sizes.json").read_text())
    ids = np.arange(sizes["coco_train2017_all_images"])
    for share, size in sizes["soft_teacher"].items():
        assert len(split.draw(ids, percent(percent=float(share)), 1, "coco")) == size


@settings(max_examples=40, deadline=None)
@given(st.integers(2, 300), st.data(), st.integers(0, 50))
def test_a_smaller_share_lies_within_a_larger_one(images: int, data: st.DataObject, fold: int) -> None:
    few, many = sorted(data.draw(st.tuples(st.integers(1, images), st.integers(1, images))))
    ids = np.arange(images) * 7
    drawn = split.draw(ids, percent(images=many), fold, "made")
    assert split.draw(ids, percent(images=few), fold, "made").tolist() == drawn[:few].tolist()
    assert len(set(drawn)) == many and set(drawn) <= set(ids)


def test_order_by_id_does_not_depend_on_the_order_of_the_file() -> None:
    index = made(50)
    shuffled = Index(**{**vars(index), "images": index.images.sample(frac=1, random_state=3)})
    for order, same in (("id", True), ("file", False)):
        hashes = [split.make(i, percent(images=5, order=order), 1)[1]["sha256"] for i in (index, shuffled)]
        assert (hashes[0] == hashes[1]) == same


PROTOCOLS = {
    "full": FULL,
    "percent": percent(percent=30),
    "images": percent(images=3),
    "drop_category": sparse.DropParams(protocol="drop_category", percent=50),
    "extreme": sparse.ExtremeParams(protocol="extreme"),
    "keep1": sparse.Keep1Params(protocol="keep1"),
}


@pytest.mark.parametrize("name", PROTOCOLS)
def test_every_training_image_occurs_and_only_true_boxes_do(name: str) -> None:
    index = made()
    assert index.boxes is not None
    rows, facts = split.make(index, PROTOCOLS[name], 1)
    assert list(rows.dtypes.astype(str)) == list(split.SPLIT_COLUMNS.values())
    train = index.images[index.images.subset.isin(["train", "unlabeled"])]
    assert rows.image_id.drop_duplicates().tolist() == train.image_id.tolist()  # in the order of the index

    kept, bare = rows[rows.box_id >= 0], rows[rows.box_id < 0]
    truth = index.boxes[index.boxes.box_id.isin(kept.box_id)][["image_id", "box_id", "label", "x1", "y1", "x2", "y2"]]
    pd.testing.assert_frame_equal(kept.drop(columns="labeled").reset_index(drop=True), truth.reset_index(drop=True))
    assert kept.labeled.all()
    assert not set(bare.image_id) & set(kept.image_id) and bare.image_id.is_unique
    assert bare[["x1", "y1", "x2", "y2"]].isna().all(axis=None) and (bare.label == -1).all()
    assert not rows.labeled[rows.image_id == 21].any()  # subset unlabeled, although its boxes are known

    counts = facts["counts"]
    in_train = index.boxes.image_id.isin(index.images.image_id[index.images.subset == "train"]).sum()
    assert counts["kept"] + counts["hidden"] == in_train
    assert counts["kept"] == len(kept) == sum(c["kept"] for c in facts["per_class"].values())
    assert counts["labeled"] + counts["unlabeled"] == counts["images"] == len(train)
    assert facts["complete"] == (name in {"full", "percent", "images"})


def test_crowd_and_difficult_boxes_are_never_kept_and_take_no_place() -> None:
    index = made(4, 3)
    assert index.boxes is not None
    rank = index.boxes.groupby("image_id").cumcount()
    flagged = with_boxes(index, crowd=rank == 0, difficult=rank == 1)
    for params in (FULL, PROTOCOLS["keep1"], PROTOCOLS["extreme"]):
        params = params.model_copy(update={"allow_missing_class": True})
        rows, _ = split.make(flagged, params, 1)
        assert rows.box_id[rows.box_id >= 0].tolist() == [2, 5, 8]


def test_an_empty_image_of_train_is_labeled_in_a_complete_split() -> None:
    rows, _ = split.make(made(), FULL, 1)
    assert rows[rows.image_id == 0][["labeled", "box_id"]].to_numpy().tolist() == [[True, -1]]


def test_zero_labeled_boxes_are_refused() -> None:
    index = made(3)
    with pytest.raises(BadInput, match=r"made: protocol full, fold 1 keeps no labeled box of 0; label more images"):
        split.make(with_boxes(index, crowd=True), FULL, 1)
    lonely = Index(**{**vars(index), "images": index.images.assign(subset="val")})
    with pytest.raises(BadInput, match="made: has no image in subset train; name one under `subsets`"):
        split.make(lonely, FULL, 1)


def test_too_few_and_too_many_images_are_refused() -> None:
    with pytest.raises(BadInput, match=r"made: percent 1 asks for 0 of its 20 training images; ask for 1 to 20"):
        split.make(made(), percent(percent=1), 1)
    with pytest.raises(BadInput, match=r"made: images 21 asks for 21 of its 20 training images"):
        split.make(made(), percent(images=21), 1)
    with pytest.raises(BadInput, match=r"--fold -1: must not be negative"):
        split.make(made(), FULL, -1)


def test_a_class_that_loses_every_box_is_refused_or_told(capsys: pytest.CaptureFixture[str]) -> None:
    index = made(4, 1)  # three boxes of three classes
    params = percent(images=2)
    rows, _ = split.make(index, params, 1)
    assert 0 < (rows.box_id >= 0).sum() < 3
    assert "warning: made: protocol percent, fold 1 keeps no box of class" in capsys.readouterr().out
    with pytest.raises(BadInput, match=r"keeps no box of class .*; keep more or set `allow_missing_class: true`"):
        split.make(index, params.model_copy(update={"allow_missing_class": False}), 1)


def test_a_class_without_any_box_in_train_is_not_the_splits_fault() -> None:
    index = made()
    wider = Index(**{**vars(index), "classes": ("a", "b", "c", "d")})
    _, facts = split.make(wider, PROTOCOLS["drop_category"], 1)
    assert facts["per_class"]["d"] == {"kept": 0, "hidden": 0}


def test_the_content_hash_sees_every_value_and_no_order(tmp_path: Path) -> None:
    rows, facts = split.make(made(), percent(images=10), 1)
    assert split.content_hash(rows.sample(frac=1, random_state=1)) == facts["sha256"]
    rows.to_parquet(tmp_path / "split.parquet")
    assert split.content_hash(split.load(tmp_path)) == facts["sha256"]
    moved = rows.copy()
    moved.loc[moved.box_id.idxmax(), "x2"] = math.pi
    assert split.content_hash(moved) != facts["sha256"]
    assert split.make(made(), percent(images=10), 2)[1]["sha256"] != facts["sha256"]


def test_parameter_files_name_the_protocol_and_the_mistake(tmp_path: Path) -> None:
    file = tmp_path / "p.yaml"
    for text, message in (
        ("protocol: drop_categories\n", r"p\.yaml: `protocol` = 'drop_categories' is unknown; did you mean `drop_cat"),
        ("protocol: drop_category\n", r"p\.yaml: parameter `percent` is missing; add it"),
        ("protocol: drop_category\npercent: 120\n", r"p\.yaml: `percent` = 120: .*less than or equal to 99"),
        ("protocol: percent\n", r"give either `percent` or `images`"),
        ("protocol: percent\npercent: 1\nimages: 2\n", r"give either `percent` or `images`"),
        ("protocol: keep1\nselects: first\n", r"unknown parameter `selects`; did you mean `select`"),
    ):
        file.write_text(text)
        with pytest.raises(ParamsError, match=message):
            split.SplitParams.load(file)


@pytest.mark.parametrize("file", sorted(Path("params/splits").glob("*.yaml")), ids=lambda p: p.stem)
def test_shipped_protocols_load(file: Path) -> None:
    assert split.SplitParams.load(file).protocol in split.PROTOCOLS
