"""An author's own annotation file says which boxes are kept (COCO JSON, plain or gzipped), if it is a part of the data.

Ids, images, classes and boxes must be those of the data set: a file that differs belongs to other data, and the split
would be something else than its name says.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas as pd
from pydantic import Field

from scantling.data import jsonfile
from scantling.data.choice import Choice, ProtocolParams, Truth, positions
from scantling.data.index import XYXY
from scantling.stage import BadInput


class ExternalParams(ProtocolParams):
    """absent: what a training image that the file does not list is, unlabeled or labeled and empty;
    tolerance: pixels that a corner may differ, the file's boxes being clipped to their image first."""

    protocol: Literal["external"]
    file: str
    absent: Literal["unlabeled", "empty"] = "unlabeled"
    tolerance: float = Field(0.5, ge=0)
    allow_missing_class: bool = True


def choose(truth: Truth, params: ExternalParams, fold: int) -> Choice:
    """The boxes of the file. The same for every fold: an author's folds are files of their own."""
    file, index = Path(params.file), truth.index
    assert index.boxes is not None
    content = jsonfile.read(file, "name the author's annotation file under `file`")
    images = _ids(_part(content, "images", file), "id", "images", file)
    listed = np.sort(images)
    _refuse(file, listed[~np.isin(listed, truth.train)], f"images are not in subset train of {index.name}")
    entries = [e for e in _part(content, "annotations", file) if not e.get("iscrowd")]
    boxes = _boxes(entries, file, index.images)
    boxes = boxes[(boxes.x2 > boxes.x1) & (boxes.y2 > boxes.y1)]
    _refuse(file, boxes.box_id[~boxes.image_id.isin(listed)], "annotations belong to no image of the file")
    category = positions(np.array(index.category_ids), boxes.category.to_numpy())
    _refuse(file, boxes.box_id[category < 0], f"annotations have a category that {index.name} does not have")
    boxes = boxes.assign(label=category)

    at = positions(index.boxes.box_id.to_numpy(), boxes.box_id.to_numpy())
    repeated = at < 0  # prepare drops a box that repeats another one: it is there under the other's id
    at[repeated] = _twin(boxes[repeated], index.boxes, params.tolerance)
    _refuse(file, boxes.box_id[at < 0], f"annotations are not in {index.name}")
    true = index.boxes.iloc[at]
    for key, what in (("image_id", "annotations are on another image"), ("label", "annotations are of another class")):
        _refuse(file, boxes.box_id[boxes[key].to_numpy() != true[key].to_numpy()], what)
    apart = _apart(boxes, true)
    moved = f"annotations have another box, by up to {apart.max(initial=0):.1f} px (`tolerance` {params.tolerance:g})"
    _refuse(file, boxes.box_id[apart > params.tolerance], moved)

    named = np.zeros(len(index.boxes), dtype=bool)
    named[at] = True
    visible = named[truth.row]
    labeled = listed if params.absent == "unlabeled" else truth.train
    hidden = truth.boxes_of(labeled) & ~visible
    facts = {
        "file_sha256": jsonfile.sha256(file),
        "annotations": len(content["annotations"]),
        "repeated": int(repeated.sum()),
        "unused": len(content["annotations"]) - int(visible.sum()),
    }
    return Choice(labeled, visible, complete=not hidden.any(), facts=facts)


def _boxes(entries: list[dict[str, Any]], file: Path, images: pd.DataFrame) -> pd.DataFrame:
    """box_id, image_id, category and corners, clipped to the size of the image."""
    ids = {
        key: _ids(entries, name, "annotations", file)
        for key, name in (("box_id", "id"), ("image_id", "image_id"), ("category", "category_id"))
    }
    boxes = [e.get("bbox") for e in entries]
    try:
        xywh = np.array(boxes, dtype=np.float64).reshape(-1, 4)
        bad = ids["box_id"][~np.isfinite(xywh).all(1)] if len(xywh) == len(boxes) else ids["box_id"][:1]
    except (ValueError, TypeError):
        bad = ids["box_id"][[not (isinstance(b, list) and len(b) == 4) for b in boxes]]
        bad = bad if len(bad) else ids["box_id"][:1]
    _refuse(file, bad, "annotations have a bbox that is not four finite numbers")
    at = positions(images.image_id.to_numpy(), ids["image_id"])  # -1: refused later
    size = images[["width", "height"]].to_numpy(np.float64)[at] if len(images) else np.zeros((len(at), 2))
    corners = {
        name: np.clip(value, 0, size[:, axis])
        for name, value, axis in (
            ("x1", xywh[:, 0], 0),
            ("y1", xywh[:, 1], 1),
            ("x2", xywh[:, 0] + xywh[:, 2], 0),
            ("y2", xywh[:, 1] + xywh[:, 3], 1),
        )
    }
    return pd.DataFrame({**ids, **corners})


def _twin(boxes: pd.DataFrame, truth: pd.DataFrame, tolerance: float) -> np.ndarray:
    """(n,) int64, position in `truth` of a box of the same image, class and place; -1 where there is none."""
    found = np.full(len(boxes), -1)
    near = truth.assign(row=np.arange(len(truth)))[truth.image_id.isin(boxes.image_id).to_numpy()]
    asked = boxes.assign(asked=np.arange(len(boxes)))
    both = asked.merge(near, on=["image_id", "label"], suffixes=("", "_true"))
    same = both[_apart(both, both[[f"{c}_true" for c in XYXY]].set_axis(XYXY, axis=1)) <= tolerance]
    found[same.asked.to_numpy()] = same.row.to_numpy()
    return found


def _apart(boxes: pd.DataFrame, true: pd.DataFrame) -> np.ndarray:
    """(n,) float64, pixels by which the corners of two boxes differ at most."""
    return np.abs(boxes[XYXY].to_numpy(np.float64) - true[XYXY].to_numpy(np.float64)).max(1, initial=0)


def _part(content: Any, name: str, file: Path) -> list[dict[str, Any]]:
    entries = content.get(name) if isinstance(content, dict) else None
    if not isinstance(entries, list) or not all(isinstance(e, dict) for e in entries):
        raise BadInput(f"{file}: has no list `{name}` of objects; it must be a COCO instances file")
    return entries


def _ids(entries: list[dict[str, Any]], key: str, part: str, file: Path) -> np.ndarray:
    values = [e.get(key) for e in entries]
    wrong = [v for v in values if isinstance(v, bool) or not isinstance(v, int) or abs(v) >= 2**62]
    if wrong:
        example = repr(wrong[0])[:40]
        raise BadInput(f"{file}: `{key}` of {len(wrong)} `{part}` is no whole number, e.g. {example}; correct it")
    ids = np.array(values, dtype=np.int64)
    if key == "id" and len(np.unique(ids)) != len(ids):
        raise BadInput(f"{file}: `id` of {len(ids) - len(np.unique(ids))} `{part}` is used twice; give each its own")
    return ids


def _refuse(file: Path, ids: Iterable[int], what: str) -> None:
    wrong = [int(i) for i in ids]
    if wrong:
        raise BadInput(
            f"{file}: {len(wrong)} {what}, e.g. id {', '.join(map(str, wrong[:5]))}; "
            "use the file that was made from this data set"
        )
