"""Labels drawn or corrected by hand after the machine made its own: a COCO file whose images win over everything else.

An image of the file is from then on as good as labeled: its boxes are all there are in it, none at all included.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from scantling.data.index import FAR, XYXY, Index, table
from scantling.data.split import SPLIT_COLUMNS
from scantling.stage import BadInput

COLUMNS = {"image_id": "int64", "label": "int32", **dict.fromkeys(XYXY, "float32")}  # label -1: an image without boxes


def load(file: Path, index: Index) -> pd.DataFrame:
    """Boxes of the corrected images, COLUMNS; one row of label -1 for an image without any. Raises BadInput.

    Images are found by file name or the end of its path, or by id where the file gives no name; classes by name; boxes
    are clipped. Only images that training may use are accepted: a correction must not move the test set into training.
    """
    content = _open(file)
    if any(a.get("proposed") for a in content["annotations"]):
        raise BadInput(
            f"{file}: has boxes that a machine proposed and nobody accepted; name what python -m scantling.corrections "
            "makes of it"
        )
    if not content["images"]:
        return table([], COLUMNS)
    ids = _image_ids(content["images"], index, file)
    labels = _labels(content["categories"], index, file)
    rows = [_row(a, ids, labels, file) for a in content["annotations"] if not a.get("iscrowd")]  # nothing to learn
    boxes = table(rows, COLUMNS)
    size = index.images.set_index("image_id").loc[boxes["image_id"], ["width", "height"]].to_numpy("float32")
    boxes[XYXY] = np.clip(boxes[XYXY].to_numpy(), 0, np.tile(size, 2))
    boxes = boxes[(boxes["x2"] > boxes["x1"]) & (boxes["y2"] > boxes["y1"])]
    bare = sorted(set(ids.values()) - set(boxes["image_id"]))
    empty = table([{"image_id": i, "label": -1, **dict.fromkeys(XYXY, np.nan)} for i in bare], COLUMNS)
    return pd.concat([boxes, empty], ignore_index=True).sort_values("image_id", kind="stable", ignore_index=True)


def replaced(refined: pd.DataFrame, corrected: pd.DataFrame) -> pd.DataFrame:
    """A refined table in which the corrected images have the corrected boxes only, sure in every respect."""
    rows = corrected.assign(score=np.float32(1), refined_score=np.float32(1), weight=np.float32(1), spread=np.nan)
    rows = rows.assign(source="corrected", class_probability=np.float32(1), ignore=False, refined_label=rows["label"])
    rows = rows.assign(**{f"refined_{name}": rows[name] for name in XYXY})
    rows = rows.assign(**dict.fromkeys(("for_objectness", "for_class", "for_box"), rows["label"] >= 0))
    kept = refined[~refined["image_id"].isin(corrected["image_id"])]
    joined = pd.concat([kept, rows.reindex(columns=refined.columns)], ignore_index=True) if len(rows) else kept
    return joined.astype(refined.dtypes).sort_values("image_id", kind="stable", ignore_index=True)


def seen(split: pd.DataFrame, refined: pd.DataFrame) -> pd.DataFrame:
    """A split table in which the corrected images of a refined table are labeled, with the corrected boxes (id 0)."""
    corrected = refined[refined["source"] == "corrected"]
    if corrected.empty:
        return split
    rows = corrected[["image_id", "label", *XYXY]].assign(labeled=True, box_id=np.minimum(corrected["label"], 0))
    kept = split[~split["image_id"].isin(corrected["image_id"])]
    return table(pd.concat([kept, rows], ignore_index=True), SPLIT_COLUMNS)


def _open(file: Path) -> dict[str, list[dict[str, Any]]]:
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise BadInput(f"{file}: corrections cannot be read ({error}); export them as COCO JSON again") from None
    for part in ("images", "annotations", "categories"):
        entries = content.get(part) if isinstance(content, dict) else None
        if not isinstance(entries, list) or not all(isinstance(e, dict) for e in entries):
            raise BadInput(f"{file}: `{part}` is not a list of objects; corrections must be a COCO instances file")
    return content


def _image_ids(entries: list[dict[str, Any]], index: Index, file: Path) -> dict[Any, int]:
    """Image id in the file -> image id of the index."""
    usable = index.images["subset"].isin(["train", "unlabeled"])
    known = set(index.images["image_id"][usable])
    find = finder(index)
    found: dict[Any, int] = {}
    taken: set[int] = set()
    for entry in entries:
        name = entry.get("file_name")
        image = entry.get("id") if name is None else find(name) if isinstance(name, str) else None
        shown = f"image {name or entry.get('id')!r}"
        if isinstance(image, bool) or not isinstance(image, int) or image not in known:
            raise BadInput(
                f"{file}: {shown} is none of the training images of {index.name}; name it as images.parquet does, or "
                "take it out"
            )
        if image in taken:
            raise BadInput(f"{file}: {shown} is listed twice; leave one of them")
        taken.add(image)
        found[_key(entry.get("id"))] = image
    return found


def finder(index: Index) -> Callable[[str], int | None]:
    """Name of an image in another tool -> its id: the whole path, else the only one of which the one is the other's
    end, for tools leave out folders or add some. The images of all subsets count: a name must not lead elsewhere.
    """
    ids = dict(zip(index.images["file_name"], index.images["image_id"].astype(int), strict=True))
    by_last: dict[str, list[str]] = {}
    for known in ids:
        by_last.setdefault(known.rpartition("/")[2], []).append(known)

    def find(name: str) -> int | None:
        for exact in (name, f"images/{name}"):  # our own exports leave out that folder
            if exact in ids:
                return ids[exact]
        near = by_last.get(name.rpartition("/")[2], [])
        fits = [known for known in near if known.endswith(f"/{name}") or name.endswith(f"/{known}")]
        return ids[fits[0]] if len(fits) == 1 else None

    return find


def _labels(entries: list[dict[str, Any]], index: Index, file: Path) -> dict[Any, int]:
    """Category id in the file -> label."""
    unknown = sorted(str(e.get("name")) for e in entries if e.get("name") not in index.classes)
    if unknown:
        raise BadInput(
            f"{file}: class {unknown[0]!r} is none of {index.name}'s ({', '.join(index.classes[:20])}); rename it"
        )
    return {_key(e.get("id")): index.classes.index(e["name"]) for e in entries}


def _row(entry: dict[str, Any], ids: dict[Any, int], labels: dict[Any, int], file: Path) -> dict[str, Any]:
    image, label, box = (entry.get(k) for k in ("image_id", "category_id", "bbox"))
    if _key(image) not in ids or _key(label) not in labels:
        raise BadInput(
            f"{file}: annotation {entry.get('id')!r} has image_id {image!r} and category_id {label!r}; both must be "
            "listed under `images` and `categories`"
        )
    numbers = isinstance(box, list) and len(box) == 4 and all(isinstance(v, int | float) for v in box)
    if not numbers or not all(abs(v) < FAR for v in box):  # NaN is not
        raise BadInput(
            f"{file}: annotation {entry.get('id')!r} has bbox {box!r}; write [x, y, width, height] in pixels"
        )
    x, y, width, height = map(float, box)
    corners = {"x1": x, "y1": y, "x2": x + width, "y2": y + height}
    return {"image_id": ids[_key(image)], "label": labels[_key(label)], **corners}


def _key(value: Any) -> str:
    """Ids as text: whatever kind of value a file uses, lists included, can be looked up."""
    return repr(value)
