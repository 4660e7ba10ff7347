"""The LVIS reader: what is known of a class in a whole image, frequencies, and where the photographs lie."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import pytest

from scantling.data import index as indices
from scantling.data import lvis
from scantling.data.check import check
from scantling.data.formats import DataParams
from scantling.data.lvis import LvisParams
from scantling.data.problems import Findings
from scantling.data.source import Source
from scantling.stage import BadInput
from tests.data.made import instances
from tests.data.mutations import assert_trustworthy, broken_json

ROOT = Path(__file__).parents[2]


def content(first_id: int = 1) -> dict[str, Any]:
    """The usual two images in the form of v1: no file names, no crowds; category ids 3 and 7."""
    made = instances(first_id)
    for image, absent, partly in zip(made["images"], ([], [7, 7]), ([3], []), strict=True):
        number = image["file_name"].removesuffix(".jpg")
        del image["file_name"]
        image["coco_url"] = f"http://images.cocodataset.org/train2017/{int(number):012}.jpg"
        image |= {"neg_category_ids": absent, "not_exhaustive_category_ids": partly}
    for category, frequency in zip(made["categories"], "rf", strict=True):
        category |= {"frequency": frequency, "synset": "x.n.01", "image_count": 1}
    return made


def params(folder: Path, **more: Any) -> LvisParams:
    return LvisParams(name="few", root=str(folder), **({"subsets": {"train": "train.json"}} | more))


def read(folder: Path, made: dict[str, Any], **more: Any) -> Source:
    (folder / "train.json").write_text(json.dumps(made))
    return lvis.read(params(folder, **more), Findings())


def rows(source: Source) -> list[tuple[int, int, str]]:
    listed = source.image_labels
    return list(zip(listed.image_id, listed.label, listed.kind, strict=True))


def test_absent_and_partly_labeled_classes_of_an_image(tmp_path: Path) -> None:
    source = read(tmp_path, content())
    assert source.image_labels.dtypes.astype(str).to_dict() == indices.IMAGE_LABEL_COLUMNS
    assert rows(source) == [(2, 1, "negative"), (1, 0, "not_exhaustive")]
    assert source.frequencies == ("f", "r")  # in the order of the labels, not of the file
    assert source.images.file_name.tolist() == ["train2017/000000000001.jpg", "train2017/000000000002.jpg"]


def test_images_without_the_lists_have_none(tmp_path: Path) -> None:
    made = content()
    for image in made["images"]:
        del image["neg_category_ids"], image["not_exhaustive_category_ids"]
    assert rows(read(tmp_path, made)) == []


def test_the_lists_follow_renumbered_images(tmp_path: Path) -> None:
    (tmp_path / "val.json").write_text(json.dumps(content()))
    source = read(tmp_path, content(), subsets={"train": "train.json", "val": "val.json"})
    assert source.images.image_id.tolist() == [1, 2, 3, 4]
    assert rows(source) == [
        (2, 1, "negative"), (1, 0, "not_exhaustive"), (4, 1, "negative"), (3, 0, "not_exhaustive")
    ]  # fmt: skip


def test_the_index_keeps_them_only_for_those_who_may_see_the_truth(tmp_path: Path) -> None:
    source = read(tmp_path, content(), images="photos")
    for name in source.images.file_name:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    checked = check(source, params(tmp_path, verify="none"), Findings())
    indices.save(checked, tmp_path)
    index = indices.load(tmp_path, truth=True)
    assert index.image_labels is not None and len(index.image_labels) == 2
    assert indices.load(tmp_path, truth=False).image_labels is None


CASES = {
    "unknown class": (
        "images",
        "neg_category_ids",
        [3, 9],
        r"image 1 lists category 9 as negative, which is not",
    ),
    "no list": ("images", "neg_category_ids", 3, r"entry 0 of `images`: `neg_category_ids` must be a list of category"),
    "list of texts": ("images", "neg_category_ids", ["3"], r"`neg_category_ids` must be a list of category ids"),
    "huge ids": ("images", "not_exhaustive_category_ids", [2**70], r"must be a list of category ids, found \[11805916"),
    "no address": ("images", "coco_url", None, r"entry 0 of `images`: `coco_url` must be a text"),
    "no frequency": (
        "categories",
        "frequency",
        None,
        r"must be r, c or f: category 7 has None; .*format: coco",
    ),
    "list as frequency": ("categories", "frequency", ["r"], r"must be r, c or f: category 7 has \['r'\]"),
}


@pytest.mark.parametrize("case", CASES)
def test_what_is_wrong_is_named(tmp_path: Path, case: str) -> None:
    part, key, value, message = CASES[case]
    made = content()
    made[part][0][key] = value
    with pytest.raises(BadInput, match=message) as caught:
        read(tmp_path, made)
    assert "\n" not in str(caught.value) and "train.json" in str(caught.value)


@pytest.mark.parametrize("names", ["coco_url", "file_name"])
def test_the_official_file_of_v0_5(shared_data: Path, names: str) -> None:
    file = shared_data / "coco_annotations/lvis_val_100.json.gz"
    found = Findings()
    source = lvis.read(params(file.parent, subsets={"test": file.name}, images="photos", names=names), found)
    official = json.loads(gzip.decompress(file.read_bytes()))
    assert (len(source.images), len(source.boxes), len(source.classes)) == (100, 977, 1230)
    by_id = sorted(official["categories"], key=lambda c: c["id"])
    assert source.frequencies == tuple(c["frequency"] for c in by_id)
    label = {c["id"]: i for i, c in enumerate(by_id)}
    for kind, key, count in (
        ("negative", "neg_category_ids", 942),
        ("not_exhaustive", "not_exhaustive_category_ids", 16),
    ):
        expected = {(image["id"], label[c]) for image in official["images"] for c in image[key]}
        assert len(expected) == count
        assert {(i, c) for i, c, k in rows(source) if k == kind} == expected
    name = "val2017/000000266409.jpg" if names == "coco_url" else "COCO_val2014_000000266409.jpg"
    assert source.images.file_name[0] == f"photos/{name}"
    assert {p.kind for p in found} == {"id_gaps"}
    absent = source.image_labels[source.image_labels.kind == "negative"]
    assert absent.merge(source.boxes, on=["image_id", "label"]).empty  # verified absent, and there is no box of it


def test_broken_files_give_a_clear_error_or_a_sound_reading(tmp_path: Path) -> None:
    read_well = 0
    for data in broken_json(content(), 400, seed=1):
        (tmp_path / "train.json").write_bytes(data)
        try:
            source = lvis.read(params(tmp_path), Findings())
        except BadInput as refused:
            assert "train.json" in str(refused) and ";" in str(refused)
        else:
            assert_trustworthy(source)
            assert len(source.frequencies) == len(source.classes)
            read_well += 1
    assert 20 < read_well < 380


def test_committed_parameters_are_valid() -> None:
    loaded = DataParams.load(ROOT / "params/data/lvis_v1.yaml")
    assert isinstance(loaded, LvisParams) and set(loaded.subsets) == {"train", "test"}
