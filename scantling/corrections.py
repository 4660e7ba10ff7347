"""Turn what came back from an annotation tool into a file of corrections for `corrections:` of a study.

    python -m scantling.corrections annotations.xml --out params/corrections/mine.json

reads `CVAT for images 1.1` (XML, or the ZIP file around it), the JSON export of Label Studio, and COCO; of an image in
several files the last one wins, so earlier corrections can be named first. An image counts if a person labeled it or
accepted a box in it; what is still marked as proposed is left out.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from scantling import log
from scantling.data import corrections, cvat, drawn, jsonfile, label_studio
from scantling.data import index as indexes
from scantling.data.drawn import Box, Drawn
from scantling.data.index import Index
from scantling.export.coco import write_lists
from scantling.stage import BadInput

REMEDY = "name a file that CVAT, Label Studio or this project exported"


def read(file: Path) -> list[Drawn]:
    """The images of a file of any of the three forms, found out by how it begins. Raises BadInput."""
    try:
        with file.open("rb") as stream:
            head = stream.read(64)
    except OSError as error:
        raise BadInput(f"{file}: cannot be read ({error.strerror}); {REMEDY}") from None
    start = head.removeprefix(b"\xef\xbb\xbf").lstrip()
    if head.startswith(b"PK") or start.startswith(b"<") or head.startswith((b"\xff\xfe", b"\xfe\xff")):
        return cvat.read(file)
    content = jsonfile.read(file, REMEDY)
    return label_studio.of(content, file) if isinstance(content, list) else _of_coco(content, file)


def _of_coco(content: Any, file: Path) -> list[Drawn]:
    for part in ("images", "annotations", "categories"):
        entries = content.get(part) if isinstance(content, dict) else None
        if not isinstance(entries, list) or not all(isinstance(e, dict) for e in entries):
            raise BadInput(f"{file}: `{part}` is not a list of objects; {REMEDY}")
    names = {repr(c.get("id")): c.get("name") for c in content["categories"]}
    images = {}
    for entry in content["images"]:
        name = entry.get("file_name")
        if not isinstance(name, str) or not name:
            raise BadInput(f"{file}: image {entry.get('id')!r} has no `file_name`; add it")
        width, height = (entry.get(side) if isinstance(entry.get(side), int) else 0 for side in ("width", "height"))
        images[repr(entry.get("id"))] = Drawn(name, width, height, labeled=entry.get("labeled", 1) == 1)
    for entry in content["annotations"]:
        where = f"{file}: annotation {entry.get('id')!r}"
        image, name = images.get(repr(entry.get("image_id"))), names.get(repr(entry.get("category_id")))
        if image is None or not isinstance(name, str):
            raise BadInput(f"{where} has an image_id or a category_id that is not listed; correct it")
        box = entry.get("bbox")
        if not isinstance(box, list) or len(box) != 4:
            raise BadInput(f"{where} has bbox {box!r}; write [x, y, width, height] in pixels")
        if not entry.get("iscrowd"):
            x, y, w, h = (drawn.number(v, f"{where}: a number of `bbox`") for v in box)
            image.boxes.append(Box(name, (x, y, x + w, y + h), proposed=bool(entry.get("proposed"))))
    return list(images.values())


def to_coco(images: Sequence[Drawn]) -> dict[str, list[dict[str, Any]]]:
    """The accepted boxes as the content of a COCO file; ids count from 1."""
    classes = sorted({box.name for image in images for box in image.accepted()})
    number = {name: k for k, name in enumerate(classes, start=1)}
    entries, annotations = [], []
    for image_id, image in enumerate(images, start=1):
        entry = {"id": image_id, "file_name": image.name, "width": image.width, "height": image.height}
        entries.append(entry)
        for box in image.accepted():
            x1, y1, x2, y2 = box.corners
            bbox = [round(v, 9) for v in (x1, y1, x2 - x1, y2 - y1)]
            own = {"id": len(annotations) + 1, "image_id": image_id, "category_id": number[box.name], "bbox": bbox}
            annotations.append(own | {"area": round(bbox[2] * bbox[3], 4), "iscrowd": 0})
    categories = [{"id": k, "name": name} for name, k in number.items()]
    return {"images": entries, "annotations": annotations, "categories": categories}


def convert(files: Sequence[Path], out: Path, exported: Path | None, index: Path | None, with_proposed: bool) -> None:
    """Write `out`; with `index`, only if every image and class of it is one of the data set's."""
    found = [read(file) for file in files]
    before = None if exported is None else read(exported)
    if with_proposed:
        for image in (image for images in found for image in images):
            image.boxes = [Box(box.name, box.corners) for box in image.boxes]
    data = None if index is None else _index(index)
    if data is not None:
        for images in (*found, *([] if before is None else [before])):
            _rename(images, data)
    if before is not None:
        found = [drawn.changed(images, before) for images in found]
    images = drawn.joined(found)
    content = to_coco(images)
    fresh = out.with_name(f".{out.name}.part")
    out.parent.mkdir(parents=True, exist_ok=True)
    write_lists(fresh, content)
    try:
        if data is not None:
            corrections.load(fresh, data)
    except BadInput as error:
        fresh.unlink()
        raise BadInput(str(error).replace(str(fresh), " and ".join(map(str, files)))) from None
    os.replace(fresh, out)
    log.line(f"{out}: {len(images)} images, {len(content['annotations'])} boxes")
    left = sum(len(image.boxes) - len(image.accepted()) for images in found for image in images)
    bare = len({image.name for images in found for image in images}) - len(images)
    if left or bare:
        log.line(f"left out: {left} boxes that nobody accepted, {bare} images that nobody labeled")


def _index(folder: Path) -> Index:
    if not (folder / "data.json").is_file():
        raise BadInput(f"--index {folder}: holds no data.json; name a folder of results/prepare")
    return indexes.load(folder, truth=False)


def _rename(images: Sequence[Drawn], index: Index) -> None:
    """Names as the index has them, so that one image has one name in all files; what is not found stays."""
    find, names = corrections.finder(index), index.images.set_index("image_id")["file_name"]
    for image in images:
        if (image_id := find(image.name)) is not None:
            image.name = names[image_id]


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        prog="python -m scantling.corrections",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("files", type=Path, nargs="+", metavar="FILE", help="what the tool exported")
    parser.add_argument("--out", type=Path, required=True, help="the file to write, e.g. params/corrections/mine.json")
    parser.add_argument(
        "--exported", type=Path, help="the file that the tool got: images that are as in it do not count"
    )
    parser.add_argument("--index", type=Path, help="results/prepare/NAME: check images and classes now")
    parser.add_argument("--with-proposed", action="store_true", help="proposed boxes that are still there are accepted")
    given = parser.parse_args(argv)
    try:
        convert(given.files, given.out, given.exported, given.index, given.with_proposed)
    except BadInput as error:
        sys.exit(f"corrections: {error}")


if __name__ == "__main__":
    main()
