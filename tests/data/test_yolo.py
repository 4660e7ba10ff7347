"""The YOLO reader: where labels lie, what a line says, and damaged files."""

from __future__ import annotations

from pathlib import Path

import pytest

from scantling.data import formats
from scantling.data.check import check
from scantling.data.formats import DataParams
from scantling.data.index import XYXY
from scantling.data.problems import Findings
from scantling.data.source import Source
from scantling.data.yolo import YoloParams
from scantling.stage import BadInput
from tests.data.made import photo
from tests.data.mutate import REPAIR_ALL, fuzz

DATA = "train: images/train\nval: images/val\nnames: {0: nut, 1: bolt}\n"


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Two labeled images, one looked at and empty, one unlabeled; one for val."""
    root = tmp_path / "set"
    for name in ("train/a.jpg", "train/deep/b.png", "train/empty.jpg", "train/bare.jpg", "val/v.jpg"):
        photo(root / "images" / name)
    labels = {
        "train/a": "0 0.5 0.5 0.25 0.2\n1 0.25 0.5 0.5 1\n",
        "train/deep/b": "1 0.1 0.1 0.1 0.1\n",
        "train/empty": "",
        "val/v": "0 0.5 0.5 1 1\n",
    }
    for name, text in labels.items():
        (root / "labels" / name).parent.mkdir(parents=True, exist_ok=True)
        (root / "labels" / f"{name}.txt").write_text(text)
    (root / "data.yaml").write_text(DATA)
    return root


def params(root: Path, more: str = "") -> YoloParams:
    (root.parent / "own.yaml").write_text(f"format: yolo\nroot: {root}\n{more}")
    return DataParams.load(root.parent / "own.yaml")


def read(root: Path, more: str = "", data: str | None = None) -> Source:
    if data is not None:
        (root / "data.yaml").write_text(data)
    loaded = params(root, more)
    found = Findings(loaded.problems)
    source = formats.read(loaded, found)
    found.refuse(loaded.name)  # as the check does
    return source


def test_labels_lie_in_the_folder_beside_the_images(root: Path) -> None:
    source = read(root)
    assert source.images.file_name.tolist() == [
        "images/train/a.jpg", "images/train/bare.jpg", "images/train/deep/b.png", "images/train/empty.jpg",
        "images/val/v.jpg",
    ]  # fmt: skip
    assert source.images.subset.tolist() == ["train", "unlabeled", "train", "train", "val"]
    assert (source.classes, source.category_ids) == (("nut", "bolt"), (0, 1))
    assert source.boxes[XYXY].to_numpy()[:2].tolist() == [[15, 12, 25, 18], [0, 0, 20, 30]]
    assert source.boxes.image_id.tolist() == [1, 1, 3, 5]
    loaded = params(root)
    index = check(source, loaded, Findings())
    assert index.boxes is not None and len(index.boxes) == 4


def test_an_image_without_labels_may_be_empty_instead(root: Path) -> None:
    assert set(read(root, "missing_labels: empty\n").images.subset) == {"train", "val"}
    (root / "labels/val/v.txt").unlink()
    assert read(root, "missing_labels: empty\n").images.subset.tolist()[-1] == "val"
    with pytest.raises(
        BadInput, match=r"1 images of val and test have no label file, e\.g\. images/val/v\.jpg needs lab"
    ):
        read(root)


def test_outlines_become_boxes_and_scores_are_passed_over(root: Path) -> None:
    (root / "labels/train/a.txt").write_text("0 0.1 0.2 0.5 0.3 0.4 0.9\n1 0.5 0.5 0.2 0.2 0.77\n0 .5 .5 .5 .5\n")
    boxes = read(root).boxes[XYXY].to_numpy()
    assert boxes[0].tolist() == pytest.approx([4, 6, 20, 27]) and boxes[1].tolist() == pytest.approx([16, 12, 24, 18])
    assert boxes[2].tolist() == pytest.approx([10, 7.5, 30, 22.5])  # a box although others in the file are outlines


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("0 0.5 0.5 0.25", r"labels/train/a\.txt line 2: 4 numbers are neither `class cx cy w h` nor an outline"),
        ("0 0.5 0.5 0.2 0.2 0.3 0.3 0.4", "8 numbers are neither"),
        ("0 20 15 4 4", r"line 2: '0 20 15 4 4' are no fractions of the image; divide by its width and height"),
        ("0 0.5 0.5 -0.2 0.2", "are no fractions of the image"),
        ("nut 0.5 0.5 0.2 0.2", "is not made of numbers"),
        ("0 nan 0.5 0.2 0.2", "is not a class and finite numbers"),
        ("0.5 0.5 0.5 0.2 0.2", "is not a class and finite numbers"),
    ],
)
def test_bad_lines_are_named_and_can_be_dropped(root: Path, line: str, message: str) -> None:
    (root / "labels/train/a.txt").write_text(f"0 0.5 0.5 0.2 0.2\n{line}\n")
    with pytest.raises(BadInput, match=message):
        read(root)
    assert len(read(root, "problems: {box_not_numbers: repair}\n").boxes) == 3


def test_classes_that_data_yaml_does_not_name(root: Path) -> None:
    (root / "labels/train/a.txt").write_text("2 0.5 0.5 0.2 0.2\n")
    with pytest.raises(BadInput, match=r"1 x box of an unknown category, e\.g\. labels/train/a\.txt line 1: class 2"):
        read(root)
    assert len(read(root, "problems: {unknown_category: repair}\n").boxes) == 2


@pytest.mark.parametrize(
    ("names", "classes", "ids"),
    [
        ("names: [nut, bolt]", ("nut", "bolt"), (0, 1)),
        ("names: {7: seven, 1: bolt, 0: nut}", ("nut", "bolt", "seven"), (0, 1, 7)),
        ("nc: 2", ("class_0", "class_1"), (0, 1)),
        ("nc: 2\nnames: [nut, 'yes']", ("nut", "yes"), (0, 1)),
    ],
)
def test_ways_to_name_classes(root: Path, names: str, classes: tuple[str, ...], ids: tuple[int, ...]) -> None:
    source = read(root, data=f"train: images/train\n{names}\n")
    assert (source.classes, source.category_ids) == (classes, ids)


def test_lists_of_folders_and_files_and_foreign_paths(root: Path) -> None:
    (root / "lists").mkdir()
    (root / "lists/val.txt").write_text("images/val/v.jpg\n./w.jpg\n")
    photo(root / "lists/w.jpg")
    (root / "lists/w.txt").write_text("1 0.5 0.5 0.5 0.5\n")  # no folder `images` in the path: labels beside the image
    data = "path: /home/x/y\ntrain: [../images/train/deep, images/train]\nval: lists/val.txt\nnames: [nut, bolt]\n"
    source = read(root, data=data)
    assert source.images.file_name.tolist()[-2:] == ["images/val/v.jpg", "lists/w.jpg"]
    assert len(source.images) == 6 and len(source.boxes) == 5  # the folder inside another is not counted twice


def test_path_is_followed_inside_the_root(root: Path) -> None:
    (root / "data.yaml").unlink()
    text = "path: set\ntrain: images/train\nval: images/val\nunlabeled: images/val\nnames: [nut, bolt]\n"
    (root.parent / "data.yaml").write_text(text)
    file = root.parent / "own.yaml"
    file.write_text(f"format: yolo\nroot: {root.parent}\n")
    source = formats.read(DataParams.load(file), Findings())
    assert source.images.file_name[0] == "set/images/train/a.jpg" and len(source.images) == 6


def test_labels_without_image_are_missing_files(root: Path) -> None:
    (root / "labels/train/lost.txt").write_text("0 0.5 0.5 0.2 0.2\n")
    (root / "labels/train/classes.txt").write_text("nut\nbolt\n")
    loaded = params(root)
    with pytest.raises(BadInput, match=r"1 x image without file, e\.g\. .*images/train/lost\.jpg"):
        check(formats.read(loaded, Findings()), loaded, Findings())


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ("names: [a]\n", "none of train, val, test, unlabeled names an image"),
        ("train: images/train\n", "`names` lists no class"),
        ("train: images/train\nnames: nut\n", "`names` lists no class"),
        ("train: images/train\nnames: {nut: 0}\n", "a class that is not numbered 0, 1, 2"),
        ("train: images/train\nnames: [nut, yes]\n", "the name of class 1 is no text; put it in quotes"),
        ("train: images/train\nnames: [nut, nut]\n", "two classes are called 'nut'"),
        ("train: images/train\nnames: [nut]\nnc: 2\n", "`nc` says another number of classes than the 1 of `names`"),
        ("train: images/none\nnames: [nut]\n", "`train` names 'images/none', which is not below"),
        ("train: ../../etc\nnames: [nut]\n", "`train` names '../../etc', which is not below"),
        ("train: /etc\nnames: [nut]\n", "`train` names '/etc', which is not below"),
        ("train: 3\nnames: [nut]\n", "`train` is no path and no list of paths"),
        ("train: [\n", "not valid YAML"),
        ("- a\n", "has no `key: value` lines"),
        ("names: !!timestamp x\n", "not valid YAML"),
        ("a: !!python/object:os.system x\n", "not valid YAML"),
        ("a: &a [*a]\ntrain: images/train\nnames: &n [*n]\n", "a value contains itself"),
    ],
)
def test_data_yaml_that_cannot_be_used(root: Path, data: str, message: str) -> None:
    with pytest.raises(BadInput, match=message) as caught:
        read(root, data=data)
    assert "data.yaml" in str(caught.value) and "\n" not in str(caught.value)


def test_data_yaml_that_is_not_there(root: Path) -> None:
    (root / "data.yaml").unlink()
    with pytest.raises(BadInput, match=r"data\.yaml: cannot be read .*correct `root` or `data`"):
        read(root)


def test_damaged_images_are_left_to_the_check(root: Path) -> None:
    (root / "images/train/a.jpg").write_bytes(b"no image")
    loaded = params(root, "problems: {unreadable_image: repair}\n")
    found = Findings(loaded.problems)
    index = check(formats.read(loaded, found), loaded, found)
    assert [p.kind for p in found][0] == "unreadable_image" and index.boxes is not None and len(index.boxes) == 2


def test_damaged_labels_are_read_or_refused(root: Path) -> None:
    params(root, REPAIR_ALL + "verify: header\n")
    (root / "labels/train/a.txt").write_text("0 0.5 0.5 0.25 0.2\n1 0.25 0.5 0.5 1\n1 0.1 0.1 0.2 0.2 0.3 0.4\n")
    counts = fuzz(root.parent / "own.yaml", root / "labels/train/a.txt", times=300, seed=4)
    assert min(counts.values()) > 0


def test_damaged_data_yaml_is_read_or_refused(root: Path) -> None:
    params(root, REPAIR_ALL + "verify: header\n")
    (root / "data.yaml").write_text(
        "path: .\ntrain: [images/train]\nval: images/val\nnc: 2\nnames:\n  0: nut\n  1: bolt\n"
    )
    counts = fuzz(root.parent / "own.yaml", root / "data.yaml", times=300, seed=5)
    assert min(counts.values()) > 30
