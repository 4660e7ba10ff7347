"""PASCAL VOC: one XML file per image that was looked at, and the lists of images. Crowds have no place in it: left out.

    Annotations/a.xml  JPEGImages/a.jpg  ImageSets/Main/GROUP.txt (labeled images of a split: train.txt)

VOC counts pixels from 1 and includes the last one. Corners are rounded to whole pixels: xmin = round(x1) + 1,
xmax = round(x2), at least one pixel; with `decimals` they are not, xmin = x1 + 1, xmax = x2.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path
from xml.etree import ElementTree

import numpy as np

from scantling.data.index import XYXY
from scantling.export.coco import shortest
from scantling.export.content import Content
from scantling.export.place import annotation_names
from scantling.stage import BadInput

NOT_IN_XML = re.compile("[\x00-\x1f\x7f\ud800-\udfff\ufffe\uffff]")


def write(content: Content, out: Path, *, decimals: bool = False) -> dict[str, str]:
    """Write the XML files and the lists; gives file name in the index -> path of the image below `out`."""
    images = content.images
    _refuse(content.classes, "class")
    _refuse(images["file_name"], "file name")
    short = annotation_names(images["file_name"], images["group"].map(lambda _: ""))
    places = {name: f"JPEGImages/{to}" for name, to in zip(images["file_name"], short, strict=True)}

    boxes = content.boxes[~content.boxes["crowd"]]
    size = images.set_index("image_id").loc[boxes["image_id"], ["width", "height"]].to_numpy()
    corners = _from_one(shortest(boxes[XYXY].to_numpy()), size, decimals)
    objects: dict[int, list[tuple[int, bool, list[float]]]] = {}
    for image_id, label, difficult, box in zip(
        boxes["image_id"], boxes["label"], boxes["difficult"], corners.tolist(), strict=True
    ):
        objects.setdefault(image_id, []).append((label, difficult, box))
    for row, to in zip(images.itertuples(), short, strict=True):
        if row.annotated:
            tree = _tree(content, to, row.width, row.height, objects.get(row.image_id, []))
            file = out / "Annotations" / Path(to).with_suffix(".xml")
            file.parent.mkdir(parents=True, exist_ok=True)
            ElementTree.indent(tree)
            file.write_bytes(ElementTree.tostring(tree, encoding="utf-8") + b"\n")

    sets = out / "ImageSets" / "Main"
    sets.mkdir(parents=True)
    for group, names in short.groupby(images["group"], sort=False):
        lines = "".join(f"{Path(name).with_suffix('').as_posix()}\n" for name in names)
        (sets / f"{'train' if group == 'labeled' else group}.txt").write_text(lines, encoding="utf-8")
    return places


def _from_one(boxes: np.ndarray, size: np.ndarray, decimals: bool) -> np.ndarray:
    """(N, 4) xmin, ymin, xmax, ymax as VOC counts."""
    if decimals:
        return np.round(boxes + [1, 1, 0, 0], 9)
    whole = np.rint(boxes)
    low = np.minimum(whole[:, :2] + 1, size)
    return np.hstack([low, np.maximum(whole[:, 2:], low)])


def _tree(
    content: Content, name: str, width: int, height: int, objects: list[tuple[int, bool, list[float]]]
) -> ElementTree.Element:
    top = ElementTree.Element("annotation")
    _add(top, folder="JPEGImages", filename=Path(name).name)
    _add(ElementTree.SubElement(top, "source"), database=content.name)
    _add(ElementTree.SubElement(top, "size"), width=width, height=height, depth=3)
    _add(top, segmented=0)
    for label, difficult, box in objects:
        entry = ElementTree.SubElement(top, "object")
        _add(entry, name=content.classes[label], pose="Unspecified", truncated=0, difficult=int(difficult))
        numbers = {
            k: f"{v:.9f}".rstrip("0").rstrip(".") for k, v in zip(("xmin", "ymin", "xmax", "ymax"), box, strict=True)
        }
        _add(ElementTree.SubElement(entry, "bndbox"), **numbers)
    return top


def _add(parent: ElementTree.Element, **texts: object) -> None:
    for tag, text in texts.items():
        ElementTree.SubElement(parent, tag).text = str(text)


def _refuse(names: Iterable[str], what: str) -> None:
    for name in names:
        if NOT_IN_XML.search(name) or name != name.strip():
            raise BadInput(f"--format voc: the {what} {ascii(name)} cannot be written as XML; rename it or use coco")
