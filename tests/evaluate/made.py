"""Small tables for the tests of evaluation."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd

from scantling.data.index import BOX_COLUMNS, IMAGE_COLUMNS, XYXY, Index, table
from scantling.data.split import SPLIT_COLUMNS
from scantling.evaluate import label_quality
from scantling.evaluate.params import QualityParams
from scantling.evaluate.portions import Held

FOUND = {"image_id": "int64", "label": "int32", "score": "float32"} | dict.fromkeys(XYXY, "float32")
FLAGS = {
    "source": "teacher",
    "weight": 1.0,
    "for_objectness": False,
    "for_class": False,
    "for_box": False,
    "ignore": False,
}


def index(boxes: list[dict[str, Any]], images: dict[int, str], classes: tuple[str, ...] = ("cat", "dog")) -> Index:
    """boxes: dicts with image_id, label, xyxy and perhaps area, crowd, difficult; images: id -> subset."""
    rows = [
        {"image_id": i, "subset": s, "file_name": f"{i}.png", "width": 100, "height": 100, "bytes": 0, "mtime_ns": 0}
        for i, s in images.items()
    ]
    truth = []
    for number, box in enumerate(boxes):
        x1, y1, x2, y2 = box["xyxy"]
        plain = {"box_id": number, "area": (x2 - x1) * (y2 - y1), "crowd": False, "difficult": False}
        truth.append(plain | dict(zip(XYXY, box["xyxy"], strict=True)) | box)
    ids = tuple(range(1, len(classes) + 1))
    return Index("made", Path("."), classes, ids, table(rows, IMAGE_COLUMNS), table(truth, BOX_COLUMNS), {})


def found(*rows: tuple[int, int, float, tuple[float, float, float, float]]) -> pd.DataFrame:
    """Detections from (image_id, label, score, xyxy)."""
    return table(
        [{"image_id": i, "label": k, "score": s, **dict(zip(XYXY, b, strict=True))} for i, k, s, b in rows], FOUND
    )


def split(data: Index, kept: list[int], labeled: list[int]) -> pd.DataFrame:
    """split.parquet with these box ids kept; `labeled` are the image ids marked so."""
    train = data.images.loc[data.images["subset"] == "train", "image_id"]
    assert data.boxes is not None
    rows = data.boxes[data.boxes["box_id"].isin(kept)]
    bare = pd.DataFrame({"image_id": train[~train.isin(rows["image_id"])]}).assign(box_id=-1, label=-1)
    every = pd.concat([rows[["image_id", "box_id", "label", *XYXY]], bare])
    return table(every.assign(labeled=every["image_id"].isin(labeled)), SPLIT_COLUMNS)


def refined(rows: pd.DataFrame, **flags: Any) -> pd.DataFrame:
    """Pseudo labels with the columns of refined ones; nothing is used unless `flags` say so."""
    return rows.assign(**({"refined_score": rows["score"]} | FLAGS | flags))


def measure(
    data: Index,
    split: pd.DataFrame,
    pseudo: pd.DataFrame,
    refined: pd.DataFrame,
    params: QualityParams,
    *,
    before: pd.DataFrame | None = None,
    on_held_out: tuple[str, pd.DataFrame] | None = None,
) -> dict[str, Any]:
    """label_quality.measure on tables in memory."""
    assert data.boxes is not None
    earlier = None if before is None else Held(before)
    tables = label_quality.Tables(Held(data.boxes), Held(split), Held(pseudo), Held(refined), earlier)
    seen = None if on_held_out is None else (on_held_out[0], Held(on_held_out[1]))
    return label_quality.measure(data, tables, params, on_held_out=seen)
