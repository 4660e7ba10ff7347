"""Reads data sets in YOLO form as Ultralytics' tools lay them out: data.yaml, images, and one text file per image.

    data.yaml                 path, train, val, test: a folder of images, several, or a .txt file that lists images;
                              names: the classes. `unlabeled` is read as well: images without label files.
    images/train/a.jpg        its labels lie in labels/train/a.txt (the last folder `images` of the path is replaced);
                              a path without such a folder has them beside the image
    labels/train/a.txt        one object a line: class cx cy w h, fractions of the (upright) image

A line of 7 or more numbers is the outline of an object, class x1 y1 x2 y2 x3 y3 ...: its box is the smallest that holds
all points. A sixth number behind a box is a score and is passed over. An empty file says: looked at, nothing in it.
"""

from __future__ import annotations

import os
import posixpath
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas as pd
import yaml

from scantling.data.folder import image_names, printable
from scantling.data.images import header
from scantling.data.problems import Findings
from scantling.data.source import Source, SourceParams
from scantling.params import parse
from scantling.stage import BadInput

SUBSETS = ("train", "val", "test", "unlabeled")
TOLERANCE = 0.01  # fraction of the image; more beyond the border than rounding can explain is a mistake


class YoloParams(SourceParams):
    """`data`: the YAML file below `root`; its `path` is followed where it lies below `root`, and passed over otherwise.
    `missing_labels`: what an image of train without a label file is; empty is how Ultralytics trains on it.
    """

    format: Literal["yolo"] = "yolo"
    data: str = "data.yaml"
    missing_labels: Literal["unlabeled", "empty"] = "unlabeled"


def read(params: YoloParams, found: Findings) -> Source:
    """Images by subset and name, ids 1, 2, 3, ... in that order; boxes in the order of the lines."""
    root = Path(params.root)
    content = _content(root / params.data)
    names = _names(content, root / params.data)
    numbers = {number: label for label, number in enumerate(names)}
    images, boxes, wrong, unknown = [], [], [], []
    for subset, name in _listed(content, root, params.data):
        file = _label_file(name)
        lines = _lines(root / file)
        if lines is None and subset == "train" and params.missing_labels == "unlabeled":
            subset = "unlabeled"
        width, height = _size(root / name)
        images.append((len(images) + 1, subset, name, width, height, lines is None and subset in ("val", "test")))
        for at, line in lines or []:
            box, problem = _box(line)
            if box is None:
                wrong.append(f"{file} line {at}: {problem}")
            elif box[0] not in numbers:
                unknown.append(f"{file} line {at}: class {box[0]}")
            else:
                _, x1, y1, x2, y2 = box
                corners = (x1 * width, y1 * height, x2 * width, y2 * height)
                boxes.append((len(boxes) + 1, len(images), numbers[box[0]], *corners, np.nan, False, False))
    bare = [name for *_, name, _, _, silent in images if silent]
    if bare and params.missing_labels == "unlabeled":
        raise BadInput(
            f"{root}: {len(bare)} images of val and test have no label file, e.g. {bare[0]} needs "
            f"{_label_file(bare[0])}; write empty ones where nothing is in the image, or set `missing_labels: empty`"
        )
    found.add("box_not_numbers", wrong)
    found.add("unknown_category", unknown)
    columns = ["box_id", "image_id", "label", "x1", "y1", "x2", "y2", "area", "crowd", "difficult"]
    return Source(
        name=params.name,
        format=params.format,
        root=params.root,
        files=(params.data,),
        classes=tuple(names.values()),
        category_ids=tuple(names),
        images=pd.DataFrame(
            [row[:-1] for row in images], columns=["image_id", "subset", "file_name", "width", "height"]
        ),
        boxes=pd.DataFrame(boxes, columns=columns),
    ).tidy()


def _content(file: Path) -> dict[str, Any]:
    try:
        content = parse(file.read_text(encoding="utf-8-sig"), yaml.SafeLoader)
    except OSError as error:
        raise BadInput(f"{file}: cannot be read ({error.strerror}); correct `root` or `data`") from None
    except Exception as error:  # PyYAML's constructors raise anything on tags that do not fit their values
        why = " ".join(str(error).split())
        raise BadInput(f"{file}: not valid YAML ({why}); write `key: value` lines in UTF-8") from None
    if not isinstance(content, dict):
        raise BadInput(f"{file}: has no `key: value` lines; write train, val and names")
    return content


def _names(content: dict[str, Any], file: Path) -> dict[int, str]:
    """Number of a class -> its name, ascending."""
    names, count = content.get("names"), content.get("nc")
    if names is None and isinstance(count, int) and not isinstance(count, bool) and 0 < count < 100_000:
        names = [f"class_{i}" for i in range(count)]
    if isinstance(names, list):
        names = dict(enumerate(names))
    if not isinstance(names, dict) or not names:
        raise BadInput(f"{file}: `names` lists no class; write them as a list, or as `0: name` lines")
    for number, name in names.items():
        if isinstance(number, bool) or not isinstance(number, int) or not 0 <= number < 2**31:
            raise BadInput(f"{file}: `names` has a class that is not numbered 0, 1, 2, ...; correct its number")
        if isinstance(name, bool) or not isinstance(name, str | int | float) or not str(name).strip():
            raise BadInput(f"{file}: the name of class {number} is no text; put it in quotes")
    found = {number: str(names[number]).strip() for number in sorted(names)}
    if len(set(found.values())) < len(found):
        twice = next(n for n in found.values() if list(found.values()).count(n) > 1)
        raise BadInput(f"{file}: two classes are called {twice!r}; give every class its own name")
    if count is not None and count != len(found):
        raise BadInput(f"{file}: `nc` says another number of classes than the {len(found)} of `names`; correct one")
    return found


