"""A plain folder of images, with and without boxes."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from scantling.data import formats
from scantling.data.check import check
from scantling.data.formats import DataParams
from scantling.data.problems import Findings
from scantling.data.source import Source
from scantling.params import ParamsError
from scantling.stage import BadInput
from tests.data.made import photo
from tests.data.mutate import REPAIR_ALL, fuzz

HEADER = "file_name,class,x1,y1,x2,y2\n"


def write(root: Path, params: str = "", rows: str | None = None) -> Path:
    text = f"format: folder\nroot: {root}\nval_share: 0\ntest_share: 0\n{params}"
    if rows is not None:
        (root / "boxes.csv").write_text(HEADER + rows)
        text += "boxes: boxes.csv\n"
    (root / "own.yaml").write_text(text)
    return root / "own.yaml"


def read(root: Path, params: str = "", rows: str | None = None) -> Source:
    loaded = DataParams.load(write(root, params, rows))
    found = Findings(loaded.problems)
    source = formats.read(loaded, found)
    found.refuse(loaded.name)  # as the check does
    return source


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
    index = check(source, params, Findings())
    assert index.boxes is not None and index.boxes.area.tolist() == [200, 25, 36]
    assert index.images.width.tolist() == [40, 40, 40]


def test_a_table_that_lies_there_needs_no_mention(root: Path) -> None:
    (root / "boxes.csv").write_text(f"{HEADER}b.jpg,nut,1,2,11,22\n")
    assert read(root).classes == ("nut",) and read(root).files == ("boxes.csv",)


def test_a_row_with_only_a_name_is_an_empty_image(root: Path) -> None:
    source = read(root, rows="a.png,,,,,\nb.jpg,nut,1,2,11,22\n")
    assert source.images.subset.tolist() == ["train", "train", "unlabeled"]
    assert len(source.boxes) == 1


def test_names_may_be_written_in_other_ways(root: Path) -> None:
    source = read(root, rows="./b.jpg, nut ,1,2,11,22\ndeep\\c.JPG,nut,0,0,5,5\n")
    assert source.images.subset.tolist() == ["unlabeled", "train", "train"] and source.classes == ("nut",)


def test_a_table_saved_by_a_spreadsheet_is_read(root: Path) -> None:
    write(root, rows="")
    (root / "boxes.csv").write_bytes(b"\xef\xbb\xbf" + HEADER.encode() + b"b.jpg,nut,1,2,11,22\r\na.png\r\n")
    params = DataParams.load(root / "own.yaml")
    source = formats.read(params, Findings())
    assert len(source.boxes) == 1 and source.images.subset.tolist() == ["train", "train", "unlabeled"]


def test_images_alone_need_the_names_of_the_classes(root: Path) -> None:
    with pytest.raises(BadInput, match=r"no box and no class is given; name a CSV file with `boxes`"):
        read(root)
    source = read(root, params="classes: [nut, bolt]\n")
    assert source.classes == ("nut", "bolt")
    assert set(source.images.subset) == {"unlabeled"} and source.boxes.empty


def test_class_order_may_be_given_and_then_others_are_refused(root: Path) -> None:
    rows = "b.jpg,nut,1,2,11,22\n"
    assert read(root, params="classes: [screw, nut]\n", rows=rows).boxes.label.tolist() == [1]
    with pytest.raises(
        BadInput, match=r"own: 1 x box of an unknown category, e\.g\. boxes\.csv line 2: b\.jpg,nut,1,2"
    ):
        read(root, params="classes: [screw]\n", rows=rows)


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        (
            "b.jpg,nut,1,2,3,wide\n",
            r"1 x box that is not four finite numbers, e\.g\. boxes\.csv line 2: b\.jpg,nut,1,2,3,wide; w",
        ),
        ("a.png,,,,,\nb.jpg,nut,1,2,3,\n", r"e\.g\. boxes\.csv line 3: b\.jpg,nut,1,2,3,; write"),
        ("b.jpg,nut,1,2,3,inf\n", r"not four finite numbers, e\.g\. boxes\.csv line 2"),
        ("b.jpg,nut,1,2,3,1e30\n", r"not four finite numbers, e\.g\. boxes\.csv line 2"),
        (",nut,1,2,3,4\n", r"1 x box of an image that is not listed, e\.g\. boxes\.csv line 2: ,nut,1,2,3,4"),
        ("b.jpg,nut,1,2,3,4,5\n", r"boxes\.csv: not readable as CSV .*; the first line must be file_name,class,x1"),
        ("\n\nb.jpg,nut,1,2,3,wide\n", r"e\.g\. boxes\.csv line 4: b\.jpg,nut,1,2,3,wide"),
        ("b.jpg,,10,5,40,50\n", r"1 x box of an unknown category, e\.g\. boxes\.csv line 2: b\.jpg,,10,5,40,50"),
        (
            "b.jpg,nut,0.1,0.2,0.3,0.4\na.png,nut,0,0,1,1\n",
            r"all corners lie between 0 and 1.*write pixels, not fractions",
        ),
        ("b\x01.jpg,nut,1,2,3,4\n", r"boxes\.csv: the file name 'b\\x01\.jpg' has characters that no table can hold"),
    ],
)
def test_bad_rows_are_named(root: Path, rows: str, message: str) -> None:
    with pytest.raises(BadInput, match=message):
        read(root, rows=rows)


def test_bad_rows_are_dropped_where_the_parameters_say_so_and_their_images_stay_labeled(root: Path) -> None:
    policy = "problems: {box_not_numbers: repair, unknown_category: repair}\nclasses: [nut]\n"
    source = read(root, policy, "b.jpg,nut,1,2,3,wide\na.png,screw,1,2,3,4\ndeep/c.JPG,nut,1,2,3,4\n")
    assert source.images.subset.tolist() == ["train", "train", "train"] and len(source.boxes) == 1


def test_a_row_without_image_is_a_missing_file(root: Path) -> None:
    rows = "z.jpg,nut,1,2,3,4\nb.jpg,nut,1,2,30,4\n"
    source = read(root, rows=rows)
    params = DataParams.load(root / "own.yaml")
    with pytest.raises(BadInput, match=r"1 x image without file, e\.g\. .*z\.jpg"):
        check(source, params, Findings())
    index = check(source, params, Findings({"missing_file": "repair"}))
    assert "z.jpg" not in set(index.images.file_name) and index.boxes is not None and len(index.boxes) == 1


def test_missing_columns_files_and_folders_are_named(root: Path) -> None:
    (root / "boxes.csv").write_text("file_name,x1,y1,x2,y2\n")
    with pytest.raises(BadInput, match=r"boxes\.csv: column class is missing; the first line must be file_name,class"):
        read(root, params="boxes: boxes.csv\n")
    with pytest.raises(BadInput, match=r"none\.csv: there is no such file; correct `boxes`"):
        read(root, params="boxes: none.csv\n")
    (root / "empty").mkdir()
    (root / "own.yaml").write_text(f"format: folder\nroot: {root}/empty\n")
    with pytest.raises(BadInput, match=r"empty: holds no image \(\.jpg, .*\); correct"):
        formats.read(DataParams.load(root / "own.yaml"), Findings())
    (root / "own.yaml").write_text(f"format: folder\nroot: {root}/none\n")
    with pytest.raises(BadInput, match=r"none: there is no such folder; correct"):
        formats.read(DataParams.load(root / "own.yaml"), Findings())


def test_links_to_folders_are_followed_once(root: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    elsewhere = tmp_path_factory.mktemp("elsewhere")
    photo(elsewhere / "e.jpg")
    os.symlink(elsewhere, root / "linked")
    os.symlink(root, root / "ring")
    assert read(root, "classes: [nut]\n").images.file_name.tolist() == ["a.png", "b.jpg", "deep/c.JPG", "linked/e.jpg"]


def test_a_file_name_that_is_no_utf8_is_refused(root: Path) -> None:
    photo(root / "x.jpg").rename(os.fsdecode(os.fsencode(root) + b"/x\xff.jpg"))
    with pytest.raises(BadInput, match=r"the file name 'x\\udcff\.jpg' has characters that no table can hold; rename"):
        read(root, "classes: [nut]\n")


def test_the_example_for_own_data_is_short_and_complete() -> None:
    text = Path("params/data/own_data.yaml").read_text()
    assert sum(not line.startswith("#") for line in text.splitlines()) < 10
    params = DataParams.load("params/data/own_data.yaml")
    assert (params.name, params.val_share, params.test_share) == ("own_data", 0.15, 0.15)


def test_damaged_tables_are_read_or_refused(root: Path) -> None:
    rows = 'b.jpg,nut,1,2,11,22\n"deep/c.JPG",bolt,0,0,5.5,5\na.png,,,,,\nb.jpg,bolt,3,3,9,9\n'
    params = write(root, REPAIR_ALL + "verify: header\n", rows)
    counts = fuzz(params, root / "boxes.csv", times=300, seed=1)
    assert min(counts.values()) > 30


def test_a_table_of_a_spreadsheet_is_told_how_to_be_written(root: Path) -> None:
    write(root, rows="")
    (root / "boxes.csv").write_text("file_name;class;x1;y1;x2;y2\nb.jpg;nut;1,5;2,5;3,5;4,5\n")
    with pytest.raises(BadInput, match=r"separate the columns by commas, and write 1\.5, not 1,5"):
        formats.read(DataParams.load(root / "own.yaml"), Findings())


def test_an_accent_may_be_stored_in_two_ways(root: Path) -> None:
    photo(root / "\u00fcml.jpg")  # one character; in the table a letter and its dots, as macOS writes
    source = read(root, rows="u\u0308ml.jpg,nut,1,2,11,22\n")
    assert source.images.loc[source.images.subset == "train", "file_name"].tolist() == ["\u00fcml.jpg"]


def test_names_with_rare_spaces_are_names(root: Path) -> None:
    photo(root / "shot 9.41\u202fAM.png")
    assert "shot 9.41\u202fAM.png" in read(root, rows="b.jpg,nut,1,2,11,22\n").images.file_name.tolist()


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        ("classes: [red, red, blue]\n", "names 'red' twice; write each class once"),
        ("val_share: 0.5\ntest_share: 0.5\n", "`val_share` 0.5 and `test_share` 0.5 leave no image to train on"),
    ],
)
def test_settings_that_cannot_be_meant(root: Path, lines: str, message: str) -> None:
    (root / "own.yaml").write_text(f"format: folder\nroot: {root}\n{lines}")
    with pytest.raises(ParamsError, match=message):
        DataParams.load(root / "own.yaml")
