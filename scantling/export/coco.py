"""COCO JSON: images and classes keep their ids, crowds their flag; difficult objects and scores have their own keys.

Where boxes of a machine lie beside those of a person, these have `proposed: 1`, and images `labeled: 1` or `0`.

annotations/instances_GROUP.json   images that were looked at, with their boxes
annotations/images_GROUP.json      images that nobody looked at
images/                            their files
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from scantling.data.index import XYXY
from scantling.export.content import Content

ROWS = 100_000  # boxes that are plain numbers at a time


def write(content: Content, out: Path) -> dict[str, str]:
    """Write the JSON files; gives file name in the index -> path of the image below `out`."""
    (out / "annotations").mkdir()
    names = content.images["file_name"]
    bare = names.str.removeprefix("images/") if names.str.startswith("images/").all() else names
    images = content.images.assign(file_name=bare)
    categories = [{"id": i, "name": name} for i, name in zip(content.category_ids, content.classes, strict=True)]
    for entry, frequency in zip(categories, content.frequencies, strict=False):
        entry["frequency"] = frequency
    for group in content.groups():
        for annotated, kind in ((True, "instances"), (False, "images")):
            mine = images[(images["group"] == group) & (images["annotated"] == annotated)]
            if len(mine):
                boxes = content.boxes[content.boxes["image_id"].isin(mine["image_id"])]
                parts = {"images": _images(content, mine), "annotations": _boxes(content, boxes)}
                write_lists(out / "annotations" / f"{kind}_{group}.json", parts | {"categories": categories})
    return {old: f"images/{new}" for old, new in zip(names, bare, strict=True)}


def _images(content: Content, images: pd.DataFrame) -> Iterator[dict[str, Any]]:
    known: dict[tuple[int, str], list[int]] = {}
    for row in content.image_labels.itertuples():
        known.setdefault((row.image_id, row.kind), []).append(content.category_ids[row.label])
    for row in images.itertuples():
        entry = {"id": row.image_id, "file_name": row.file_name, "width": row.width, "height": row.height}
        if content.proposals:
            entry["labeled"] = int(row.labeled)
        for kind, key in (("negative", "neg_category_ids"), ("not_exhaustive", "not_exhaustive_category_ids")):
            if content.frequencies or known:  # LVIS wants both keys in every image
                entry[key] = known.get((row.image_id, kind), [])
        yield entry


def _boxes(content: Content, boxes: pd.DataFrame) -> Iterator[dict[str, Any]]:
    for first in range(0, len(boxes), ROWS):
        yield from _some_boxes(content, boxes.iloc[first : first + ROWS])


def _some_boxes(content: Content, boxes: pd.DataFrame) -> Iterator[dict[str, Any]]:
    corners = shortest(boxes[XYXY].to_numpy())
    sides = np.round(corners[:, 2:] - corners[:, :2], 9)  # without the noise of the subtraction
    areas, scores = shortest(boxes["area"].to_numpy()), shortest(boxes["score"].to_numpy())
    for row, (x, y, *_), (w, h), area, score in zip(
        boxes.itertuples(), corners.tolist(), sides.tolist(), areas.tolist(), scores.tolist(), strict=True
    ):
        entry = {"id": row.box_id, "image_id": row.image_id, "category_id": content.category_ids[row.label]}
        entry |= {"bbox": [x, y, w, h], "area": area, "iscrowd": int(row.crowd)}
        if row.difficult:
            entry["difficult"] = 1
        if not np.isnan(score):
            entry["score"] = score
            if content.proposals:
                entry["proposed"] = 1
        yield entry


def shortest(values: np.ndarray) -> np.ndarray:
    """float32 as the float64 with the fewest digits that is read back as the same float32: 0.1, not 0.10000000149."""
    return np.array([float(str(v)) for v in values.ravel()]).reshape(values.shape)


def write_lists(file: Path, parts: Mapping[str, Iterable[dict[str, Any]]]) -> None:
    """JSON with one entry a line, none of them in memory for longer than its line."""
    with file.open("w", encoding="utf-8") as stream:
        for number, (name, entries) in enumerate(parts.items()):
            stream.write((",\n" if number else "{") + f"{json.dumps(name)}: [\n")
            for place, entry in enumerate(entries):
                stream.write((",\n" if place else "") + json.dumps(entry))
            stream.write("\n]")
        stream.write("}\n")
