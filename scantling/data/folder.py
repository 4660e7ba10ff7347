"""Reads a plain folder of images and, where there are any, boxes from a CSV file.

boxes.csv has a header and the columns file_name, class, x1, y1, x2, y2 (pixels; file_name relative to `root`).
One row is one box. A row with only a file name says: looked at, there is nothing in it. An image without any row is
unlabeled.
"""

from __future__ import annotations

import os
import posixpath
import unicodedata
import warnings
from collections.abc import Iterable
from pathlib import Path
from typing import Literal

import numpy as np
import pandas as pd
from pydantic import Field, field_validator

from scantling.data.coco_file import UNUSABLE
from scantling.data.images import SUFFIXES
from scantling.data.index import BOX_COLUMNS, FAR, XYXY, table
from scantling.data.problems import Findings
from scantling.data.source import Source, SourceParams
from scantling.stage import BadInput

CSV_COLUMNS = ["file_name", "class", *XYXY]


class FolderParams(SourceParams):
    """`boxes`: CSV file below `root`, without it boxes.csv if that is there; `classes`: their names in the order
    wanted, empty: those of the CSV, sorted."""

    format: Literal["folder"] = "folder"
    boxes: str | None = None
    classes: tuple[str, ...] = ()
    # without published subsets, these shares of the labeled images are kept for choosing and for testing
    val_share: float = Field(0.15, ge=0, le=0.9)
    test_share: float = Field(0.15, ge=0, le=0.9)

    @field_validator("classes")
    @classmethod
    def _each_once(cls, names: tuple[str, ...]) -> tuple[str, ...]:
        if again := [name for k, name in enumerate(names) if name in names[:k]]:
            raise ValueError(f"names {again[0]!r} twice; write each class once")
        return names


def read(params: FolderParams, found: Findings) -> Source:
    """All images below `root`, by name; ids are 1, 2, 3, ... in that order, and in the order of the rows for boxes.

    An image that has a row but no file is listed too: the check says that the file is missing.
    """
    root = Path(params.root)
    there = image_names(root)
    named = params.boxes or ("boxes.csv" if (root / "boxes.csv").is_file() else None)
    if named:
        rows = _rows(root / named, set(there), params.classes, found)
    else:
        rows = pd.DataFrame(columns=CSV_COLUMNS)
    names = sorted({*there, *rows.file_name})
    ids = pd.Series(np.arange(1, len(names) + 1), index=names)
    images = pd.DataFrame({"image_id": ids.to_numpy(), "file_name": names, "width": 0, "height": 0})
    images["subset"] = np.where(images.file_name.isin(rows.file_name), "train", "unlabeled")

    boxes = rows[rows["class"] != ""].reset_index(drop=True)
    classes = params.classes or tuple(sorted(boxes["class"].unique()))
    if not classes:
        found.refuse(params.name)  # the reason, where all boxes had to be dropped
        raise BadInput(
            f"{root}: no box and no class is given; name a CSV file with `boxes` (columns {', '.join(CSV_COLUMNS)}) "
            "or list `classes`"
        )
    boxes = boxes.assign(
        box_id=np.arange(1, len(boxes) + 1),
        image_id=boxes.file_name.map(ids).astype("int64"),
        label=boxes["class"].map({name: i for i, name in enumerate(classes)}).astype("int32"),
        area=np.nan,
        crowd=False,
        difficult=False,
    )
    return Source(
        name=params.name,
        format=params.format,
        root=params.root,
        files=(named,) if named else (),
        classes=tuple(classes),
        category_ids=tuple(range(1, len(classes) + 1)),
        images=images,
        boxes=table(boxes, BOX_COLUMNS),
    ).tidy()


def image_names(root: Path, inside: str = ".") -> list[str]:
    """Names, relative to `root`, of the image files below its folder `inside`, sorted; links to folders are followed.

    Hidden files and folders are passed over. Raises BadInput where there is no such folder or no image in it.
    """
    top = root / inside
    if not top.is_dir():
        raise BadInput(f"{top}: there is no such folder; correct the data parameters")
    names, seen = [], set()
    for folder, below, files in os.walk(top, followlinks=True):
        real = os.path.realpath(folder)
        below[:] = [] if real in seen else sorted(d for d in below if not d.startswith("."))  # links may form a ring
        if real not in seen:
            start = posixpath.normpath(os.path.relpath(folder, root))
            names += [posixpath.normpath(f"{start}/{f}") for f in files if _is_image(f)]
        seen.add(real)
    if not names:
        raise BadInput(f"{top}: holds no image ({', '.join(SUFFIXES)}); correct the data parameters")
    return sorted(printable(names, top))


