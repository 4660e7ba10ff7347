"""What is written: the whole truth, what a split kept, pseudo labels; and what the command refuses."""

from __future__ import annotations

import json
import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml

from scantling.data import index as indexes
from scantling.data import protocols
from scantling.data import split as splits
from scantling.data.index import Index
from scantling.data.semi import PercentParams
from scantling.export.__main__ import main
from scantling.export.coco import shortest
from tests.data.made import photo
from tests.export.made import imported, small

TRUTH = {"instances_train.json", "instances_val.json", "images_unlabeled.json"}


@pytest.fixture
def made(tmp_path: Path) -> Index:
    """The small index with a split that labels two of its four training images, and pseudo labels of the others."""
    found = small(tmp_path)
    table, _ = protocols.make(found, PercentParams(protocol="percent", images=2), 2)
    (tmp_path / "split").mkdir()
    table.to_parquet(tmp_path / "split/split.parquet")
    pseudo = pd.DataFrame({"image_id": [5, 7, 8, 9, 9, 30], "label": [0, 1, 0, 0, 1, 1]})
    pseudo["score"] = np.array([0.9, 0.8, 0.7, 0.6, 0.2, 0.1], dtype="float32")
    pseudo[["x1", "y1", "x2", "y2"]] = np.array([1.5, 2, 12, 13], dtype="float32")
    pseudo.assign(spread=np.nan).to_parquet(tmp_path / "pseudo.parquet")
    return found


def export(folder: Path, form: str, *more: str, out: str = "out") -> Path:
    main(["--index", str(folder / "index"), "--format", form, "--out", str(folder / out), *more])
    return folder / out


def files(folder: Path) -> set[str]:
    return {p.relative_to(folder).as_posix() for p in folder.rglob("*") if not p.is_dir()}


def content(file: Path) -> tuple[list[int], list[int]]:
    """Ids of the images and of the boxes of a COCO file."""
    said = json.loads(file.read_text())
    return [e["id"] for e in said["images"]], [e["id"] for e in said["annotations"]]


def split_of(folder: Path) -> tuple[list[int], list[int]]:
    table = splits.load(folder / "split")
    return sorted(set(table.image_id[table.labeled])), sorted(set(table.box_id[table.box_id >= 0]))


def test_the_whole_truth(made: Index, tmp_path: Path) -> None:
    out = export(tmp_path, "coco")
    assert {p.name for p in (out / "annotations").iterdir()} == TRUTH
    assert content(out / "annotations/instances_train.json") == ([5, 7, 8, 9], [3, 1, 4, 15, 9])
    assert content(out / "annotations/images_unlabeled.json") == ([30], [])
    said = json.loads((out / "annotations/instances_train.json").read_text())
    assert said["categories"] == [{"id": 3, "name": "a/b"}, {"id": 17, "name": "two words"}]
    first = {"id": 3, "image_id": 5, "category_id": 3, "bbox": [0.1, 0.2, 39.8, 29.5], "area": 7.5, "iscrowd": 0}
    assert said["annotations"][0] == first
    assert said["annotations"][1]["difficult"] == 1 and said["annotations"][3]["iscrowd"] == 1


def test_one_subset(made: Index, tmp_path: Path) -> None:
    out = export(tmp_path, "coco", "--subset", "val")
    assert {p.name for p in (out / "annotations").iterdir()} == {"instances_val.json"}
    assert files(out / "images") == {"val/v.jpg"}


def test_a_split_shows_what_it_kept_and_nothing_else(made: Index, tmp_path: Path) -> None:
    out = export(tmp_path, "coco", "--split", str(tmp_path / "split"))
    names = {"instances_labeled.json", "images_unlabeled.json", "instances_val.json"}
    assert {p.name for p in (out / "annotations").iterdir()} == names
    labeled, kept = split_of(tmp_path)
    images, boxes = content(out / "annotations/instances_labeled.json")
    assert (sorted(images), sorted(boxes)) == (labeled, kept)
    bare, none = content(out / "annotations/images_unlabeled.json")
    assert sorted(bare + labeled) == [5, 7, 8, 9, 30] and none == []
    assert content(out / "annotations/instances_val.json") == ([20], [2])


def test_a_split_in_the_other_forms(made: Index, tmp_path: Path) -> None:
    labeled, _ = split_of(tmp_path)
    for form in ("yolo", "voc"):
        out = export(tmp_path, form, "--split", str(tmp_path / "split"), out=form)
        counts = imported(out).images.subset.value_counts().to_dict()
        assert counts == {"train": len(labeled), "unlabeled": 5 - len(labeled), "val": 1}
    assert sum(n.startswith("labels/train") for n in files(tmp_path / "yolo")) == len(labeled)
    assert not any(n.startswith("labels/unlabeled") for n in files(tmp_path / "yolo"))


