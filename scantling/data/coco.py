"""Reads data sets in COCO form: one JSON file per subset with `images`, `annotations`, `categories`."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas as pd
from pydantic import Field

from scantling.data.index import BOX_COLUMNS, table
from scantling.data.problems import Findings
from scantling.data.source import SOURCE_COLUMNS, Source, SourceParams
from scantling.stage import BadInput


class CocoParams(SourceParams):
    """`subsets`: subset name -> JSON file below `root`; `images`: folder below `root`, for all or by subset name."""

    format: Literal["coco"] = "coco"
    subsets: dict[str, str] = Field(min_length=1)
    images: str | dict[str, str] = "images"


def read(params: CocoParams, found: Findings) -> Source:
    """All subsets as one table of images and one of boxes, rows in the order of the files.

    Labels are 0..C-1 by ascending category id. Ids are kept if they are unique over the files; otherwise ALL image
    ids (or all annotation ids) are renumbered 1, 2, 3, ... in the order of the subsets and of the entries in them.
    """
    root = Path(params.root)
    contents = {subset: _open(root / file) for subset, file in params.subsets.items()}
    categories = _categories({root / params.subsets[s]: content for s, content in contents.items()})
    images, boxes = [], []
    for subset, content in contents.items():
        file = root / params.subsets[subset]
        folder = params.images if isinstance(params.images, str) else params.images.get(subset, "images")
        images.append(_images(content["images"], file, subset, folder))
        boxes.append(_boxes(content["annotations"], file, images[-1], categories))
    _renumber(images, boxes, params, found)
    return Source(
        name=params.name,
        format=params.format,
        root=params.root,
        files=tuple(params.subsets.values()),
        classes=tuple(categories.values()),
        category_ids=tuple(categories),
        images=pd.concat(images, ignore_index=True),
        boxes=pd.concat(boxes, ignore_index=True),
    ).tidy()


def _open(file: Path) -> dict[str, list[dict[str, Any]]]:
    if not file.is_file():
        raise BadInput(f"{file}: there is no such annotation file; correct `root` or `subsets` in the data parameters")
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
    except ValueError as error:
        raise BadInput(f"{file}: not valid JSON ({error}); export the annotations again") from None
    if not isinstance(content, dict) or not isinstance(content.get("images"), list):
        raise BadInput(f"{file}: has no list `images`; it must be a COCO instances file")
    for part in ("images", "annotations", "categories"):
        entries = content.setdefault(part, [])  # a file of unlabeled images may leave out the other two
        if not isinstance(entries, list) or not all(isinstance(e, dict) for e in entries):
            raise BadInput(f"{file}: `{part}` is not a list of objects; it must be a COCO instances file")
    return content


def _categories(contents: dict[Path, dict[str, list[dict[str, Any]]]]) -> dict[int, str]:
    """id -> name, ascending; the same in every file that has annotations or categories."""
    first: tuple[Path, dict[int, str]] | None = None
    for file, content in contents.items():
        listed = content["categories"]
        _whole_ids(_column(listed, "id", file, "categories"), file, "category")
        found = {int(c["id"]): str(c.get("name", c["id"])) for c in listed}
        twice = [str(k) for k, n in Counter(int(c["id"]) for c in listed).items() if n > 1]
        twice += [repr(k) for k, n in Counter(found.values()).items() if n > 1]
        if twice:
            raise BadInput(f"{file}: categories listed twice: {_some(twice)}; give every class one id and one name")
        if not found and not content["annotations"]:
            continue
        if first is None:
            first = (file, found)
        elif found != first[1]:
            here, there = (sorted(f"{k}={v}" for k, v in a.items() if b.get(k) != v) for a, b in _both(found, first[1]))
            raise BadInput(
                f"{file}: class list differs from that of {first[0].name}: here {_some(here) or 'nothing more'}, "
                f"there {_some(there) or 'nothing more'}; write the same `categories` into both files"
            )
    if first is None or not first[1]:
        raise BadInput(f"{next(iter(contents))}: `categories` is empty; list at least one class")
    return dict(sorted(first[1].items()))


def _both(a: Any, b: Any) -> list[tuple[Any, Any]]:
    return [(a, b), (b, a)]


def _images(entries: list[dict[str, Any]], file: Path, subset: str, folder: str) -> pd.DataFrame:
    ids = _whole_ids(_column(entries, "id", file, "images"), file, "image")
    _refuse_twice(ids, file, "image")
    names = _column(entries, "file_name", file, "images")
    return table(
        pd.DataFrame(
            {
                "image_id": ids,
                "subset": subset,
                "file_name": [f"{folder}/{name}" if folder not in ("", ".") else str(name) for name in names],
                "width": [int(e.get("width") or 0) for e in entries],
                "height": [int(e.get("height") or 0) for e in entries],
            }
        ),
        SOURCE_COLUMNS,
    )


def _boxes(entries: list[dict[str, Any]], file: Path, images: pd.DataFrame, categories: dict[int, str]) -> pd.DataFrame:
    ids = _whole_ids(_column(entries, "id", file, "annotations"), file, "annotation")
    _refuse_twice(ids, file, "annotation")
    image_ids = _whole_ids(_column(entries, "image_id", file, "annotations"), file, "image_id")
    lost = ~np.isin(image_ids, images.image_id.to_numpy())
    if lost.any():
        raise BadInput(
            f"{file}: {lost.sum()} annotations belong to no image of the file, e.g. annotation {_some(ids[lost])} "
            f"with image_id {_some(image_ids[lost])}; add these images or remove the annotations"
        )
    classes = _whole_ids(_column(entries, "category_id", file, "annotations"), file, "category_id")
    known = np.array(list(categories))
    unknown = ~np.isin(classes, known)
    if unknown.any():
        raise BadInput(
            f"{file}: {unknown.sum()} annotations have an unknown category, e.g. annotation {_some(ids[unknown])} with "
            f"category_id {_some(np.unique(classes[unknown]))}; add it to `categories` or correct the annotations"
        )
    xywh = _corners(_column(entries, "bbox", file, "annotations"), ids, file)
    areas = [np.nan if e.get("area") is None else e["area"] for e in entries]  # check.py fills those not published
    return table(
        pd.DataFrame(
            {
                "box_id": ids,
                "image_id": image_ids,
                "label": np.searchsorted(known, classes),
                "x1": xywh[:, 0],
                "y1": xywh[:, 1],
                "x2": xywh[:, 0] + xywh[:, 2],
                "y2": xywh[:, 1] + xywh[:, 3],
                "area": areas,
                "crowd": [bool(e.get("iscrowd", 0)) for e in entries],
                "difficult": [bool(e.get("difficult", 0)) for e in entries],
            }
        ),
        BOX_COLUMNS,
    )


def _corners(boxes: list[Any], ids: np.ndarray, file: Path) -> np.ndarray:
    """(N, 4) float64 x, y, width, height; finite."""
    try:
        xywh = np.array(boxes, dtype=np.float64).reshape(-1, 4)
        bad = ids[~np.isfinite(xywh).all(1)] if len(xywh) == len(ids) else ids
    except (ValueError, TypeError):
        bad = np.array([i for i, box in zip(ids, boxes, strict=True) if not _is_box(box)])
    if len(bad):
        example = boxes[list(ids).index(bad[0])]
        raise BadInput(
            f"{file}: {len(bad)} annotations have a bbox that is not four finite numbers, e.g. annotation "
            f"{_some(bad)} with {example!r}; write [x, y, width, height] in pixels"
        )
    return xywh


def _is_box(box: Any) -> bool:
    numbers = isinstance(box, list) and len(box) == 4 and all(isinstance(v, int | float) for v in box)
    return numbers and all(np.isfinite(v) for v in box)


def _renumber(images: list[pd.DataFrame], boxes: list[pd.DataFrame], params: CocoParams, found: Findings) -> None:
    """Make ids unique over the files, in place."""
    if pd.concat(images).image_id.duplicated().any():
        start = 1
        for i, frame in enumerate(images):
            fresh = pd.Series(np.arange(start, start + len(frame)), index=frame.image_id.to_numpy())
            boxes[i] = boxes[i].assign(image_id=boxes[i].image_id.map(fresh).to_numpy())
            images[i] = frame.assign(image_id=fresh.to_numpy())
            start += len(frame)
        found.add("renumbered_ids", [f"image ids of {file}" for file in params.subsets.values()])
    if pd.concat(boxes).box_id.duplicated().any():
        start = 1
        for i, frame in enumerate(boxes):
            boxes[i] = frame.assign(box_id=np.arange(start, start + len(frame)))
            start += len(frame)
        found.add("renumbered_ids", [f"annotation ids of {file}" for file in params.subsets.values()])


def _column(entries: list[dict[str, Any]], key: str, file: Path, part: str) -> list[Any]:
    try:
        return [entry[key] for entry in entries]
    except KeyError:
        which = next(i for i, entry in enumerate(entries) if key not in entry)
        raise BadInput(f"{file}: entry {which} of `{part}` has no `{key}`; add it") from None


def _whole_ids(ids: list[Any], file: Path, what: str) -> np.ndarray:
    wrong = [i for i in ids if isinstance(i, bool) or not isinstance(i, int)]
    if wrong:
        raise BadInput(f"{file}: {what} ids must be whole numbers, found {_some(map(repr, wrong))}; renumber them")
    return np.array(ids, dtype=np.int64)


def _refuse_twice(ids: np.ndarray, file: Path, what: str) -> None:
    values, counts = np.unique(ids, return_counts=True)
    if (counts > 1).any():
        raise BadInput(
            f"{file}: {what} ids used more than once: {_some(values[counts > 1])}; give every {what} its own"
        )


def _some(values: Iterable[Any], limit: int = 5) -> str:
    shown = [str(v) for v in values]
    return ", ".join(shown[:limit]) + (f" and {len(shown) - limit} more" if len(shown) > limit else "")
