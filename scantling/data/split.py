"""Which labels training may see, as a table. protocols.py makes it; every later stage reads it.

split.parquet  one row per kept box, one row with box_id -1, label -1 and NaN corners for an image that keeps none;
               columns SPLIT_COLUMNS, by ascending image and box id; crowds are never kept
"""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
import pandas as pd

from scantling.data import parquet
from scantling.data.index import table
from scantling.stage import BadInput

SPLIT_COLUMNS = {
    "image_id": "int64",
    "labeled": "bool",
    "box_id": "int64",
    "label": "int32",
    "x1": "float32",
    "y1": "float32",
    "x2": "float32",
    "y2": "float32",
}


def load(folder: Path) -> pd.DataFrame:
    """The split table of a folder written by the stage."""
    return table(parquet.read(folder / "split.parquet"), SPLIT_COLUMNS)


def image_ids(folder: Path) -> np.ndarray:
    """The ids (N,) of the images of the split, ascending; nothing else of the table is read."""
    parquet.check(folder / "split.parquet")
    return np.unique(pd.read_parquet(folder / "split.parquet", columns=["image_id"])["image_id"].to_numpy())


def refuse_foreign(ids: np.ndarray, images: pd.DataFrame) -> None:
    """BadInput where a split names images (ids, ascending) that the index, a table with `image_id`, does not have."""
    strangers = np.setdiff1d(ids, images["image_id"].to_numpy())
    if len(strangers):
        raise BadInput(
            f"the split names {len(strangers)} of {len(ids)} images that the index does not have (the first is "
            f"{strangers[0]}): it was made of another data set; give the index it was made of, or split this one"
        )


def content_hash(rows: pd.DataFrame) -> str:
    """SHA-256 of the values of a split table: of every column the name and its bytes, rows sorted by id."""
    image, box = rows["image_id"].to_numpy(), rows["box_id"].to_numpy()
    in_order = (image[1:] > image[:-1]) | ((image[1:] == image[:-1]) & (box[1:] >= box[:-1]))
    order = slice(None) if in_order.all() else np.lexsort((box, image))
    seen = hashlib.sha256()
    for column, dtype in SPLIT_COLUMNS.items():
        update(seen, column, rows[column].to_numpy().astype(dtype, copy=False)[order])
    return seen.hexdigest()


def update(seen: hashlib._Hash, name: str, values: np.ndarray) -> None:
    """Add a column to a hash: its name, then its bytes, little-endian; text as UTF-8 lines."""
    seen.update(name.encode())
    if values.dtype.kind in "OUT":
        seen.update("\n".join(map(str, values)).encode())
        return
    if values.dtype.kind == "f":
        values = np.where(np.isnan(values), values.dtype.type("nan"), values)  # one NaN pattern
    seen.update(np.ascontiguousarray(values.astype(values.dtype.newbyteorder("<"), copy=False)).data)
