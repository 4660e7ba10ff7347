"""The Objects365 reader: where the images lie, and which boxes are kept."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from scantling.data import objects365
from scantling.data.check import check
from scantling.data.formats import DataParams
from scantling.data.objects365 import Objects365Params
from scantling.data.problems import Findings
from scantling.data.source import Source
from scantling.stage import BadInput
from tests.data.made import instances, photo
from tests.data.mutations import assert_trustworthy, broken_json

ROOT = Path(__file__).parents[2]


def content(first_id: int = 1) -> dict[str, Any]:
    """The usual two images in the form of zhiyuan_objv2_train.json."""
    made = instances(first_id)
    for image, patch in zip(made["images"], ("v1/patch8", "v2/patch16"), strict=True):
        image |= {"file_name": f"images/{patch}/objects365_{image['file_name']}", "license": 5, "url": ""}
    for box in made["annotations"]:
        box |= {"isfake": 0, "isreflected": 0, "area": 0.5}
    return made


def params(folder: Path, **more: Any) -> Objects365Params:
    return Objects365Params(name="few", root=str(folder), **({"subsets": {"train": "train.json"}} | more))


def read(folder: Path, made: dict[str, Any], **more: Any) -> Source:
    (folder / "train.json").write_text(json.dumps(made))
    return objects365.read(params(folder, **more), Findings())


@pytest.mark.parametrize(
    ("more", "expected"),
    [
        ({}, ["train/patch8/objects365_1.jpg", "train/patch16/objects365_2.jpg"]),
        ({"folders": "flat"}, ["train/objects365_1.jpg", "train/objects365_2.jpg"]),
        (
            {"folders": "published"},
            ["train/images/v1/patch8/objects365_1.jpg", "train/images/v2/patch16/objects365_2.jpg"],
        ),
        ({"images": {"train": "t"}}, ["t/patch8/objects365_1.jpg", "t/patch16/objects365_2.jpg"]),
        ({"images": {"train": "."}, "folders": "flat"}, ["objects365_1.jpg", "objects365_2.jpg"]),
    ],
)
def test_where_the_images_lie(tmp_path: Path, more: dict[str, Any], expected: list[str]) -> None:
    assert read(tmp_path, content(), **more).images.file_name.tolist() == expected


def test_fake_and_reflected_boxes_are_kept_and_crowds_marked(tmp_path: Path) -> None:
    made = content()
    made["annotations"][0]["isfake"] = made["annotations"][1]["isreflected"] = made["annotations"][2]["iscrowd"] = 1
    source = read(tmp_path, made)
    assert source.boxes.box_id.tolist() == [1, 2, 3]
    assert source.boxes.crowd.tolist() == [False, False, True]
    assert source.boxes.area.tolist() == [0.5] * 3


def test_an_image_of_the_list_that_no_archive_has_is_left_out(tmp_path: Path) -> None:
    loaded = DataParams.load(ROOT / "params/data/objects365.yaml")
    assert loaded.problems == {"missing_file": "repair"}
    for patch, made, name in (("train/patch8", content(), "1.jpg"), ("val/patch16", content(11), "12.jpg")):
        (tmp_path / f"{patch.split('/')[0]}.json").write_text(json.dumps(made))
        photo(tmp_path / patch / f"objects365_{name}")
    here = loaded.model_copy(
        update={"root": str(tmp_path), "subsets": {"train": "train.json", "test": "val.json"}, "name": "few"}
    )
    found = Findings(here.problems)
    index = check(objects365.read(here, found), here, found)
    assert index.images.image_id.tolist() == [1, 12]
    assert index.boxes is not None and index.boxes.box_id.tolist() == [1, 2, 13]
    assert {p.kind: p.count for p in found}["missing_file"] == 2


def test_broken_files_give_a_clear_error_or_a_sound_reading(tmp_path: Path) -> None:
    read_well = 0
    for data in broken_json(content(), 400, seed=2):
        (tmp_path / "train.json").write_bytes(data)
        try:
            source = objects365.read(params(tmp_path), Findings())
        except BadInput as refused:
            assert "train.json" in str(refused) and ";" in str(refused)
        else:
            assert_trustworthy(source)
            read_well += 1
    assert 20 < read_well < 380
