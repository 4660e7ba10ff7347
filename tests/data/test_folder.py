"""A plain folder of images, with and without boxes."""

from __future__ import annotations

from pathlib import Path

import pytest

from scantling.data import formats
from scantling.data.check import check
from scantling.data.formats import DataParams
from scantling.data.source import Source
from scantling.stage import BadInput
from tests.data.made import photo

HEADER = "file_name,class,x1,y1,x2,y2\n"


def read(root: Path, params: str = "", rows: str | None = None) -> Source:
    text = f"format: folder\nroot: {root}\nval_share: 0\ntest_share: 0\n{params}"
    if rows is not None:
        (root / "boxes.csv").write_text(HEADER + rows)
        text += "boxes: boxes.csv\n"
    (root / "own.yaml").write_text(text)
    return formats.read(DataParams.load(root / "own.yaml"))


@pytest.fixture
def root(tmp_path: Path) -> Path:
    for name in ("b.jpg", "a.png", "deep/c.JPG", ".hidden/d.jpg"):
        photo(tmp_path / name.replace("JPG", "jpg")).rename(tmp_path / name)
    (tmp_path / "notes.txt").write_text("no image")
    return tmp_path


def test_rows_make_boxes_and_the_rest_is_unlabeled(root: Path) -> None:
    source = read(root, rows="b.jpg,nut,1,2,11,22\ndeep/c.JPG,bolt,0,0,5,5\nb.jpg,bolt,3,3,9,9\n")
    assert source.images.file_name.tolist() == ["a.png", "b.jpg", "deep/c.JPG"]
    assert source.images.subset.tolist() == ["unlabeled", "train", "train"]
    assert source.classes == ("bolt", "nut")
    assert source.boxes.image_id.tolist() == [2, 3, 2]
    assert source.boxes.label.tolist() == [1, 0, 0]
    params = DataParams.load(root / "own.yaml")
    index, _ = check(source, params)
    assert index.boxes is not None and index.boxes.area.tolist() == [200, 25, 36]
    assert index.images.width.tolist() == [40, 40, 40]


def test_a_row_with_only_a_name_is_an_empty_image(root: Path) -> None:
    source = read(root, rows="a.png,,,,,\nb.jpg,nut,1,2,11,22\n")
    assert source.images.subset.tolist() == ["train", "train", "unlabeled"]
    assert len(source.boxes) == 1


def test_images_alone_need_the_names_of_the_classes(root: Path) -> None:
    with pytest.raises(BadInput, match=r"no box and no class is given; name a CSV file with `boxes`"):
        read(root)
    source = read(root, params="classes: [nut, bolt]\n")
    assert source.classes == ("nut", "bolt")
    assert set(source.images.subset) == {"unlabeled"} and source.boxes.empty


def test_class_order_may_be_given_and_then_others_are_refused(root: Path) -> None:
    rows = "b.jpg,nut,1,2,11,22\n"
    assert read(root, params="classes: [screw, nut]\n", rows=rows).boxes.label.tolist() == [1]
    with pytest.raises(BadInput, match=r"boxes\.csv: class 'nut' is not in `classes` \(screw\); add it there"):
        read(root, params="classes: [screw]\n", rows=rows)


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ("z.jpg,nut,1,2,3,4\n", r"boxes\.csv: 1 images have boxes but no file below .*, e\.g\. 'z\.jpg'; put them"),
        ("b.jpg,nut,1,2,3,wide\n", r"boxes\.csv: 1 rows .* not a finite number, e\.g\. line 2: b\.jpg,nut,1,2,3,wide"),
        ("a.png,,,,,\nb.jpg,nut,1,2,3,\n", r"e\.g\. line 3: b\.jpg,nut,1,2,3,; write x1, y1, x2, y2 in pixels"),
        ("b.jpg,nut,1,2,3,inf\n", r"not a finite number, e\.g\. line 2"),
    ],
)
def test_bad_rows_are_named(root: Path, rows: str, message: str) -> None:
    with pytest.raises(BadInput, match=message):
        read(root, rows=rows)


def test_missing_columns_files_and_folders_are_named(root: Path) -> None:
    (root / "boxes.csv").write_text("file_name,x1,y1,x2,y2\n")
    with pytest.raises(BadInput, match=r"boxes\.csv: column class is missing; the first line must be file_name,class"):
        read(root, params="boxes: boxes.csv\n")
    with pytest.raises(BadInput, match=r"none\.csv: there is no such file; correct `boxes`"):
        read(root, params="boxes: none.csv\n")
    (root / "empty").mkdir()
    (root / "own.yaml").write_text(f"format: folder\nroot: {root}/empty\n")
    with pytest.raises(BadInput, match=r"empty: holds no image \(\.jpg, .*\); correct `root`"):
        formats.read(DataParams.load(root / "own.yaml"))
    (root / "own.yaml").write_text(f"format: folder\nroot: {root}/none\n")
    with pytest.raises(BadInput, match=r"none: there is no such folder; correct `root`"):
        formats.read(DataParams.load(root / "own.yaml"))


def test_the_example_for_own_data_is_short_and_complete() -> None:
    text = Path("params/data/own_data.yaml").read_text()
    assert sum(not line.startswith("#") for line in text.splitlines()) < 10
    params = DataParams.load("params/data/own_data.yaml")
    assert (params.name, params.val_share, params.test_share) == ("own_data", 0.15, 0.15)
