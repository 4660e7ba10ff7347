"""Reads a plain folder of images and, where there are any, boxes from a CSV file.

boxes.csv has a header and the columns file_name, class, x1, y1, x2, y2 (pixels; file_name relative to `root`).
One row is one box. A row with only a file name says: looked at, there is nothing in it. An image without any row is
unlabeled.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Literal

import numpy as np
import pandas as pd
from pydantic import Field

from scantling.data.images import SUFFIXES
from scantling.data.index import BOX_COLUMNS, XYXY, table
from scantling.data.problems import Findings
from scantling.data.source import Source, SourceParams
from scantling.stage import BadInput

CSV_COLUMNS = ["file_name", "class", *XYXY]


class FolderParams(SourceParams):
    """`boxes`: CSV file below `root`; `classes`: their names in the order wanted, empty: those of the CSV, sorted."""

    format: Literal["folder"] = "folder"
    boxes: str | None = None
    classes: tuple[str, ...] = ()
    # without published subsets, these shares of the labeled images are kept for choosing and for testing
    val_share: float = Field(0.15, ge=0, le=0.9)
    test_share: float = Field(0.15, ge=0, le=0.9)


def read(params: FolderParams, found: Findings) -> Source:
    """All images below `root`, by name; ids are 1, 2, 3, ... in that order, and in the order of the rows for boxes."""
    root = Path(params.root)
    names = _image_names(root)
    rows = _rows(root / params.boxes) if params.boxes else pd.DataFrame(columns=CSV_COLUMNS)
    lost = rows[~rows.file_name.isin(names)]
    if len(lost):
        raise BadInput(
            f"{root / str(params.boxes)}: {lost.file_name.nunique()} images have boxes but no file below {root}, e.g. "
            f"{lost.file_name.iloc[0]!r}; put them there or remove the rows"
        )
    ids = pd.Series(np.arange(1, len(names) + 1), index=names)
    images = pd.DataFrame({"image_id": ids.to_numpy(), "file_name": names, "width": 0, "height": 0})
    images["subset"] = np.where(images.file_name.isin(rows.file_name), "train", "unlabeled")

    boxes = rows[rows["class"] != ""].reset_index(drop=True)
    classes = params.classes or tuple(sorted(boxes["class"].unique()))
    unknown = sorted(set(boxes["class"]) - set(classes))
    if unknown:
        raise BadInput(
            f"{root / str(params.boxes)}: class {unknown[0]!r} is not in `classes` ({', '.join(classes)}); "
            "add it there or correct the rows"
        )
    if not classes:
        raise BadInput(
            f"{root}: no box and no class is given; name a CSV file with `boxes` (columns {', '.join(CSV_COLUMNS)})"
        )
    labels = boxes["class"].map({name: i for i, name in enumerate(classes)}).astype("int32")
    found = boxes.assign(
        box_id=np.arange(1, len(boxes) + 1),
        image_id=boxes.file_name.map(ids).astype("int64"),
        label=labels,
        area=np.nan,
        crowd=False,
        difficult=False,
    )
    return Source(
        name=params.name,
        format=params.format,
        root=params.root,
        files=(params.boxes,) if params.boxes else (),
        classes=tuple(classes),
        category_ids=tuple(range(1, len(classes) + 1)),
        images=images,
        boxes=table(found, BOX_COLUMNS),
    ).tidy()


def _image_names(root: Path) -> list[str]:
    """Relative names of the image files below `root`, sorted; hidden files and folders are passed over."""
    if not root.is_dir():
        raise BadInput(f"{root}: there is no such folder; correct `root` in the data parameters")
    names = []
    for folder, below, files in os.walk(root):
        below[:] = sorted(d for d in below if not d.startswith("."))
        inside = Path(folder).relative_to(root)
        names += [(inside / f).as_posix() for f in files if not f.startswith(".") and f.lower().endswith(SUFFIXES)]
    if not names:
        raise BadInput(f"{root}: holds no image ({', '.join(SUFFIXES)}); correct `root` in the data parameters")
    return sorted(names)


def _rows(file: Path) -> pd.DataFrame:
    """The CSV with text file names and classes ("" where empty) and float64 corners."""
    if not file.is_file():
        raise BadInput(f"{file}: there is no such file; correct `boxes` in the data parameters")
    try:
        rows = pd.read_csv(file, dtype=str, keep_default_na=False, skipinitialspace=True)
    except (ValueError, UnicodeDecodeError) as error:
        raise BadInput(f"{file}: not readable as CSV ({' '.join(str(error).split())}); write it as UTF-8") from None
    missing = [c for c in CSV_COLUMNS if c not in rows.columns]
    if missing:
        raise BadInput(
            f"{file}: column {', '.join(missing)} is missing; the first line must be {','.join(CSV_COLUMNS)}"
        )
    corners = rows[XYXY].apply(pd.to_numeric, errors="coerce").astype("float64")
    wrong = (rows["class"] != "") & ~np.isfinite(corners).all(axis=1)
    if wrong.any():
        line = int(np.flatnonzero(wrong)[0])
        raise BadInput(
            f"{file}: {int(wrong.sum())} rows have a corner that is not a finite number, e.g. line {line + 2}: "
            f"{','.join(rows[CSV_COLUMNS].iloc[line])}; write x1, y1, x2, y2 in pixels"
        )
    return rows[["file_name", "class"]].join(corners)
