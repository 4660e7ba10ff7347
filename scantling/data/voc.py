"""Reads data sets in PASCAL VOC form: one XML file per image, and text files that list the images of a subset.

    VOC2007/Annotations/000005.xml  VOC2007/JPEGImages/000005.jpg  VOC2007/ImageSets/Main/trainval.txt

Boxes of VOC count pixels from 1 and include the last one: x1 = xmin - 1, y1 = ymin - 1, x2 = xmax, y2 = ymax.
Parts of objects (person layout) and actions are not read. XML files are never followed out of themselves: a document
type or an entity declaration is refused.
"""

from __future__ import annotations

import os
import posixpath
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Literal
from xml.etree.ElementTree import Element, TreeBuilder
from xml.parsers import expat

import numpy as np
import pandas as pd

from scantling.data.folder import image_names, printable
from scantling.data.images import SUFFIXES
from scantling.data.index import FAR
from scantling.data.problems import Findings
from scantling.data.source import Source, SourceParams
from scantling.stage import BadInput

MAX_BYTES = 16 << 20  # annotations of VOC have some kilobytes
MAX_DEPTH = 32  # and are four elements deep
CORNERS = ("xmin", "ymin", "xmax", "ymax")
FORBIDDEN = re.compile(rb"<!\s*(?:DOCTYPE|ENTITY)", re.I)


class VocParams(SourceParams):
    """`subsets`: subset name -> FOLDER/SET (below `root`; FOLDER may be left out). Without them: the sets train (or
    trainval), val, test and unlabeled that there are, and where there are no sets, every XML file is one of train.
    `annotations`, `images`: their folders, relative to FOLDER. `classes`: their order, empty: all found, sorted.
    `one_based`: False takes the numbers as they are (labelImg). Difficult objects keep their flag: evaluation ignores
    them, and `voc_difficult` of a split says whether training sees them.
    """

    format: Literal["voc"] = "voc"
    subsets: dict[str, str] = {}
    annotations: str = "Annotations"
    images: str = "JPEGImages"
    classes: tuple[str, ...] = ()
    one_based: bool = True


@dataclass(frozen=True)
class Sheet:
    """What one XML file says; 0 and None where it is silent. Corners as they are written."""

    width: int
    height: int
    file_name: str | None
    path: str | None
    objects: list[tuple[str, list[str | None], bool]]  # class, corners, difficult


def read(params: VocParams, found: Findings) -> Source:
    """Images in the order of their lists, ids 1, 2, 3, ... in that order; boxes likewise."""
    root = Path(params.root)
    if not root.is_dir():
        raise BadInput(f"{root}: there is no such folder; correct `root` in the data parameters")
    subsets = params.subsets or _found_sets(root)
    listed = [_plain(root, params)] if not subsets else [_listed(root, s, at, params) for s, at in subsets.items()]
    images, boxes, names, foreign, wrong, unknown = [], [], [], [], [], []
    for subset, file_name, file in (entry for part in listed for entry in part):
        sheet = _sheet(root / file) if file else Sheet(0, 0, None, None, [])
        image_id = len(images) + 1
        images.append((image_id, subset, file_name, sheet.width, sheet.height))
        if said := _foreign(root / file_name, sheet):
            foreign.append(f"{file} ({said})")
        for name, corners, difficult in sheet.objects:
            numbers = [_number(c) for c in corners]
            if not np.isfinite(numbers).all():
                wrong.append(f"{file} ({name}: {', '.join(map(str, corners))})")
            elif not name or (params.classes and name not in params.classes):
                unknown.append(f"{file} ({name!r})")
            else:
                boxes.append((len(boxes) + 1, image_id, *numbers, np.nan, False, difficult))
                names.append(name)
    found.add("foreign_path", foreign)
    found.add("box_not_numbers", wrong)
    found.add("unknown_category", unknown)

    classes = params.classes or tuple(sorted(set(names)))
    if not classes:
        found.refuse(params.name)  # the reason, where all boxes had to be dropped
        raise BadInput(f"{root}: no XML file names a class; correct the data parameters or list `classes`")
    table = pd.DataFrame(boxes, columns=["box_id", "image_id", "x1", "y1", "x2", "y2", "area", "crowd", "difficult"])
    if params.one_based:
        table[["x1", "y1"]] -= 1
    number = {name: label for label, name in enumerate(classes)}
    return Source(
        name=params.name,
        format=params.format,
        root=params.root,
        files=tuple(_set_file(at).as_posix() for at in subsets.values()) or (params.annotations,),
        classes=tuple(classes),
        category_ids=tuple(range(1, len(classes) + 1)),
        images=pd.DataFrame(images, columns=["image_id", "subset", "file_name", "width", "height"]),
        boxes=table.assign(label=[number[name] for name in names]),
    ).tidy()


