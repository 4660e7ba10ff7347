"""The VOC reader: published numbers, boxes that count from 1, lists of images, and XML that means harm."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest

from scantling.data import formats, protocols, voc
from scantling.data.check import check
from scantling.data.formats import DataParams
from scantling.data.index import XYXY, Index
from scantling.data.problems import Findings
from scantling.data.semi import FullParams
from scantling.data.source import Source
from scantling.stage import BadInput
from tests.data.made import photo
from tests.data.mutate import REPAIR_ALL, fuzz

Objects = list[tuple[str, tuple[object, ...]]]


def sheet(
    name: str, objects: Objects, more: str = "", size: str = "<size><width>40</width><height>30</height></size>"
) -> str:
    """An annotation file. A class followed by a star is a difficult object."""
    text = f"<annotation><filename>{name}</filename>{size}{more}"
    for cls, corners in objects:
        x1, y1, x2, y2 = corners
        text += f"<object><name>{cls.rstrip('*')}</name>"
        text += f"<difficult>{int(cls.endswith('*'))}</difficult>" if cls[-1] in "*!" else ""
        text += f"<bndbox><ymin>{y1}</ymin><xmin>{x1}</xmin><xmax>{x2}</xmax><ymax>{y2}</ymax></bndbox>"
        text += (
            "<part><name>head</name><bndbox><xmin>1</xmin><ymin>1</ymin><xmax>2</xmax><ymax>2</ymax></bndbox></part>"
        )
        text += "</object>"
    return text + "</annotation>"


@pytest.fixture
def devkit(tmp_path: Path) -> Path:
    return two_years(tmp_path / "devkit")


def two_years(root: Path) -> Path:
    """07 with trainval and test, 12 with trainval, one of whose images has no XML file."""
    content: dict[str, Objects] = {
        "VOC2007/1": [("cat", (1, 1, 40, 30)), ("dog*", (5, 5, 10, 10))],
        "VOC2007/2": [("dog", ("4.5", 2, "45.7", 8))],
        "VOC2007/3": [("cat*", (2, 2, 9, 9)), ("cat", (3, 3, 8, 8))],
        "VOC2012/2012_1": [("cat", (1, 1, 20, 20))],
    }
    for name in [*content, "VOC2012/2012_2"]:
        year, stem = name.split("/")
        photo(root / year / "JPEGImages" / f"{stem}.jpg")
        (root / year / "Annotations").mkdir(exist_ok=True)
        (root / year / "ImageSets/Main").mkdir(parents=True, exist_ok=True)
        if name in content:
            (root / year / "Annotations" / f"{stem}.xml").write_text(sheet(f"{stem}.jpg", content[name]))
    (root / "VOC2007/ImageSets/Main/trainval.txt").write_text("1\n2\n")
    (root / "VOC2007/ImageSets/Main/test.txt").write_text("3\n")
    (root / "VOC2012/ImageSets/Main/trainval.txt").write_text("2012_1\n\n2012_2\n")
    return root


SUBSETS = "{train: VOC2007/trainval, unlabeled: VOC2012/trainval, test: VOC2007/test}"


def params(root: Path, more: str = "", subsets: str = SUBSETS) -> voc.VocParams:
    file = root.parent / "voc.yaml"
    file.write_text(f"format: voc\nroot: {root}\n{more}" + (f"subsets: {subsets}\n" if subsets else ""))
    return DataParams.load(file)


def read(root: Path, more: str = "", subsets: str = SUBSETS) -> Source:
    loaded = params(root, more, subsets)
    found = Findings(loaded.problems)
    source = formats.read(loaded, found)
    found.refuse(loaded.name)  # as the check does
    return source


def indexed(root: Path, more: str = "", subsets: str = SUBSETS) -> Index:
    loaded = params(root, more, subsets)
    found = Findings(loaded.problems)
    return check(formats.read(loaded, found), loaded, found)


def test_boxes_count_from_one_and_include_the_last_pixel(devkit: Path) -> None:
    source = read(devkit)
    assert source.boxes[XYXY].to_numpy()[:3].tolist() == [
        [0, 0, 40, 30],
        [4, 4, 10, 10],
        [3.5, 1, pytest.approx(45.7), 8],
    ]
    plain = read(devkit, "one_based: false\n")
    assert plain.boxes[XYXY].to_numpy()[0].tolist() == [1, 1, 40, 30]


def test_years_make_one_data_set_and_the_unlabeled_keep_their_truth(devkit: Path) -> None:
    index = indexed(devkit)
    assert index.images.subset.tolist() == ["train", "train", "unlabeled", "unlabeled", "test"]
    assert index.images.file_name.tolist()[2] == "VOC2012/JPEGImages/2012_1.jpg"
    assert index.classes == ("cat", "dog") and index.boxes is not None
    table, facts = protocols.make(index, FullParams(protocol="full"), 0)
    assert facts["counts"]["labeled"] == 2 and facts["counts"]["unlabeled"] == 2
    assert facts["counts"]["kept"] == 2  # neither the difficult dog nor anything of VOC12
    hidden = index.boxes[index.boxes.image_id == 3]
    assert len(hidden) == 1 and not set(hidden.box_id) & set(table.box_id)


def test_difficult_objects_are_flagged_and_a_split_says_what_becomes_of_them(devkit: Path) -> None:
    index = indexed(devkit)
    assert index.boxes is not None
    assert index.boxes.difficult.tolist() == [False, True, False, False, True, False]
    kept, _ = protocols.make(index, FullParams(protocol="full", voc_difficult="keep"), 0)
    assert (kept.box_id >= 0).sum() == 3  # the difficult dog of train, not the cat of test


def test_one_year_without_subsets_takes_its_lists(devkit: Path) -> None:
    source = read(devkit / "VOC2007", subsets="")
    assert source.images.subset.tolist() == ["train", "train", "test"]
    assert source.images.file_name[0] == "JPEGImages/1.jpg"


def test_xml_files_beside_the_images_need_no_lists(tmp_path: Path) -> None:
    root = tmp_path / "mine"
    photo(root / "a b.JPG".replace("JPG", "jpg")).rename(root / "a b.JPG")
    photo(root / "deep/c.png")
    photo(root / "bare.jpg")
    (root / "a b.xml").write_text(sheet("a b.JPG", [("big nut", (1, 2, 10, 20))]))
    (root / "deep/c.xml").write_text(
        sheet("other.png", [("bolt", (1, 2, 10, 20))], size="", more="<path>/x/y.png</path>")
    )
    found = Findings()
    source = formats.read(params(root, subsets=""), found)
    assert source.images.file_name.tolist() == ["a b.JPG", "bare.jpg", "deep/c.png"]
    assert source.images.subset.tolist() == ["train", "unlabeled", "train"]
    assert source.images.width.tolist() == [40, 0, 0]
    assert source.classes == ("big nut", "bolt")
    assert [(p.kind, p.examples) for p in found] == [("foreign_path", ("deep/c.xml (filename other.png)",))]


def test_classes_may_be_given_and_others_are_refused_or_dropped(devkit: Path) -> None:
    assert read(devkit, "classes: [dog, cat]\n").boxes.label.tolist()[:2] == [1, 0]
    with pytest.raises(BadInput, match=r"2 x box of an unknown category, e\.g\. VOC2007/Annotations/1\.xml \('dog'\)"):
        read(devkit, "classes: [cat]\n")
    dropped = read(devkit, "classes: [cat]\nproblems: {unknown_category: repair}\n")
    assert len(dropped.boxes) == 4


@pytest.mark.parametrize("corner", ["nan", "inf", "", "wide", "1e30", "1_0"])
def test_corners_that_are_no_numbers(devkit: Path, corner: str) -> None:
    (devkit / "VOC2007/Annotations/2.xml").write_text(
        sheet("2.jpg", [("dog", (corner, 2, 5, 8)), ("dog", (1, 2, 5, 8))])
    )
    with pytest.raises(
        BadInput, match=r"1 x box that is not four finite numbers, e\.g\. VOC2007/Annotations/2\.xml \(dog"
    ):
        read(devkit)
    assert len(read(devkit, "problems: {box_not_numbers: repair}\n").boxes) == 6


def test_test_images_need_an_annotation_file(devkit: Path) -> None:
    (devkit / "VOC2007/Annotations/3.xml").unlink()
    with pytest.raises(BadInput, match=r"test\.txt: 1 images of subset test have no annotation file, e\.g\. '3'; only"):
        read(devkit)
    (devkit / "VOC2007/Annotations/2.xml").unlink()
    assert read(devkit, subsets="{train: VOC2007/trainval}").images.subset.tolist() == ["train", "unlabeled"]


def test_annotated_images_that_are_not_there_are_missing_files(devkit: Path) -> None:
    (devkit / "VOC2007/JPEGImages/2.jpg").unlink()
    with pytest.raises(BadInput, match=r"1 x image without file, e\.g\. .*VOC2007/JPEGImages/2\.jpg"):
        indexed(devkit)


def test_an_annotation_file_of_two_images_is_refused(devkit: Path) -> None:
    photo(devkit / "VOC2007/JPEGImages/2.png")
    with pytest.raises(BadInput, match=r"2\.xml: belongs to .*2\.jpg or .*2\.png; rename one"):
        read(devkit)


def test_lists_of_one_class_and_names_with_endings_are_understood(devkit: Path) -> None:
    (devkit / "VOC2007/ImageSets/Main/cat_trainval.txt").write_text("1  1\n2 -1\n")
    (devkit / "VOC2007/ImageSets/Main/full.txt").write_text("1.jpg\n2.jpg\n")
    for name in ("cat_trainval", "full"):
        source = read(devkit, subsets=f"{{train: VOC2007/{name}}}")
        assert source.images.file_name.tolist() == ["VOC2007/JPEGImages/1.jpg", "VOC2007/JPEGImages/2.jpg"]


def test_lists_and_folders_that_are_not_there(devkit: Path) -> None:
    with pytest.raises(BadInput, match=r"none\.txt: cannot be read .*correct `subsets`"):
        read(devkit, subsets="{train: VOC2007/none}")
    with pytest.raises(BadInput, match="there is no such folder"):
        read(devkit / "none", subsets="")
    (devkit / "empty").mkdir()
    photo(devkit / "empty/a.jpg")
    with pytest.raises(BadInput, match="holds no XML file"):
        read(devkit / "empty", subsets="")


LAUGHS = '<!DOCTYPE a [<!ENTITY a0 "ha">' + "".join(
    f'<!ENTITY a{i} "{f"&a{i - 1};" * 10}">' for i in range(1, 12)
) + "]><annotation><object><name>&a11;</name></object></annotation>"  # fmt: skip


@pytest.mark.parametrize(
    "text",
    [
        LAUGHS,
        '<!DOCTYPE a SYSTEM "http://localhost/a.dtd"><annotation/>',
        '<!DOCTYPE a [<!ENTITY x SYSTEM "file:///etc/passwd">]><annotation><filename>&x;</filename></annotation>',
        "<!doctype a><annotation/>",
    ],
    ids=["a billion laughs", "foreign document type", "foreign file", "lower case"],
)
@pytest.mark.parametrize("encoding", ["utf-8", "utf-16"])
def test_document_types_and_entities_are_refused_unread(tmp_path: Path, text: str, encoding: str) -> None:
    (tmp_path / "a.xml").write_bytes(text.encode(encoding))
    with pytest.raises(BadInput, match=r"a\.xml: (declares a document type or entities, which are never|not readable)"):
        voc.parse(tmp_path / "a.xml")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"<a>" * 1_000_000, "nested more than 32 deep"),
        (b"<annotation>" + b" " * (17 << 20) + b"</annotation>", "is larger than 16 MiB"),
        (b"<annotation><object>", "not readable as XML"),
        (b"", "not readable as XML"),
        (b'<?xml version="1.0" encoding="klingon"?><annotation/>', "not readable as XML"),
        (b"<annotation>&nbsp;</annotation>", "not readable as XML"),
        (b"<html/>", r"starts with <html>, not <annotation>"),
    ],
)
def test_xml_that_is_no_annotation(devkit: Path, content: bytes, message: str) -> None:
    (devkit / "VOC2007/Annotations/2.xml").write_bytes(content)
    with pytest.raises(BadInput, match=message) as caught:
        read(devkit)
    assert "2.xml" in str(caught.value) and "\n" not in str(caught.value)


def test_damaged_xml_is_read_or_refused(devkit: Path) -> None:
    (devkit / "VOC2007/Annotations/2.xml").write_text(
        sheet("2.jpg", [("dog", ("4.5", 2, "15.7", 8)), ("cat*", (1, 2, 5, 8))]).replace("><", ">\n  <")
    )
    file = devkit.parent / "voc.yaml"
    params(devkit, REPAIR_ALL + "verify: header\n")
    counts = fuzz(file, devkit / "VOC2007/Annotations/2.xml", times=300, seed=2)
    assert min(counts.values()) > 50


def test_damaged_lists_are_read_or_refused(devkit: Path) -> None:
    file = devkit.parent / "voc.yaml"
    params(devkit, REPAIR_ALL + "verify: header\n")
    counts = fuzz(file, devkit / "VOC2007/ImageSets/Main/trainval.txt", times=100, seed=3)
    assert min(counts.values()) > 10


def in_rows(index: Index) -> pd.DataFrame:
    assert index.boxes is not None
    rows = index.boxes.merge(index.images, on="image_id")
    rows["class"] = [index.classes[label] for label in rows.label]
    columns = ["subset", "file_name", "class", *XYXY]
    return rows[columns].sort_values(columns).reset_index(drop=True)


def test_blood_cells_are_the_same_from_xml_and_from_json(shared_data: Path) -> None:
    found = {}
    for name in ("bccd_voc", "bccd"):
        loaded = DataParams.load(f"params/data/{name}.yaml")
        loaded = loaded.model_copy(update={"root": str(shared_data / "bccd"), "verify": "header"})
        problems = Findings()
        found[name] = check(formats.read(loaded, problems), loaded, problems), problems
    (index, problems), (reference, _) = found["bccd_voc"], found["bccd"]
    pd.testing.assert_frame_equal(in_rows(index), in_rows(reference))
    kinds = {p.kind: p.count for p in problems}
    # 4,888 objects in the XML files, of which two have no area; all paths are those of other machines
    assert kinds["box_without_area"] == 2 and kinds["foreign_path"] == 364
    assert {s: c["boxes"] for s, c in index.facts["counts"].items()} == {"train": 2804, "val": 1137, "test": 945}
