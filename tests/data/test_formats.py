"""Which reader reads a data set, and what all of them share."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from scantling.data import formats
from scantling.data.detect import detect
from scantling.data.formats import FORMATS, DataParams
from scantling.data.problems import Findings
from scantling.params import ParamsError
from scantling.stage import BadInput
from tests.data.made import instances, photo

Make = Callable[..., Path]


def load(root: Path, more: str = "") -> formats.SourceParams:
    (root / "own.yaml").write_text(f"root: {root}\n{more}")
    return DataParams.load(root / "own.yaml")


def touch(root: Path, *names: str) -> None:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text('{"images": []}' if name.endswith(".json") else "x")


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        (["a.jpg"], "folder"),
        (["a.jpg", "boxes.csv"], "folder"),
        (["data.yaml", "images/a.jpg"], "yolo"),
        (["Annotations/a.xml", "JPEGImages/a.jpg"], "voc"),
        (["ImageSets/Main/train.txt"], "voc"),
        (["a.xml", "a.jpg"], "voc"),
        (["instances.json", "images/a.jpg"], "coco"),
        (["annotations/a_train.json", "annotations/a_val.json"], "coco"),
    ],
)
def test_the_form_is_found_out(tmp_path: Path, files: list[str], expected: str) -> None:
    touch(tmp_path, *files)
    params = load(tmp_path)
    assert isinstance(params, FORMATS[expected])
    assert load(tmp_path, "format: auto\n") == params


def test_what_was_found_out_is_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    touch(tmp_path, "annotations/b_test.json", "annotations/instances_train.json", "annotations/images_unlabeled.json")
    load(tmp_path)
    said = capsys.readouterr().out
    assert "own.yaml: read as format: coco, subsets: {'train': 'annotations/instances_train.json', 'test':" in said


def test_a_split_that_was_exported_is_understood(tmp_path: Path) -> None:
    touch(tmp_path, "annotations/instances_labeled.json", "annotations/images_unlabeled.json")
    params = load(tmp_path)
    assert isinstance(params, formats.CocoParams) and list(params.subsets) == ["train", "unlabeled"]


@pytest.mark.parametrize(
    ("files", "message"),
    [
        (["a.json", "boxes.csv"], r"could be read as coco or folder; say which with `format: coco`"),
        (["data.yaml", "Annotations/a.xml"], r"could be read as yolo or voc; say which"),
        (["a.json", "b.json"], r"of a\.json, b\.json it is not clear which is for what; write `format: coco`"),
        (["train1.json", "train2.json"], r"it is not clear which is for what"),
    ],
)
def test_what_is_not_clear_is_asked(tmp_path: Path, files: list[str], message: str) -> None:
    touch(tmp_path, *files)
    with pytest.raises(ParamsError, match=message):
        load(tmp_path)


@pytest.mark.parametrize(("entry", "more"), [("coco_url", {}), ("id", {"images": "images", "names": "file_name"})])
def test_lvis_is_never_taken_for_coco(tmp_path: Path, entry: str, more: dict[str, str]) -> None:
    image = {"id": 1, entry: "http://images/a.jpg", "neg_category_ids": [3]}
    (tmp_path / "lvis_train.json").write_text(json.dumps({"images": [image]}))
    assert detect(tmp_path, "own.yaml") == {"format": "lvis", "subsets": {"train": "lvis_train.json"}} | more


def test_a_format_that_is_no_word(tmp_path: Path) -> None:
    with pytest.raises(ParamsError, match=r"`format` = \['coco'\] is unknown"):
        load(tmp_path, "format: [coco]\n")


def test_a_folder_that_is_not_there_or_not_named(tmp_path: Path) -> None:
    (tmp_path / "own.yaml").write_text(f"root: {tmp_path}/none\n")
    with pytest.raises(ParamsError, match="there is no such folder; correct it"):
        DataParams.load(tmp_path / "own.yaml")
    (tmp_path / "own.yaml").write_text("val_share: 0.1\n")
    with pytest.raises(ParamsError, match="parameter `root` is missing"):
        DataParams.load(tmp_path / "own.yaml")


def test_two_lines_are_enough_for_own_data(tmp_path: Path) -> None:
    for name in ("a", "b", "c"):
        photo(tmp_path / f"{name}.jpg")
    (tmp_path / "boxes.csv").write_text("file_name,class,x1,y1,x2,y2\na.jpg,nut,1,2,3,4\nb.jpg,bolt,1,2,3,4\n")
    params = load(tmp_path)
    source = formats.read(params, Findings())
    assert source.classes == ("bolt", "nut") and (source.images.subset == "unlabeled").sum() == 1


def test_a_folder_of_unlabeled_images_goes_with_any_form(coco_set: Make, tmp_path: Path) -> None:
    file = coco_set(train=instances(5), params="unlabeled: more\n")
    photo(tmp_path / "set/more/b.jpg")
    photo(tmp_path / "set/more/deep/a.png")
    source = formats.read(DataParams.load(file), Findings())
    assert source.images.subset.tolist() == ["train", "train", "unlabeled", "unlabeled"]
    assert source.images.image_id.tolist() == [5, 6, 7, 8]
    assert source.images.file_name.tolist()[2:] == ["more/b.jpg", "more/deep/a.png"]
    again = coco_set(train=instances(5), params="unlabeled: images\n")
    assert set(formats.read(DataParams.load(again), Findings()).images.subset) == {"train"}  # all listed already
    absent = coco_set(train=instances(5), params="unlabeled: none\n")
    with pytest.raises(BadInput, match="none: there is no such folder"):
        formats.read(DataParams.load(absent), Findings())


@pytest.mark.parametrize("file", sorted(Path("params/data").glob("*.yaml")), ids=lambda f: f.stem)
def test_every_committed_data_set_can_be_named(file: Path) -> None:
    params = DataParams.load(file)
    assert params.name == file.stem and params.root


def test_json_without_images_is_no_annotation_file(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text(json.dumps({"boxes": []}))
    (tmp_path / "b.json").write_text("")
    photo(tmp_path / "a.jpg")
    assert isinstance(load(tmp_path), formats.FolderParams)