def _found_sets(root: Path) -> dict[str, str]:
    """Subset name -> image set of ImageSets/Main, those that there are."""
    there = {p.stem for p in (root / "ImageSets/Main").glob("*.txt")}
    wanted = {
        "train": "train" if "train" in there else "trainval",
        "val": "val",
        "test": "test",
        "unlabeled": "unlabeled",
    }
    return {subset: at for subset, at in wanted.items() if at in there}


def _set_file(at: str) -> Path:
    """VOC2007/trainval -> VOC2007/ImageSets/Main/trainval.txt"""
    return Path(at).parent / "ImageSets/Main" / f"{Path(at).name}.txt"


def _listed(root: Path, subset: str, at: str, params: VocParams) -> list[tuple[str, str, str]]:
    """(subset, image, XML file or "") of every line of an image set, as paths below root."""
    file = root / _set_file(at)
    try:
        lines = file.read_text(encoding="utf-8-sig").splitlines()
    except (OSError, ValueError) as error:
        raise BadInput(f"{file}: cannot be read ({error}); correct `subsets` in the data parameters") from None
    above = Path(at).parent.as_posix()
    by_stem = _by_stem(root, posixpath.normpath(f"{above}/{params.images}"))
    entries, bare = [], []
    for line in printable(filter(None, map(str.strip, lines)), file):
        stem = _stem(line, by_stem)
        xml = posixpath.normpath(f"{above}/{params.annotations}/{stem}.xml")
        annotated = os.path.isfile(root / xml)
        image = _image(root, stem, by_stem, xml if annotated else "", f"{above}/{params.images}")
        if not annotated and subset not in ("train", "unlabeled"):
            bare.append(line)
        entries.append((subset if annotated or subset != "train" else "unlabeled", image, xml if annotated else ""))
    if bare:
        raise BadInput(
            f"{file}: {len(bare)} images of subset {subset} have no annotation file, e.g. {bare[0]!r}; only images of "
            f"train and unlabeled can do without: put it into {above}/{params.annotations} or take them out"
        )
    return entries


def _plain(root: Path, params: VocParams) -> list[tuple[str, str, str]]:
    """The same without lists: images with an XML file of the same name are `train`, the others `unlabeled`."""
    sheets = params.annotations if (root / params.annotations).is_dir() else "."
    pictures = params.images if (root / params.images).is_dir() else "."
    by_stem = _by_stem(root, pictures)
    xml = {p.relative_to(root / sheets).with_suffix("").as_posix(): p for p in (root / sheets).rglob("*.xml")}
    if not xml:
        raise BadInput(f"{root}: holds no XML file; correct `root` or `annotations` in the data parameters")
    entries = [
        ("train", _image(root, s, by_stem, p.relative_to(root).as_posix(), pictures), p.relative_to(root).as_posix())
        for s, p in xml.items()
    ]
    entries += [("unlabeled", name, "") for s, names in by_stem.items() if s not in xml for name in names]
    return sorted(entries, key=lambda entry: entry[1])


def _by_stem(root: Path, folder: str) -> dict[str, list[str]]:
    """Name below `folder` without ending -> the images of that name, as paths below root."""
    found: dict[str, list[str]] = {}
    for name in image_names(root, folder):
        found.setdefault(os.path.splitext(posixpath.relpath(name, folder))[0], []).append(name)
    return found


