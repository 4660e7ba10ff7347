"""Indexes to export: small ones, and those of the real data sets."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd

from scantling.data import formats, index
from scantling.data.check import check
from scantling.data.formats import DataParams
from scantling.data.index import XYXY, Index
from scantling.data.problems import Findings
from tests.data.made import photo


def prepare(params: Path, out: Path, **changes: object) -> Index:
    """What stage prepare writes, without its page."""
    loaded = DataParams.load(params).model_copy(update={"verify": "header", **changes})
    found = Findings(loaded.problems)
    made = check(formats.read(loaded, found), loaded, found)
    out.mkdir(parents=True, exist_ok=True)
    index.save(made, out)
    return index.load(out, truth=True)


def imported(folder: Path) -> Index:
    """An export read back, its form found out by itself."""
    params = folder.parent / f"{folder.name}_again.yaml"
    params.write_text(f"root: {folder}\n")
    return prepare(params, folder.parent / f"{folder.name}_index")


def rows(made: Index, *, flags: bool = True) -> pd.DataFrame:
    """Boxes by subset, name of the image file and class name, in one order."""
    assert made.boxes is not None
    found = made.boxes.merge(made.images, on="image_id")
    found["class"] = [made.classes[label] for label in found.label]
    found["file"] = found.file_name.map(lambda name: name.rpartition("/")[2])
    columns = ["subset", "file", "class", *XYXY, *(("crowd", "difficult") if flags else ())]
    return found.sort_values(["file", "class", *XYXY])[columns].reset_index(drop=True)


def small(folder: Path) -> Index:
    """Four images of 40 x 30 for train, one for val, one unlabeled; boxes with fractions, a crowd, a difficult one."""
    names = ["a.jpg", "deep/a.jpg", "images/c.png", "d.jpg", "val/v.jpg", "more/u.jpg"]
    for name in names:
        photo(folder / "set" / name)
    images = pd.DataFrame({"image_id": [5, 7, 8, 9, 20, 30], "file_name": names, "width": 40, "height": 30})
    images["subset"] = ["train"] * 4 + ["val", "unlabeled"]
    corners = [
        (0.1, 0.2, 39.9, 29.7),
        (1, 2, 11, 12),
        (3.3, 4.4, 5.5, 6.6),
        (0, 0, 40, 30),
        (9, 9, 9.4, 9.3),
        (2, 3, 8, 9),
    ]
    boxes = pd.DataFrame(corners, columns=XYXY).assign(
        box_id=[3, 1, 4, 15, 9, 2], image_id=[5, 5, 7, 7, 8, 20], label=[0, 1, 1, 0, 1, 0], area=np.float32(7.5)
    )
    boxes["crowd"], boxes["difficult"] = [False, False, False, True, False, False], [False, True] + [False] * 4
    made = Index("small", folder / "set", ("a/b", "two words"), (3, 17), images.assign(bytes=1, mtime_ns=0), boxes, {})
    out = folder / "index"
    out.mkdir()
    index.save(made, out)
    return index.load(out, truth=True)
