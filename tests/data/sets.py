"""A small data set of every format, for tests that go over all of them: MADE[format](folder) writes one below `folder`
and gives its parameter file. A new format needs a line."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.data.made import Content, instances, photo

WIDTH, HEIGHT = 12, 9


def parameters(folder: Path, name: str, lines: str) -> Path:
    file = folder / f"{name}.yaml"
    file.write_text(f"format: {name}\nroot: {folder / 'set'}\n{lines}")
    return file


def small(first_id: int = 1) -> Content:
    """The usual two images and three boxes, on images of 12 x 9."""
    content = instances(first_id)
    for image in content["images"]:
        image |= {"width": WIDTH, "height": HEIGHT}
    for box, corners in zip(content["annotations"], ([1, 2, 3, 4], [5, 0, 6.5, 9], [0, 0, 12, 9]), strict=True):
        box |= {"bbox": corners, "area": corners[2] * corners[3], "segmentation": [[1.0, 2.0, 3.0, 4.0, 5.0, 6.0]]}
    return content


def image(file: Path, **save: Any) -> Path:
    return photo(file, WIDTH, HEIGHT, **save)


def write(file: Path, content: Content) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps(content))


def coco(folder: Path) -> Path:
    for subset, first in (("train", 1), ("val", 3)):
        content = small(first)
        write(folder / f"set/annotations/{subset}.json", content)
        for entry in content["images"]:
            image(folder / "set/images" / entry["file_name"])
    return parameters(folder, "coco", "subsets: {train: annotations/train.json, val: annotations/val.json}\n")


def lvis(folder: Path) -> Path:
    content = small()
    for entry in content["images"]:
        name = f"train2017/{entry.pop('file_name')}"
        entry |= {"coco_url": f"http://images.cocodataset.org/{name}", "neg_category_ids": [7]}
        entry["not_exhaustive_category_ids"] = [3]
        image(folder / "set" / name)
    for category in content["categories"]:
        category["frequency"] = "r"
    write(folder / "set/train.json", content)
    return parameters(folder, "lvis", "subsets: {train: train.json}\n")


def objects365(folder: Path) -> Path:
    content = small()
    for entry in content["images"]:
        entry["file_name"] = f"images/v1/patch8/{entry['file_name']}"
        image(folder / "set/train" / entry["file_name"].removeprefix("images/v1/"))
    write(folder / "set/train.json", content)
    return parameters(folder, "objects365", "subsets: {train: train.json}\n")


def folder_of_images(folder: Path) -> Path:
    for name in ("a.png", "b.jpg", "deep/c.webp", "bare.gif"):
        image(folder / "set" / name)
    rows = ["file_name,class,x1,y1,x2,y2", "a.png,cat,1,2,5,6", "a.png,dog,0,0,12,9", "deep/c.webp,cat,1.5,2,5,6"]
    (folder / "set/boxes.csv").write_text("\n".join([*rows, "b.jpg,,,,,"]) + "\n")
    return parameters(folder, "folder", "boxes: boxes.csv\nval_share: 0.2\n")


def voc(folder: Path) -> Path:
    for name, objects in (("1", ("cat", "dog")), ("2", ("cat",)), ("3", ())):
        image(folder / f"set/JPEGImages/{name}.jpg")
        text = f"<annotation><filename>{name}.jpg</filename>"
        text += f"<size><width>{WIDTH}</width><height>{HEIGHT}</height><depth>3</depth></size>"
        for at, cls in enumerate(objects, 1):
            text += f"<object><name>{cls}</name><difficult>0</difficult><bndbox><xmin>{at}</xmin><ymin>1</ymin>"
            text += "<xmax>9</xmax><ymax>8</ymax></bndbox></object>"
        for place, content in (("Annotations", text + "</annotation>"), ("ImageSets/Main", "")):
            (folder / "set" / place).mkdir(parents=True, exist_ok=True)
            if content:
                (folder / "set" / place / f"{name}.xml").write_text(content)
    (folder / "set/ImageSets/Main/train.txt").write_text("1\n2\n")
    (folder / "set/ImageSets/Main/test.txt").write_text("3\n")
    return parameters(folder, "voc", "")


def yolo(folder: Path) -> Path:
    lines = {"train/a.jpg": "0 0.5 0.5 0.5 0.25\n1 0.25 0.5 0.5 1\n", "train/b.jpg": "", "val/c.png": "1 .5 .5 1 1\n"}
    for name, text in lines.items():
        image(folder / "set/images" / name)
        label = (folder / "set/labels" / name).with_suffix(".txt")
        label.parent.mkdir(parents=True, exist_ok=True)
        label.write_text(text)
    (folder / "set/data.yaml").write_text("train: images/train\nval: images/val\nnames: {0: cat, 1: dog}\n")
    return parameters(folder, "yolo", "")


def combined(folder: Path) -> Path:
    parts = []
    for name in ("coco", "voc"):
        (folder / f"set/{name}").mkdir(parents=True)
        part = MADE[name](folder / "set" / name)
        parts.append(f"  - {{data: {part.rename(folder / part.name)}}}\n")
    return parameters(folder, "combined", "parts:\n" + "".join(parts))


MADE: dict[str, Callable[[Path], Path]] = {
    "coco": coco,
    "folder": folder_of_images,
    "voc": voc,
    "yolo": yolo,
    "lvis": lvis,
    "objects365": objects365,
    "combined": combined,
}