def test_pseudo_labels_alone(made: Index, tmp_path: Path) -> None:
    out = export(tmp_path, "coco", "--pseudo", str(tmp_path / "pseudo.parquet"), "--score-threshold", "0.5")
    assert {p.name for p in (out / "annotations").iterdir()} == {"instances_pseudo.json"}
    said = json.loads((out / "annotations/instances_pseudo.json").read_text())
    assert [e["id"] for e in said["images"]] == [5, 7, 8, 9]  # 30 has none above the threshold: it is not empty
    assert [e["score"] for e in said["annotations"]] == [0.9, 0.8, 0.7, 0.6]
    assert [e["id"] for e in said["annotations"]] == [16, 17, 18, 19]  # after those that persons drew
    assert said["annotations"][0]["bbox"] == [1.5, 2, 10.5, 11]


def test_pseudo_labels_beside_a_split(made: Index, tmp_path: Path) -> None:
    labeled, kept = split_of(tmp_path)
    more = ["--split", str(tmp_path / "split"), "--pseudo", str(tmp_path / "pseudo.parquet")]
    more += ["--score-threshold", "0.5"]
    out = export(tmp_path, "coco", *more)
    assert content(out / "annotations/instances_labeled.json")[1] == kept
    images, boxes = content(out / "annotations/instances_pseudo.json")
    assert sorted(images + labeled) == [5, 7, 8, 9] and len(boxes) == len(images)
    assert content(out / "annotations/images_unlabeled.json")[0] == [30]
    yolo = export(tmp_path, "yolo", *more, "--scores", out="yolo")
    assert yaml.safe_load((yolo / "data.yaml").read_text())["train"] == ["images/train", "images/pseudo"]
    lines = [p.read_text().splitlines() for p in (yolo / "labels/pseudo").rglob("*.txt")]
    assert all(len(line.split()) == 6 for file in lines for line in file)
    counts = imported(yolo).images.subset.value_counts().to_dict()
    assert counts == {"train": 4, "unlabeled": 1, "val": 1}
    voc = export(tmp_path, "voc", *more, out="voc")
    assert files(voc / "ImageSets/Main") == {"train.txt", "pseudo.txt", "unlabeled.txt", "val.txt"}


def test_refined_labels_and_detections(made: Index, tmp_path: Path) -> None:
    rows = pd.read_parquet(tmp_path / "pseudo.parquet")
    rows.assign(for_class=rows.score > 0.65, ignore=False).to_parquet(tmp_path / "refined.parquet")
    out = export(tmp_path, "coco", "--pseudo", str(tmp_path / "refined.parquet"))
    assert content(out / "annotations/instances_pseudo.json")[0] == [5, 7, 8]
    rows.assign(model=["student"] * 2 + ["teacher"] * 4).to_parquet(tmp_path / "detections.parquet")
    out = export(tmp_path, "coco", "--pseudo", str(tmp_path / "detections.parquet"), "--model", "student")
    assert content(out / "annotations/instances_pseudo.json")[0] == [5, 7]
    with pytest.raises(SystemExit, match=r"holds the boxes of student and teacher; say which with --model"):
        export(tmp_path, "coco", "--pseudo", str(tmp_path / "detections.parquet"))


def test_images_are_linked_copied_or_left(made: Index, tmp_path: Path) -> None:
    linked = export(tmp_path, "coco") / "images/deep/a.jpg"
    assert linked.is_symlink() and linked.read_bytes() == (tmp_path / "set/deep/a.jpg").read_bytes()
    copied = export(tmp_path, "coco", "--images", "copy", out="copy") / "images/deep/a.jpg"
    assert not copied.is_symlink() and copied.read_bytes() == linked.read_bytes()
    assert not (export(tmp_path, "coco", "--images", "none", out="none") / "images").exists()
    os.remove(tmp_path / "set/d.jpg")
    with pytest.raises(SystemExit, match=r"d\.jpg: cannot be copied"):
        export(tmp_path, "coco", "--images", "copy", out="copy")
    assert copied.exists()  # what was there before stays


def test_folders_of_others_are_not_overwritten_and_own_ones_are_replaced(made: Index, tmp_path: Path) -> None:
    out = export(tmp_path, "coco")
    assert "labels/val/val/v.txt" in files(export(tmp_path, "yolo")) and not (out / "annotations").exists()
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine/diary.txt").write_text("dear diary")
    with pytest.raises(SystemExit, match="mine: is there and was not written by this command; name a new folder"):
        export(tmp_path, "coco", out="mine")
    assert files(tmp_path / "mine") == {"diary.txt"}


def test_folders_of_the_same_name_as_those_of_the_form(made: Index, tmp_path: Path) -> None:
    # Ultralytics' tools replace the last folder `images` of a path: there must be one only
    found = files(export(tmp_path, "yolo"))
    assert "images/train/c.png" in found and "labels/train/c.txt" in found and "labels/train/deep/a.txt" in found


def test_two_images_with_one_annotation_file(made: Index, tmp_path: Path) -> None:
    images = made.images.assign(file_name=made.images.file_name.replace("d.jpg", "a.png"))
    photo(tmp_path / "set/a.png")
    indexes.save(Index(**{**vars(made), "images": images}), tmp_path / "index")
    for form in ("yolo", "voc"):
        with pytest.raises(
            SystemExit, match=r"a\.jpg and a\.png: both would have the same annotation file; rename one"
        ):
            export(tmp_path, form)
    assert export(tmp_path, "coco").is_dir()