def _listed(content: dict[str, Any], root: Path, data: str) -> list[tuple[str, str]]:
    """(subset, path of an image below root) of everything that data.yaml names."""
    file = root / data
    path = content.get("path") or "."
    base = posixpath.normpath(posixpath.join(posixpath.dirname(data), path if isinstance(path, str) else "."))
    if base.startswith(("/", "..")) or not os.path.isdir(root / base):
        base = posixpath.dirname(data) or "."  # `path` is that of the machine where the file was written
    entries: list[tuple[str, str]] = []
    for subset in SUBSETS:
        places = content.get(subset) or []
        for place in [places] if isinstance(places, str) else places if isinstance(places, list) else [None]:
            if not isinstance(place, str):
                raise BadInput(f"{file}: `{subset}` is no path and no list of paths; name folders below {root}")
            inside = _inside(root, base, place)
            if inside is None:
                raise BadInput(f"{file}: `{subset}` names {place!r}, which is not below {root}; correct it")
            if inside.lower().endswith(".txt"):
                names = _list_file(root, base, inside)
            else:
                names = image_names(root, inside)
                names += _without_image(root, inside, names)
            entries += [(subset, name) for name in names]
    if not entries:
        raise BadInput(f"{file}: none of {', '.join(SUBSETS)} names an image; write `train: images/train`")
    return list(dict.fromkeys(entries))  # a list may hold a folder and one inside it


def _inside(root: Path, base: str, place: str) -> str | None:
    """`place` as a path below root that exists; `../` in front of it is dropped where it leads nowhere (Roboflow)."""
    for start in (place, place[3:] if place.startswith("../") else place):
        path = posixpath.normpath(posixpath.join(base, start))
        if posixpath.isabs(path):
            path = posixpath.relpath(path, os.path.abspath(root))
        if not path.startswith("..") and os.path.exists(root / path):
            return path
    return None


def _list_file(root: Path, base: str, inside: str) -> list[str]:
    """Images of a .txt file: `./a.jpg` lies beside it, other paths count from `path`. None needs to exist."""
    try:
        lines = (root / inside).read_text(encoding="utf-8-sig").splitlines()
    except (OSError, ValueError) as error:
        raise BadInput(f"{root / inside}: cannot be read ({error}); write one image per line, in UTF-8") from None
    names = []
    for line in printable(filter(None, map(str.strip, lines)), root / inside):
        start = posixpath.dirname(inside) if line.startswith("./") else base
        name = posixpath.normpath(posixpath.join(start, line.replace("\\", "/")))
        names.append(posixpath.relpath(name, os.path.abspath(root)) if posixpath.isabs(name) else name)
    return names


def _without_image(root: Path, inside: str, names: list[str]) -> list[str]:
    """Names that images would have whose label files are there: the check says that they are missing."""
    labels = posixpath.dirname(_label_file(f"{inside}/any.jpg"))
    if labels == inside or not os.path.isdir(root / labels):
        return []
    wanted = {_label_file(name) for name in names}
    there = [p.relative_to(root).as_posix() for p in sorted((root / labels).rglob("*.txt")) if p.name != "classes.txt"]
    return printable([f"{inside}{t[len(labels) : -4]}.jpg" for t in there if t not in wanted], root / labels)


def _label_file(name: str) -> str:
    """images/train/a.jpg -> labels/train/a.txt"""
    before, found, after = f"/{name}".rpartition("/images/")
    path = f"{before}/labels/{after}"[1:] if found else name
    return os.path.splitext(path)[0] + ".txt"


def _lines(file: Path) -> list[tuple[int, list[str]]] | None:
    """(number of the line, its words) of the lines that are not empty; None where there is no file."""
    if not os.path.isfile(file):
        return None
    try:
        text = file.read_text(encoding="utf-8-sig")
    except (OSError, ValueError) as error:
        raise BadInput(f"{file}: cannot be read ({error}); write `class cx cy w h` lines") from None
    return [(at, words) for at, line in enumerate(text.split("\n"), 1) if (words := line.split())]


def _size(image: Path) -> tuple[int, int]:
    """Width and height of the upright picture; 0 where it is missing or damaged, which the check finds."""
    try:
        return header(image)[:2]
    except BadInput:
        return 0, 0


def _box(words: list[str]) -> tuple[tuple[int, float, float, float, float] | None, str]:
    """(class, x1, y1, x2, y2) in fractions, or None and what is wrong with the line."""
    try:
        values = [float(w) for w in words]
    except ValueError:
        return None, f"{' '.join(words[:5])!r} is not made of numbers"
    if not np.isfinite(values).all() or not values[0].is_integer() or abs(values[0]) > 2**31:
        return None, f"{' '.join(words[:5])!r} is not a class and finite numbers"
    number, numbers = int(values[0]), values[1:]
    if len(numbers) in (4, 5):
        cx, cy, w, h = numbers[:4]
        corners = (cx - w / 2, cy - h / 2, cx + w / 2, cy + h / 2)
    elif len(numbers) >= 6 and len(numbers) % 2 == 0:
        corners = (min(numbers[::2]), min(numbers[1::2]), max(numbers[::2]), max(numbers[1::2]))
    else:
        return None, f"{len(words)} numbers are neither `class cx cy w h` nor an outline"
    if min(numbers) < -TOLERANCE or max(numbers) > 1 + TOLERANCE:
        return None, f"{' '.join(words[:5])!r} are no fractions of the image; divide by its width and height"
    return (number, *corners), ""
