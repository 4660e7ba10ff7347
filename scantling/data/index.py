"""The index of a data set: one row per image, one row per box. Every later stage reads this and no source format.

images.parquet  image_id int64, subset str (train, val, test, unlabeled, ...), file_name str (relative to root),
                width int32, height int32 (of the decoded file), bytes int64, mtime_ns int64
boxes.parquet   box_id int64, image_id int64, label int32 (0..C-1), x1 y1 x2 y2 float32 (pixels of the decoded file),
                area float32 (as published, else w*h), crowd bool, difficult bool
image_labels.parquet  image_id int64, label int32, kind str: what is known of a class in a whole image (LVIS):
                `negative` it is verified absent, `not_exhaustive` not every object of it has a box
val_boxes.parquet  rows of boxes.parquet, of completely labeled images of subset `val`
data.json       name, root, classes, category_ids, source, counts, problems
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from scantling.data import parquet
from scantling.stage import BadInput

IMAGE_COLUMNS = {
    "image_id": "int64",
    "subset": "str",
    "file_name": "str",
    "width": "int32",
    "height": "int32",
    "bytes": "int64",
    "mtime_ns": "int64",
}
BOX_COLUMNS = {
    "box_id": "int64",
    "image_id": "int64",
    "label": "int32",
    "x1": "float32",
    "y1": "float32",
    "x2": "float32",
    "y2": "float32",
    "area": "float32",
    "crowd": "bool",
    "difficult": "bool",
}
IMAGE_LABEL_COLUMNS = {"image_id": "int64", "label": "int32", "kind": "str"}
XYXY = ["x1", "y1", "x2", "y2"]
FAR = 1e9  # px; a coordinate beyond it is a mistake, and may be none that float32 has
VAL = "val"  # the subset on which settings are chosen; its boxes are no secret before `evaluate`
OUTSIDE = r"^[/\\]|^[A-Za-z]:|(?:^|[/\\])\.\.(?:[/\\]|$)|\x00"  # names that would leave the folder of the images


@dataclass(frozen=True)
class Index:
    """A data set as tables. `boxes` and `image_labels` are None where a stage must not see the truth."""

    name: str
    root: Path
    classes: tuple[str, ...]
    category_ids: tuple[int, ...]
    images: pd.DataFrame
    boxes: pd.DataFrame | None
    facts: dict[str, Any]
    image_labels: pd.DataFrame | None = None


def table(rows: pd.DataFrame | list[dict[str, Any]], columns: dict[str, str]) -> pd.DataFrame:
    """`rows` with exactly these columns and dtypes; legal when empty.

    Raises BadInput for a value that its column cannot hold: a number out of range, a name that is no text.
    """
    if isinstance(rows, pd.DataFrame) and rows.dtypes.astype(str).to_dict() == columns and _counted(rows.index):
        return rows if list(rows.columns) == list(columns) else rows[list(columns)]
    try:
        frame = pd.DataFrame(rows, columns=list(columns))
        for name, kind in columns.items():
            _refuse_overflow(frame[name], kind)
        with np.errstate(over="ignore"):  # beyond float32 is infinite, which the check of boxes handles
            return frame.astype(columns).reset_index(drop=True)
    except UnicodeEncodeError as error:
        raise BadInput(
            f"{ascii(error.object)[:300]}: a name that is no text (UTF-8 cannot hold it); rename it"
        ) from None
    except OverflowError as error:
        raise BadInput(f"a number is too large ({error}); correct ids, sizes and boxes") from None


def _counted(index: pd.Index) -> bool:
    return isinstance(index, pd.RangeIndex) and index.start == 0 and index.step == 1


def _refuse_overflow(values: pd.Series, kind: str) -> None:
    """Conversion between kinds of whole numbers would wrap around in silence."""
    if kind == "int32" and values.dtype == "int64" and len(values):
        for value in (values.min(), values.max()):
            if not -(2**31) <= value < 2**31:
                raise BadInput(f"`{values.name}` = {value} is out of range; correct it in the annotations")


def save(index: Index, folder: Path) -> None:
    """Write the five files into `folder`."""
    assert index.boxes is not None, "an index without its boxes is only for reading"
    labels = [] if index.image_labels is None else index.image_labels
    _write(table(index.images, IMAGE_COLUMNS), folder / "images.parquet")
    _write(table(index.boxes, BOX_COLUMNS), folder / "boxes.parquet")
    _write(table(labels, IMAGE_LABEL_COLUMNS), folder / "image_labels.parquet")
    _write(_of_val(index), folder / "val_boxes.parquet")
    facts = {
        **index.facts,
        "name": index.name,
        "root": str(index.root),
        "classes": list(index.classes),
        "category_ids": list(index.category_ids),
    }
    (folder / "data.json").write_text(json.dumps(facts, indent=1), encoding="utf-8")


def _of_val(index: Index) -> pd.DataFrame:
    """Boxes of completely labeled images of VAL: in others a box without a label may be right all the same."""
    boxes = table([] if index.boxes is None else index.boxes, BOX_COLUMNS)
    ids = index.images.loc[index.images["subset"] == VAL, "image_id"]
    if index.image_labels is not None:
        ids = ids[~ids.isin(index.image_labels["image_id"])]
    return boxes[boxes["image_id"].isin(ids)]


def _write(rows: pd.DataFrame, file: Path) -> None:
    """Dictionaries only where values repeat, differences for ids: on 25 million boxes a third of the time and three
    quarters of the bytes of the defaults."""
    repeated = [c for c in ("label", "subset", "kind") if c in rows.columns]
    packed = {c: "DELTA_BINARY_PACKED" for c in ("box_id", "image_id") if c in rows.columns}
    rows.to_parquet(file, index=False, use_dictionary=repeated, column_encoding=packed)


def load(folder: Path, *, truth: bool) -> Index:
    """Read an index. `truth=False` leaves boxes.parquet closed: training stages only see what the split kept.

    prepare refuses names that lead out of the folder of the images; an index may come from elsewhere, so again here.
    """
    facts = json.loads((folder / "data.json").read_text(encoding="utf-8"))
    return Index(
        name=facts["name"],
        root=Path(facts["root"]),
        classes=tuple(facts["classes"]),
        category_ids=tuple(facts["category_ids"]),
        images=inside(parquet.read(folder / "images.parquet"), folder),
        boxes=parquet.read(folder / "boxes.parquet") if truth else None,
        facts=facts,
        image_labels=parquet.read(folder / "image_labels.parquet") if truth else None,
    )


def inside(images: pd.DataFrame, folder: Path) -> pd.DataFrame:
    """`images` if every name stays in the folder of the images. Raises BadInput."""
    names = images["file_name"].astype("str")
    if (leaving := names.str.contains(OUTSIDE, regex=True)).any():
        raise BadInput(
            f"{folder}/images.parquet: file_name {names[leaving].iloc[0]!r} leads out of the folder of the images; "
            "do not use this index, make it anew with prepare"
        )
    return images
