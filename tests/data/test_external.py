"""An author's file: a part of the data is taken as it is, anything else is refused with examples."""

from __future__ import annotations

import copy
import gzip
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from scantling.data import jsonfile, protocols, sparse
from scantling.data.external import ExternalParams
from scantling.data.index import Index
from scantling.stage import BadInput
from tests.data.tables import index_of, indexes, real


def exported(index: Index, kept: Any) -> dict[str, Any]:
    """A COCO file with all images of train and the boxes whose ids are in `kept`."""
    assert index.boxes is not None
    train = index.images[index.images.subset == "train"]
    return {
        "images": [{"id": int(i), "file_name": f"{i}.jpg", "width": 40, "height": 30} for i in train.image_id],
        "annotations": [
            {
                "id": int(b.box_id),
                "image_id": int(b.image_id),
                "category_id": index.category_ids[b.label],
                "bbox": [float(v) for v in (b.x1, b.y1, b.x2 - b.x1, b.y2 - b.y1)],
                "iscrowd": int(b.crowd),
            }
            for b in index.boxes[index.boxes.box_id.isin(kept)].itertuples()
        ],
    }


def params(file: Path, **more: Any) -> ExternalParams:
    return ExternalParams(protocol="external", file=str(file), **more)


def write(file: Path, content: Any) -> Path:
    text = json.dumps(content).encode()
    file.write_bytes(gzip.compress(text) if file.suffix == ".gz" else text)
    return file


@settings(max_examples=25, deadline=None)
@given(index=indexes(), fold=st.integers(0, 99))
def test_a_split_written_out_and_read_back_is_the_same(
    index: Index, fold: int, tmp_path_factory: pytest.TempPathFactory
) -> None:
    rows, before = protocols.make(index, sparse.ExtremeParams(protocol="extreme", allow_missing_class=True), fold)
    file = write(tmp_path_factory.getbasetemp() / "same.json.gz", exported(index, rows.box_id))
    again, facts = protocols.make(index, params(file), fold)
    assert again.equals(rows) and facts["sha256"] == before["sha256"]
    assert facts["counts"] == before["counts"] and facts["per_class"] == before["per_class"]


def test_keep1_of_the_real_file() -> None:
    index = real("coco2017_train_subset337")
    rows, before = protocols.make(index, sparse.Keep1Params(protocol="keep1"), 1)
    assert before["counts"]["dropped"]["crowd"] > 0
    assert before["counts"]["kept"] == rows[rows.box_id >= 0].drop_duplicates(["image_id", "label"]).shape[0]


@pytest.fixture
def small() -> Index:
    """Three images of train and one of val, two boxes each; box 1 is a crowd, box 3 difficult."""
    boxes = {"box_id": range(8), "image_id": np.repeat([10, 11, 12, 13], 2), "label": [0, 1] * 4}
    boxes |= {"crowd": [k == 1 for k in range(8)], "difficult": [k == 3 for k in range(8)], "x2": [30.0, 40.0] * 4}
    return index_of({"image_id": [10, 11, 12, 13], "subset": ["train"] * 3 + ["val"]}, boxes)


def test_what_is_absent_is_unlabeled_or_empty(small: Index, tmp_path: Path) -> None:
    content = exported(small, [0, 2])
    content["images"] = content["images"][:2]
    file = write(tmp_path / "part.json", content)
    rows, facts = protocols.make(small, params(file), 1)
    assert rows.image_id[rows.labeled].tolist() == [10, 11] and rows.image_id[~rows.labeled].tolist() == [12]
    assert facts["complete"]  # a crowd and a difficult box are all that the two images lack
    assert facts["drawn"] == {"file_sha256": jsonfile.sha256(file), "annotations": 2, "repeated": 0, "unused": 0}
    rows, facts = protocols.make(small, params(file, absent="empty"), 1)
    assert rows.labeled.all() and facts["counts"]["empty"] == 1 and facts["counts"]["emptied"] == 1
    assert not facts["complete"]


def test_crowds_difficult_and_flat_boxes_of_the_file_are_left_aside(small: Index, tmp_path: Path) -> None:
    content = exported(small, [0, 1, 2, 3])
    flat = {"id": 99, "image_id": 11, "category_id": 1, "bbox": [1, 1, 0, 5]}
    file = write(tmp_path / "more.json", {**content, "annotations": [*content["annotations"], flat]})
    rows, facts = protocols.make(small, params(file), 1)
    assert rows.box_id[rows.box_id >= 0].tolist() == [0, 2] and facts["drawn"]["unused"] == 3
    rows, _ = protocols.make(small, params(file, voc_difficult="keep"), 1)
    assert rows.box_id[rows.box_id >= 0].tolist() == [0, 2, 3]


