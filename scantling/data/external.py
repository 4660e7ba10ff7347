"""An author's own annotation file says which boxes are kept (COCO JSON, plain or gzipped), if it is a part of the data.

Ids, images, classes and boxes must be those of the data set: a file that differs belongs to other data, and the split
would be something else than its name says.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Literal

import numpy as np
import pandas as pd
from pydantic import Field

from scantling.data import coco_file, jsonfile
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
    if not file.is_file():
        raise BadInput(f"{file}: there is no such file; name the author's annotation file under `file`")
    content = coco_file.read(file)
    for what, ids in (("images", content.images.image_id), ("annotations", content.boxes.box_id)):
        _refuse(file, ids[ids.duplicated()], f"{what} use the id of another one")
    for count, examples in content.problems.values():
        raise BadInput(f"{file}: {count} boxes are not four finite numbers, e.g. {examples[0]}; correct them")
    listed = np.sort(content.images.image_id.to_numpy())
    _refuse(file, listed[~np.isin(listed, truth.train)], f"images are not in subset train of {index.name}")

    boxes = _clipped(content.boxes[~content.boxes.crowd], index.images)
    boxes = boxes[(boxes.x2 > boxes.x1) & (boxes.y2 > boxes.y1)]
    _refuse(file, boxes.box_id[~boxes.image_id.isin(listed)], "annotations belong to no image of the file")
    label = positions(np.array(index.category_ids, dtype=np.int64), boxes.category_id.to_numpy())
    _refuse(file, boxes.box_id[label < 0], f"annotations have a category that {index.name} does not have")
    boxes = boxes.assign(label=label)

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
        "annotations": len(content.boxes),
        "repeated": int(repeated.sum()),
        "unused": len(content.boxes) - int(visible.sum()),
    }
    return Choice(labeled, visible, complete=not hidden.any(), facts=facts)


def _clipped(boxes: pd.DataFrame, images: pd.DataFrame) -> pd.DataFrame:
    """The boxes with their corners within their images, as prepare leaves them; those of unknown images as they are."""
    at = positions(images.image_id.to_numpy(), boxes.image_id.to_numpy())
    sizes = images[["width", "height"]].to_numpy(np.float32)[at]
    sizes[at < 0] = np.inf
    clipped = {name: np.clip(boxes[name].to_numpy(), 0, sizes[:, k % 2]) for k, name in enumerate(XYXY)}
    return boxes.assign(**clipped)


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
    """(n,) float32, pixels by which the corners of two boxes differ at most."""
    return np.abs(boxes[XYXY].to_numpy() - true[XYXY].to_numpy()).max(1, initial=0)


def _refuse(file: Path, ids: Iterable[int], what: str) -> None:
    wrong = [int(i) for i in ids]
    if wrong:
        raise BadInput(
            f"{file}: {len(wrong)} {what}, e.g. id {', '.join(map(str, wrong[:5]))}; "
            "use the file that was made from this data set"
        )