def printable(names: Iterable[str], where: Path) -> list[str]:
    """`names`; raises BadInput where one has control characters or bytes that are no UTF-8: no table can hold it."""
    names = list(names)
    for name in names:
        if UNUSABLE.search(name):
            raise BadInput(f"{where}: the file name {ascii(name)} has characters that no table can hold; rename it")
    return names


def _is_image(name: str) -> bool:
    return not name.startswith(".") and name.lower().endswith(SUFFIXES)


def _rows(file: Path, there: set[str], classes: tuple[str, ...], found: Findings) -> pd.DataFrame:
    """The CSV with text file names and classes ("": no box, or none that can be used), float64 corners."""
    if not file.is_file():
        raise BadInput(f"{file}: there is no such file; correct `boxes` in the data parameters")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", pd.errors.ParserWarning)  # rows longer than the header
            rows = pd.read_csv(
                file,
                dtype=str,
                keep_default_na=False,
                skipinitialspace=True,
                encoding="utf-8-sig",
                index_col=False,
                skip_blank_lines=False,  # so that rows are lines
            )
    except (ValueError, pd.errors.ParserWarning) as error:
        raise BadInput(
            f"{file}: not readable as CSV ({' '.join(str(error).split())}); {_remedy(file, error)}"
        ) from None
    missing = [c for c in CSV_COLUMNS if c not in rows.columns]
    if missing:
        raise BadInput(
            f"{file}: column {', '.join(missing)} is missing; the first line must be {','.join(CSV_COLUMNS)}"
        )
    rows = rows[CSV_COLUMNS].fillna("")  # NaN: rows shorter than the header
    rows = rows[(rows != "").any(axis=1)]
    written = rows.copy()

    def lines(which: pd.Series) -> list[str]:
        return [f"{file.name} line {at + 2}: {','.join(row)}" for at, *row in written[which].itertuples()]

    rows["class"] = rows["class"].str.strip()
    rows["file_name"] = _as_on_disk([name if name in there else _tidy(name) for name in rows.file_name], there)
    nameless = rows.file_name == ""
    classless = (rows["class"] == "") & (rows[XYXY] != "").any(axis=1) & ~nameless
    rows = rows.assign(**{c: pd.to_numeric(rows[c], errors="coerce").astype("float64") for c in XYXY})
    printable(rows.file_name, file)
    found.add("box_without_image", lines(nameless))
    boxed = (rows["class"] != "") & ~nameless
    wrong = boxed & ~(rows[XYXY].abs() < FAR).all(axis=1)  # NaN is not
    found.add("box_not_numbers", lines(wrong))
    unknown = boxed & ~wrong & ~rows["class"].isin(classes) & bool(classes)
    found.add("unknown_category", lines(unknown | classless))
    if (boxed & ~wrong).any() and rows.loc[boxed & ~wrong, XYXY].abs().to_numpy().max() <= 1:
        raise BadInput(
            f"{file}: all corners lie between 0 and 1, which are parts of a pixel; write pixels, not fractions"
        )
    rows.loc[wrong | unknown, "class"] = ""
    return rows[~nameless].reset_index(drop=True)


def _remedy(file: Path, error: Exception) -> str:
    """What to do about a CSV file that cannot be read."""
    if isinstance(error, UnicodeDecodeError):
        return "write it as UTF-8"
    with file.open(encoding="utf-8-sig", errors="replace") as stream:
        first = stream.readline()
    if ";" in first or "\t" in first:
        return "separate the columns by commas, and write 1.5, not 1,5"
    return f"the first line must be {','.join(CSV_COLUMNS)}, and each other one has as many values"


def _as_on_disk(names: list[str], there: set[str]) -> list[str]:
    """Names as the files `there` are called, where an accent is only stored in another way (macOS)."""
    if there.issuperset(names):
        return names
    stored = {unicodedata.normalize("NFC", name): name for name in there}
    return [name if name in there else stored.get(unicodedata.normalize("NFC", name), name) for name in names]


def _tidy(name: str) -> str:
    """A file name as a path with plain slashes; "" where there is none."""
    return posixpath.normpath(name.strip().replace("\\", "/")) if name.strip() else ""