def test_boxes_beyond_the_image_and_rounded_ones_are_the_same(small: Index, tmp_path: Path) -> None:
    content = exported(small, [5])
    content["annotations"][0]["bbox"] = [0.8, 2.2, 90, 6.9]  # the data set has it clipped to 1, 2, 40, 9
    rows, _ = protocols.make(small, params(write(tmp_path / "wide.json", content)), 1)
    assert rows.box_id[rows.box_id >= 0].tolist() == [5]
    with pytest.raises(
        BadInput, match=r"1 annotations have another box, by up to 0\.2 px \(`tolerance` 0\.1\), e\.g\. id 5"
    ):
        protocols.make(small, params(write(tmp_path / "wide.json", content), tolerance=0.1), 1)


def test_a_box_that_repeats_another_is_found_under_its_id(small: Index, tmp_path: Path) -> None:
    content = exported(small, [4])
    content["annotations"][0]["id"] = 777  # prepare dropped this one and kept number 4
    rows, facts = protocols.make(small, params(write(tmp_path / "twin.json", content)), 1)
    assert rows.box_id[rows.box_id >= 0].tolist() == [4] and facts["drawn"]["repeated"] == 1


def edited(content: dict[str, Any], part: str, **change: Any) -> dict[str, Any]:
    content = copy.deepcopy(content)
    content[part][0].update(change)
    return content


def test_what_is_no_part_of_the_data_is_refused(small: Index, tmp_path: Path) -> None:
    good = exported(small, [0, 2])
    twice = {**good, "annotations": good["annotations"] * 2}
    for content, message in (
        (
            edited(good, "annotations", id=77, bbox=[9, 9, 9, 9]),
            r"1 annotations are not in made, e\.g\. id 77; use the",
        ),
        (edited(good, "annotations", image_id=11), r"1 annotations are on another image, e\.g\. id 0"),
        (edited(good, "annotations", category_id=2), r"1 annotations are of another class, e\.g\. id 0"),
        (edited(good, "annotations", category_id=9), r"1 annotations have a category that made does not have"),
        (edited(good, "annotations", bbox=[1, 2, 29, 6]), r"have another box, by up to 1\.0 px \(`tolerance` 0\.5\)"),
        (edited(good, "annotations", image_id=12345), r"1 annotations belong to no image of the file, e\.g\. id 0"),
        (edited(good, "images", id=13), r"1 images are not in subset train of made, e\.g\. id 13"),
        (twice, r"2 annotations use the id of another one, e\.g\. id 0, 2; use the"),
        ({**good, "images": good["images"] * 2}, r"3 images use the id of another one"),
    ):
        with pytest.raises(BadInput, match=message):
            protocols.make(small, params(write(tmp_path / "other.json", content)), 1)


BAD_VALUES = st.sampled_from([None, True, -1, 1.5, "7", "x", [], {}, [1, 2], 10**30, float("nan"), float("inf")])


@settings(max_examples=80, deadline=None)
@given(
    part=st.sampled_from(["images", "annotations"]),
    key=st.sampled_from(["id", "image_id", "category_id", "bbox", "iscrowd", "entry", "list", "corner"]),
    value=BAD_VALUES,
)
def test_malformed_entries_are_refused_or_read(
    part: str, key: str, value: Any, tmp_path_factory: pytest.TempPathFactory
) -> None:
    index = index_of({"image_id": [1, 2]}, {"box_id": [1, 2], "image_id": [1, 2], "label": [0, 1]})
    content = exported(index, [1, 2])
    if key == "entry":
        content[part][0] = value
    elif key == "list":
        content[part] = value
    elif key == "corner":
        content["annotations"][0]["bbox"][2] = value
    elif value == {}:
        content[part][0].pop(key, None)
    else:
        content[part][0][key] = value
    file = write(tmp_path_factory.getbasetemp() / "bad.json", content)
    try:
        rows, _ = protocols.make(index, params(file), 1)
    except BadInput as error:
        assert "\n" not in str(error) and len(str(error)) < 400
        return
    assert set(rows.box_id) <= {-1, 1, 2}


@settings(max_examples=60, deadline=None)
@given(place=st.integers(0, 10**6), byte=st.integers(0, 255), packed=st.booleans(), cut=st.booleans())
def test_damaged_files_are_refused_or_read(
    place: int, byte: int, packed: bool, cut: bool, tmp_path_factory: pytest.TempPathFactory
) -> None:
    index = index_of({"image_id": [1, 2]}, {"box_id": [1, 2], "image_id": [1, 2], "label": [0, 1]})
    file = write(tmp_path_factory.getbasetemp() / f"damaged.json{'.gz' if packed else ''}", exported(index, [1, 2]))
    content = bytearray(file.read_bytes())
    content[place % len(content)] = byte
    file.write_bytes(content[: place % len(content)] if cut else content)
    try:
        rows, _ = protocols.make(index, params(file), 1)
    except BadInput as error:
        assert str(error).startswith(str(file)) or "keeps no labeled box" in str(error)
        return
    assert set(rows.box_id) <= {-1, 1, 2}


def test_a_file_that_is_not_there(small: Index, tmp_path: Path) -> None:
    for file in (tmp_path / "none.json", tmp_path):
        with pytest.raises(BadInput, match=r"there is no such file; name the author's annotation file under `file`"):
            protocols.make(small, params(file), 1)
