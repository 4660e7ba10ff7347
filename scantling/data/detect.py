"""Finds out in which form a data set is, where its parameters do not say so: by what lies in its root."""

from __future__ import annotations

import mmap
import re
from pathlib import Path
from typing import Any

from scantling.params import ParamsError

PLACES = (".", "annotations", "Annotations")
WORDS = {"unlabeled": "unlabeled", "labeled": "train", "train": "train", "val": "val", "test": "test"}  # in this order
SUBSETS = ("train", "val", "test", "unlabeled")


def detect(root: Path, spec: object) -> dict[str, Any]:
    """The format, and with it what the reader needs to know of the files; ParamsError where there is none or several.

    data.yaml: yolo. ImageSets, or XML files in Annotations or beside images: voc. JSON files with a list of images in
    root or annotations: coco, or lvis where they say which classes are absent. boxes.csv: folder. Nothing of these:
    folder, with images only.
    """
    if not root.is_dir():
        raise ParamsError(f"{spec}: `root` = {str(root)!r}: there is no such folder; correct it")
    found: dict[str, dict[str, Any]] = {}
    if (root / "data.yaml").is_file():
        found["yolo"] = {}
    if (root / "ImageSets").is_dir() or any(f.suffix == ".xml" for f in _files(root)):
        found["voc"] = {}
    if sheets := [f.relative_to(root).as_posix() for f in _files(root) if f.suffix == ".json" and _lists_images(f)]:
        more: dict[str, Any] = {"subsets": _subsets(sheets, spec)}
        if not any(_holds(root / f, b'"neg_category_ids"') for f in sheets):
            found["coco"] = more
        elif any(_holds(root / f, b'"coco_url"') for f in sheets):
            found["lvis"] = more
        else:  # written by scantling.export
            found["lvis"] = more | {"images": "images", "names": "file_name"}
    if (root / "boxes.csv").is_file():
        found["folder"] = {"boxes": "boxes.csv"}
    if len(found) > 1:
        raise ParamsError(
            f"{spec}: {root} could be read as {' or '.join(found)}; say which with `format: {next(iter(found))}`"
        )
    name, more = next(iter(found.items())) if found else ("folder", {})
    return {"format": name, **more}


def _files(root: Path) -> list[Path]:
    return sorted({f.resolve(): f for p in PLACES if (root / p).is_dir() for f in (root / p).iterdir()}.values())


def _lists_images(file: Path) -> bool:
    return _holds(file, rb'"images"\s*:\s*\[')


def _holds(file: Path, pattern: bytes) -> bool:
    """Whether a regular expression is found in a file, without reading all of it into memory."""
    if not file.is_file() or not file.stat().st_size:
        return False
    with file.open("rb") as stream, mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ) as content:
        return re.search(pattern, content) is not None


def _subsets(files: list[str], spec: object) -> dict[str, str]:
    """Subset name -> file, by the words in the names; a single file is that of train."""
    if len(files) == 1:
        return {"train": files[0]}
    found: dict[str, str] = {}
    for file in files:
        subset = next((subset for word, subset in WORDS.items() if word in Path(file).stem.lower()), None)
        if subset is None or subset in found:
            raise ParamsError(
                f"{spec}: of {', '.join(files)} it is not clear which is for what; "
                f"write `format: coco` and `subsets: {{train: {files[0]}, ...}}`"
            )
        found[subset] = file
    return {subset: found[subset] for subset in SUBSETS if subset in found}