def _stem(line: str, by_stem: dict[str, list[str]]) -> str:
    """The name in a line of an image set: lists of one class have -1, 0 or 1 behind it, some writers the ending."""
    if line in by_stem:
        return line
    bare = re.sub(r"\s+(?:-1|0|1)$", "", line)
    start, ending = os.path.splitext(bare)
    return start if ending.lower() in SUFFIXES else bare


def _image(root: Path, stem: str, by_stem: dict[str, list[str]], xml: str, folder: str) -> str:
    names = by_stem.get(stem, [])
    if len(names) > 1 and xml:
        raise BadInput(f"{root / xml}: belongs to {' or '.join(names)}; rename one of the two images and its XML file")
    # without an image: the check will say that this one is missing
    return names[0] if names else posixpath.normpath(f"{folder}/{stem}.jpg")


def _foreign(image: Path, sheet: Sheet) -> str:
    """What an XML file says about its image that does not lead to it; "" where it is right or silent."""
    if sheet.file_name and sheet.file_name not in (image.name, image.stem):
        return f"filename {sheet.file_name}"
    if sheet.path and sheet.path not in (image.name, str(image), os.path.abspath(image)):
        return f"path {sheet.path}"
    return ""


def _number(text: str | None) -> float:
    """NaN for what is no decimal number, or none that a pixel can have."""
    try:
        value = float(text) if text and "_" not in text else np.nan
    except ValueError:
        return np.nan
    return value if abs(value) < FAR else np.nan


def _sheet(file: Path) -> Sheet:
    top = parse(file)
    if top.tag != "annotation":
        raise BadInput(f"{file}: starts with <{top.tag}>, not <annotation>; it is no annotation of VOC: take it away")
    width, height = (_number(top.findtext(f"size/{side}")) for side in ("width", "height"))
    sized = all(0 < side < 2**31 for side in (width, height))  # NaN compares as False
    objects = [
        (
            (entry.findtext("name") or "").strip(),
            [entry.findtext(f"bndbox/{corner}") for corner in CORNERS],
            (entry.findtext("difficult") or "").strip().lower() in ("1", "true"),
        )
        for entry in top.findall("object")
    ]
    said = {key: (top.findtext(key) or "").strip() or None for key in ("filename", "path")}
    return Sheet(int(width) if sized else 0, int(height) if sized else 0, said["filename"], said["path"], objects)


def parse(file: Path) -> Element:
    """The tree of an XML file. Raises BadInput where it is no XML, has a document type or entities, or is too deep."""

    def refuse(*_: object) -> None:
        raise BadInput(f"{file}: declares a document type or entities, which are never read here; take them out")

    builder, depth = TreeBuilder(), 0

    def start(tag: str, attributes: dict[str, str]) -> None:
        nonlocal depth
        depth += 1
        if depth > MAX_DEPTH:
            raise BadInput(f"{file}: elements are nested more than {MAX_DEPTH} deep; it is no annotation of VOC")
        builder.start(tag, attributes)

    def end(tag: str) -> None:
        nonlocal depth
        depth -= 1
        builder.end(tag)

    try:
        if file.stat().st_size > MAX_BYTES:
            raise BadInput(f"{file}: is larger than {MAX_BYTES >> 20} MiB; it is no annotation of VOC")
        content = file.read_bytes()
        if FORBIDDEN.search(content):  # before the parser: it would read on to the end of what it was given
            refuse()
        parser = expat.ParserCreate()
        parser.StartDoctypeDeclHandler = parser.EntityDeclHandler = refuse
        parser.StartElementHandler, parser.EndElementHandler = start, end
        parser.CharacterDataHandler = builder.data
        parser.Parse(content, True)
        return builder.close()
    except BadInput:
        raise
    except (expat.ExpatError, OSError, ValueError, LookupError) as error:
        raise BadInput(f"{file}: not readable as XML ({error}); write it again, as UTF-8") from None