@pytest.mark.parametrize("name", ["a\nb", "a\x00b", " a", "a\ud800"])
def test_class_names_that_xml_cannot_hold(made: Index, tmp_path: Path, name: str) -> None:
    facts = json.loads((tmp_path / "index/data.json").read_text())
    (tmp_path / "index/data.json").write_text(json.dumps(facts | {"classes": [name, "b"]}))
    with pytest.raises(SystemExit, match=r"--format voc: the class '.*' cannot be written as XML; rename it"):
        export(tmp_path, "voc")


@pytest.mark.parametrize("name", ["<b>&amp;", "ünï cödé", "a/b\\c", "'\"", "no", "0", "a: b", "#a"])
@pytest.mark.parametrize("form", ["coco", "yolo", "voc"])
def test_class_names_that_need_care(made: Index, tmp_path: Path, name: str, form: str) -> None:
    facts = json.loads((tmp_path / "index/data.json").read_text())
    (tmp_path / "index/data.json").write_text(json.dumps(facts | {"classes": [name, "zz"]}))
    assert set(imported(export(tmp_path, form)).classes) == {name, "zz"}


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (["--subset", "tran"], "--subset tran: small has no such subset; it has train, val, unlabeled"),
        (["--split", "none"], "--split none: holds no split.parquet; name a folder of results/split"),
        (["--pseudo", "none"], "--pseudo none: cannot be read"),
        (["--pseudo", "{0}/index/images.parquet"], "has no column label, score, x1, y1, x2, y2; name a pseudo.parquet"),
        (["--pseudo", "{0}/strange.parquet"], "has images or classes that small does not have; name its own index"),
        (["--split", "{0}/other"], "--split: is none of small, [1-4] images are not in both; name its own index"),
    ],
)
def test_what_cannot_be_written(made: Index, tmp_path: Path, more: list[str], message: str) -> None:
    rows = pd.read_parquet(tmp_path / "pseudo.parquet")
    rows.assign(label=7).to_parquet(tmp_path / "strange.parquet")
    (tmp_path / "other").mkdir()
    splits.load(tmp_path / "split").iloc[:1].to_parquet(tmp_path / "other/split.parquet")
    with pytest.raises(SystemExit, match=message):
        export(tmp_path, "coco", *[word.format(tmp_path) for word in more])
    assert not (tmp_path / "out").exists()


def test_an_index_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(SystemExit, match=r"holds no data\.json; name a folder of results/prepare"):
        main(["--index", str(tmp_path), "--format", "coco", "--out", str(tmp_path / "out")])


def test_what_lvis_knows_of_whole_images_is_kept(made: Index, tmp_path: Path) -> None:
    known = pd.DataFrame({"image_id": [5, 7], "label": [1, 0], "kind": ["negative", "not_exhaustive"]})
    facts = {"frequencies": ["r", "f"]}
    indexes.save(Index(**{**vars(made), "image_labels": known, "facts": facts}), tmp_path / "index")
    said = json.loads((export(tmp_path, "coco") / "annotations/instances_train.json").read_text())
    assert said["images"][0]["neg_category_ids"] == [17] and said["images"][0]["not_exhaustive_category_ids"] == []
    assert said["images"][1]["not_exhaustive_category_ids"] == [3]
    again = imported(tmp_path / "out")
    assert again.facts["source"]["format"] == "lvis" and again.facts["frequencies"] == ["r", "f"]
    pd.testing.assert_frame_equal(again.image_labels, known, check_dtype=False)


def test_floats_are_written_with_few_digits_and_come_back() -> None:
    values = np.random.default_rng(0).uniform(0, 2000, 1000).astype("float32")
    assert (shortest(values).astype("float32") == values).all()
    assert shortest(np.array([0.1, 473.07], dtype="float32")).tolist() == [0.1, 473.07]


def test_a_split_without_the_images_that_have_no_box_is_one_of_the_index(made: Index, tmp_path: Path) -> None:
    table = splits.load(tmp_path / "split")
    bare = set(table["image_id"]) - set(made.boxes["image_id"])  # type: ignore[index]
    (tmp_path / "listed").mkdir()
    table[~table["image_id"].isin(bare)].to_parquet(tmp_path / "listed/split.parquet")
    out = export(tmp_path, "coco", "--split", str(tmp_path / "listed"))
    written = {i for file in out.glob("annotations/*.json") for i in content(file)[0]}
    assert bare and not written & bare and written >= set(table["image_id"]) - bare


def test_yolo_has_no_place_for_an_image_of_two_subsets(made: Index, tmp_path: Path) -> None:
    again = made.images[made.images["subset"] == "val"].assign(image_id=99, subset="test")
    indexes.save(replace(made, images=pd.concat([made.images, again], ignore_index=True)), tmp_path / "index")
    with pytest.raises(SystemExit, match=r"val/v\.jpg is listed in two subsets; write one at a time"):
        export(tmp_path, "yolo")
