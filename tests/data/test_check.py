"""What is refused, repaired and counted before anything is trained, and the page that shows it."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageOps

from scantling.data import check_page, formats
from scantling.data.check import check
from scantling.data.formats import DataParams
from scantling.data.index import Index
from scantling.data.problems import Findings
from scantling.stage import BadInput
from tests.data.made import instances, photo

Make = Callable[..., Path]


def run(file: Path) -> tuple[Index, Findings]:
    params = DataParams.load(file)
    found = Findings(params.problems)
    return check(formats.read(params, found), params, found), found


def kinds(found: Findings) -> dict[str, tuple[str, int]]:
    return {p.title: (p.level, p.count) for p in found}


def with_boxes(*boxes: list[float], category: int = 3) -> dict[str, Any]:
    """Image 1 with these boxes (x, y, width, height)."""
    content = instances()
    content["annotations"] = [
        {"id": i, "image_id": 1, "category_id": category, "bbox": box} for i, box in enumerate(boxes, 1)
    ]
    return content


def test_a_clean_set_has_no_problem_and_true_counts(coco_set: Make) -> None:
    index, found = run(coco_set(train=instances()))
    assert found == []
    assert index.facts["counts"] == {"train": {"images": 2, "boxes": 3, "crowd": 0, "classes": {"nut": 2, "bolt": 1}}}
    assert index.images.bytes.gt(0).all() and index.images.mtime_ns.eq(0).all()


def test_boxes_are_clipped_dropped_and_taken_once(coco_set: Make) -> None:
    content = with_boxes([30, 20, 20, 20], [5, 5, 0, 4], [60, 5, 4, 4], [1, 1, 9, 9], [1, 1, 9, 9], [0, 0, 40.005, 30])
    index, found = run(coco_set(train=content))
    assert index.boxes is not None
    assert index.boxes.box_id.tolist() == [1, 4, 6]
    assert index.boxes[["x1", "y1", "x2", "y2"]].to_numpy().tolist()[0] == [30, 20, 40, 30]
    assert index.boxes.area.tolist() == [100, 81, 1200]
    assert kinds(found) == {
        "box beyond the border": ("repair", 2),
        "box without area": ("repair", 2),
        "repeated box": ("repair", 1),
        "image without boxes": ("note", 1),
        "class without a box in train": ("note", 1),
    }


def test_the_same_corners_with_another_class_are_no_repetition(coco_set: Make) -> None:
    content = with_boxes([1, 1, 9, 9], [1, 1, 9, 9])
    content["annotations"][1]["category_id"] = 7
    index, _ = run(coco_set(train=content))
    assert index.boxes is not None and len(index.boxes) == 2


def test_strict_turns_repairs_into_an_error(coco_set: Make) -> None:
    file = coco_set(train=with_boxes([30, 20, 20, 20]), params="strict: true\n")
    with pytest.raises(BadInput, match=r"bolts: 1 x box beyond the border, e\.g\. box 1 of images/1\.jpg \(30, 20, 50"):
        run(file)


def test_missing_image_is_named(coco_set: Make, tmp_path: Path) -> None:
    file = coco_set(train=instances())
    (tmp_path / "set/images/2.jpg").unlink()
    with pytest.raises(BadInput, match=r"bolts: 1 x image without file, e\.g\. .*images/2\.jpg; put the files below"):
        run(file)


@pytest.mark.parametrize("verify", ["decode", "header"])
def test_unreadable_image_is_named(coco_set: Make, tmp_path: Path, verify: str) -> None:
    file = coco_set(train=instances(), params=f"verify: {verify}\n")
    (tmp_path / "set/images/2.jpg").write_text("no picture")
    with pytest.raises(BadInput, match=r"1 x unreadable or truncated image, e\.g\. .*2\.jpg: .*; replace the files or"):
        run(file)


def test_truncated_image_is_found_by_decoding_only(coco_set: Make, tmp_path: Path) -> None:
    file = coco_set(train=instances())
    path = tmp_path / "set/images/2.jpg"
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with pytest.raises(BadInput, match=r"1 x unreadable or truncated image, e\.g\. .*2\.jpg"):
        run(file)
    file.write_text(file.read_text() + "verify: header\n")
    assert kinds(run(file)[1]) == {}


def test_bad_images_can_be_left_out_with_their_boxes(coco_set: Make, tmp_path: Path) -> None:
    file = coco_set(train=instances(), params="drop_bad_images: true\n")
    (tmp_path / "set/images/1.jpg").unlink()
    index, found = run(file)
    assert index.images.image_id.tolist() == [2]
    assert index.boxes is not None and index.boxes.box_id.tolist() == [3]
    assert kinds(found)["image without file"] == ("repair", 1)


def test_a_stated_size_that_is_not_the_files_is_refused(coco_set: Make) -> None:
    content = instances()
    content["images"][1]["width"] = 80
    with pytest.raises(BadInput, match=r"size differs from the file, e\.g\. images/2\.jpg \(stated 80x30, file 40x30"):
        run(coco_set(train=content))


def test_sizes_that_are_not_stated_come_from_the_files(coco_set: Make) -> None:
    content = instances()
    for entry in content["images"]:
        del entry["width"], entry["height"]
    index, _ = run(coco_set(train=content))
    assert index.images[["width", "height"]].to_numpy().tolist() == [[40, 30]] * 2
    with pytest.raises(BadInput, match="2 x image of unknown size.*set `verify: header`"):
        run(coco_set(train=content, params="verify: none\n"))


@pytest.mark.parametrize("name", ["../1.jpg", "/etc/1.jpg", "a/../../../1.jpg", "..\\..\\1.jpg"])
def test_paths_that_leave_the_folder_are_refused(coco_set: Make, name: str) -> None:
    content = instances()
    content["images"][0]["file_name"] = name
    file = coco_set(train=content, images=False)
    file.write_text(file.read_text() + "images: .\n")
    with pytest.raises(BadInput, match="1 x path outside the folder, e.g. .*1.jpg; file names must stay below"):
        run(file)


def test_an_image_in_train_and_test_is_refused_but_val_may_be_test(coco_set: Make) -> None:
    with pytest.raises(BadInput, match=r"2 x training image in another subset, e\.g\. images/1\.jpg, images/2\.jpg"):
        run(coco_set(train=instances(), test=instances()))
    index, found = run(coco_set(train=instances(5), val=instances(), test=instances()))
    assert len(index.images) == 6
    assert kinds(found)["renumbered ids"][0] == "note"


def test_every_refusal_of_a_kind_is_listed(coco_set: Make, tmp_path: Path) -> None:
    file = coco_set(train=instances(), val=instances(11))
    (tmp_path / "set/images/2.jpg").unlink()
    (tmp_path / "set/images/12.jpg").write_text("no picture")
    with pytest.raises(BadInput) as caught:
        run(file)
    first, second = str(caught.value).split("\n")
    assert "image without file" in first and "unreadable" in second


@pytest.mark.parametrize("turn", [5, 6, 7, 8])
def test_boxes_drawn_before_exif_turns_the_image_follow_it(coco_set: Make, tmp_path: Path, turn: int) -> None:
    content = with_boxes([4, 6, 10, 3])  # on the pixels as stored, 40 x 30
    content["images"] = content["images"][:1]
    file = coco_set(train=content, images=False)
    exif = Image.Exif()
    exif[0x0112] = turn
    stored = np.zeros((30, 40), dtype=np.uint8)
    stored[6:9, 4:14] = 255
    path = tmp_path / "set/images/1.jpg"
    path.parent.mkdir()
    Image.fromarray(stored).save(path, "PNG", exif=exif)
    index, found = run(file)
    with Image.open(path) as image:
        rows, columns = np.nonzero(np.asarray(ImageOps.exif_transpose(image)))
    assert index.boxes is not None
    expected = [columns.min(), rows.min(), columns.max() + 1, rows.max() + 1]
    assert index.boxes[["x1", "y1", "x2", "y2"]].to_numpy()[0].tolist() == expected
    assert index.images[["width", "height"]].to_numpy().tolist() == [[30, 40]]
    assert kinds(found)["EXIF rotation, boxes turned"] == ("repair", 1)


def test_boxes_drawn_on_the_upright_image_stay(coco_set: Make, tmp_path: Path) -> None:
    content = instances()
    content["images"][0] |= {"width": 30, "height": 40}
    file = coco_set(train=content)
    exif = Image.Exif()
    exif[0x0112] = 6
    photo(tmp_path / "set/images/1.jpg", exif=exif)
    index, found = run(file)
    assert index.boxes is not None and index.boxes.x1.tolist()[:2] == [1, 5]
    assert kinds(found) == {"EXIF rotation": ("note", 1)}


def test_the_page_is_self_contained_and_escapes_names(coco_set: Make, tmp_path: Path) -> None:
    content = instances()
    content["categories"][0]["name"] = "<script>alert(1)</script>"
    content["annotations"][0]["iscrowd"] = 1
    index, found = run(coco_set(train=content))
    page = tmp_path / "check.html"
    check_page.write(index, found, page)
    text = page.read_text()
    assert "<script" not in text and "&lt;script&gt;" in text
    assert "http" not in text.replace("http-equiv", "")
    assert text.count("data:image/jpeg;base64,") == 2
    assert "image with a crowd region" in text and "stroke-dasharray" in text


def test_the_page_of_a_set_without_images_or_boxes(coco_set: Make, tmp_path: Path) -> None:
    index, found = run(coco_set(train=instances() | {"images": [], "annotations": []}))
    check_page.write(index, found, tmp_path / "check.html")
    assert "0 images and 0 boxes" in (tmp_path / "check.html").read_text()


def test_an_image_deleted_after_an_unverified_check_does_not_stop_the_page(coco_set: Make, tmp_path: Path) -> None:
    index, found = run(coco_set(train=instances(), params="verify: none\n"))
    shutil.rmtree(tmp_path / "set/images")
    check_page.write(index, found, tmp_path / "check.html")
    assert (tmp_path / "check.html").read_text().count(": unreadable") == 2
