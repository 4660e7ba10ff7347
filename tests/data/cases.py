"""For every kind of problem a data set that has it and what its repair makes of it; what must hold of every index."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from scantling.data import formats
from scantling.data.check import check
from scantling.data.formats import DataParams
from scantling.data.index import BOX_COLUMNS, IMAGE_COLUMNS, XYXY, Index
from scantling.data.problems import Findings
from tests.data.made import Content, instances, photo, subsets

ORIENTATION = 0x0112


@dataclass(frozen=True)
class Case:
    """`make` writes the data set into a folder and gives its parameter lines; `count`: problems it has; `repaired`:
    what to ask of the index, None for kinds that are only noted or refused."""

    make: Callable[[Path], str]
    count: int
    repaired: Callable[[Index], bool] | None = None


def run(file: Path) -> tuple[Index, Findings]:
    params = DataParams.load(file)
    found = Findings(params.problems)
    return check(formats.read(params, found), params, found), found


def kinds(found: Findings) -> dict[str, tuple[str, int]]:
    return {p.kind: (p.level, p.count) for p in found}


def sound(index: Index) -> None:
    """What every later stage takes for granted."""
    images, boxes = index.images, index.boxes
    assert boxes is not None
    assert images.dtypes.astype(str).to_dict() == IMAGE_COLUMNS and boxes.dtypes.astype(str).to_dict() == BOX_COLUMNS
    assert images.image_id.is_unique and boxes.box_id.is_unique and boxes.image_id.isin(images.image_id).all()
    assert boxes.label.between(0, len(index.classes) - 1).all()
    assert (images[["width", "height"]] > 0).all(axis=None)
    size = images.set_index("image_id").loc[boxes.image_id, ["width", "height"]].to_numpy()
    low, high = boxes[["x1", "y1"]].to_numpy(), boxes[["x2", "y2"]].to_numpy()
    assert (low >= 0).all() and (high <= size).all() and (low < high).all()
    assert np.isfinite(boxes.area).all() and (boxes.area >= 0).all()


def coco(change: Callable[[Content], Any] = lambda content: None, *, more: str = "", **others: Content):
    """A maker: subset train is two images with three boxes after `change`; others: further subsets."""

    def make(root: Path) -> str:
        content = instances()
        change(content)
        lines = subsets(root, train=content, **others)
        return lines + more

    return make


def after(maker: Callable[[Path], str], change: Callable[[Path], Any]) -> Callable[[Path], str]:
    """A maker that changes files when they are written."""

    def make(root: Path) -> str:
        lines = maker(root)
        change(root)
        return lines

    return make


def corners(index: Index) -> list[list[float]]:
    assert index.boxes is not None
    return index.boxes[XYXY].to_numpy().tolist()


def ids(index: Index) -> tuple[list[int], list[int]]:
    """Of the images and of the boxes."""
    assert index.boxes is not None
    return index.images.image_id.tolist(), index.boxes.box_id.tolist()


def first_box(**values: Any) -> Callable[[Content], Any]:
    return lambda content: content["annotations"][0].update(values)


def first_image(**values: Any) -> Callable[[Content], Any]:
    return lambda content: content["images"][0].update(values)


def add_box(**values: Any) -> Callable[[Content], Any]:
    return lambda content: content["annotations"].append({**content["annotations"][0], "id": 4, **values})


def add_image(**values: Any) -> Callable[[Content], Any]:
    return lambda content: content["images"].append({**content["images"][0], "id": 3, **values})


def both(*changes: Callable[[Content], Any]) -> Callable[[Content], Any]:
    return lambda content: [change(content) for change in changes]


def turned(root: Path, orientation: int = 6) -> None:
    exif = Image.Exif()
    exif[ORIENTATION] = orientation
    photo(root / "images/1.jpg", exif=exif)


def no_boxes(content: Content) -> None:
    content["annotations"] = [a for a in content["annotations"] if a["image_id"] == 1]


def voc(root: Path) -> str:
    """One image whose XML file names another."""
    photo(root / "JPEGImages/1.jpg")
    (root / "Annotations").mkdir()
    box = "<bndbox><xmin>2</xmin><ymin>3</ymin><xmax>9</xmax><ymax>9</ymax></bndbox>"
    (root / "Annotations/1.xml").write_text(
        f"<annotation><filename>other.jpg</filename><object><name>nut</name>{box}</object></annotation>"
    )
    return f"format: voc\nroot: {root}\n"


def bomb(root: Path) -> None:
    """400 megapixels in half a kilobyte or so."""
    Image.new("1", (20000, 20000)).save(root / "images/1.jpg", "TIFF", compression="group4")


def gap(content: Content) -> None:
    """Image ids 2 and 70."""
    content["images"][0]["id"] = 70
    for box in content["annotations"][:2]:
        box["image_id"] = 70


OTHERS = instances() | {"images": [{"id": i, "file_name": f"val{i}.jpg"} for i in (1, 2)]}

CASES: dict[str, Case] = {
    "renumbered_ids": Case(coco(val=OTHERS), 4),
    "id_gaps": Case(coco(gap), 1),
    "duplicate_image_id": Case(coco(add_image(id=1, file_name="3.jpg")), 1, lambda i: ids(i) == ([1, 2], [1, 2, 3])),
    "duplicate_box_id": Case(coco(add_box(id=1, bbox=[1, 1, 3, 3])), 1, lambda i: ids(i)[1] == [1, 2, 3, 4]),
    "unknown_category": Case(coco(first_box(category_id=99)), 1, lambda i: ids(i)[1] == [2, 3]),
    "box_without_image": Case(coco(first_box(image_id=9)), 1, lambda i: ids(i)[1] == [2, 3]),
    "box_not_numbers": Case(coco(first_box(bbox=[1, 2, "x", 3])), 1, lambda i: ids(i)[1] == [2, 3]),
    "foreign_path": Case(voc, 1),
    "path_outside": Case(coco(first_image(file_name="../../1.jpg")), 1),
    "windows_path": Case(
        after(coco(first_image(file_name="sub\\1.jpg")), lambda root: photo(root / "images/sub/1.jpg")),
        1,
        lambda i: i.images.file_name.tolist() == ["images/sub/1.jpg", "images/2.jpg"],
    ),
    "listed_twice": Case(
        coco(both(add_image(), add_box(image_id=3, bbox=[9, 9, 2, 2]))),
        1,
        lambda i: ids(i) == ([1, 2], [1, 2, 3, 4]) and i.boxes.image_id.tolist() == [1, 1, 2, 1],
    ),
    "also_unlabeled": Case(
        coco(unlabeled={"images": [{"id": 8, "file_name": "1.jpg"}, {"id": 9, "file_name": "9.jpg"}]}),
        1,
        lambda i: i.images.subset.tolist() == ["train", "train", "unlabeled"],
    ),
    "in_two_subsets": Case(
        coco(test={"images": [{"id": 8, "file_name": "1.jpg"}], "annotations": []}),
        1,
        lambda i: ids(i) == ([2, 8], [3]) and i.images.subset.tolist() == ["train", "test"],
    ),
    "same_name": Case(coco(add_image(file_name="sub/1.jpg")), 1),
    "same_but_case": Case(coco(add_image(file_name="1.JPG")), 1),
    "missing_file": Case(
        after(coco(), lambda root: (root / "images/1.jpg").unlink()), 1, lambda i: ids(i) == ([2], [3])
    ),
    "unreadable_image": Case(
        after(coco(), lambda root: (root / "images/1.jpg").write_text("no")), 1, lambda i: ids(i) == ([2], [3])
    ),
    "huge_image": Case(after(coco(), bomb), 1, lambda i: ids(i) == ([2], [3])),
    "unknown_size": Case(coco(lambda c: c["images"][0].pop("width"), more="verify: none\n"), 1),
    "wrong_size": Case(
        coco(first_image(width=80, height=60)), 1, lambda i: corners(i)[0] == [0.5, 1, 5.5, 7] and i.boxes.area[0] == 30
    ),
    # 40 x 30 as stored and as stated; upright it is 30 x 40, and (x, y) lies at (30 - y, x)
    "exif_turned": Case(
        after(coco(), turned), 1, lambda i: corners(i)[0] == [16, 1, 28, 11] and i.images.width[0] == 30
    ),
    "exif": Case(after(coco(first_image(width=30, height=40)), turned), 1),
    "box_outside": Case(coco(first_box(bbox=[30, 20, 20, 20])), 1, lambda i: corners(i)[0] == [30, 20, 40, 30]),
    "box_without_area": Case(coco(first_box(bbox=[5, 5, 0, 3])), 1, lambda i: ids(i)[1] == [2, 3]),
    "repeated_box": Case(coco(add_box()), 1, lambda i: ids(i)[1] == [1, 2, 3]),
    "bad_area": Case(coco(first_box(area=-4)), 1, lambda i: i.boxes.area[0] == 120),
    "crowd": Case(coco(first_box(iscrowd=1)), 1),
    "image_without_boxes": Case(coco(no_boxes), 1),
    "class_without_boxes": Case(coco(lambda c: c["categories"].append({"id": 9, "name": "gear"})), 1),
}
