"""Detections of any model, as columns: COCO results, or a COCO instances file whose annotations have scores."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NoReturn

import numpy as np

from scantling.data import json_stream
from scantling.stage import BadInput

MOST = 1e9  # no number of a detection is larger; float32 and pixels end long before


@dataclass
class Detections:
    """N detections in the order of the file.

    image, category   (N,) int64, places in image_keys and category_keys
    boxes   (N, 4) float64, x, y, width, height in pixels; width and height may be 0
    scores  (N,) float64, 0..1
    spread  (N,) float64, box spread as Soft Teacher defines it; NaN where the file has none
    image_keys, category_keys   what the file calls them: whole numbers, or text
    image_names, category_names  key -> file name, class; only what the file lists itself
    """

    image: np.ndarray
    category: np.ndarray
    boxes: np.ndarray
    scores: np.ndarray
    spread: np.ndarray
    image_keys: list[int | str]
    category_keys: list[int | str]
    image_names: dict[int | str, str] = field(default_factory=dict)
    category_names: dict[int | str, str] = field(default_factory=dict)


def read(file: Path) -> Detections:
    """A list [{image_id, category_id, bbox, score}, ...], or an object with it as `annotations` and maybe `images`
    [{id, file_name}] and `categories` [{id, name}]; plain or gzipped.

    An image is given by `image_id`, a whole number or a file name, or by `file_name`. `spread` may be there.
    Raises BadInput with the number of the entry and the value for what cannot be used.
    """
    if not file.is_file():
        raise BadInput(f"{file}: there is no such file; name the detections of the model under `file`")
    images: dict[int | str, int] = {}
    categories: dict[int | str, int] = {}
    names: dict[str, dict[int | str, str]] = {"images": {}, "categories": {}}
    parts: list[np.ndarray] = []
    for part, first, entries in json_stream.lists(
        file, ("annotations", "images", "categories"), drop="segmentation", bare="annotations"
    ):
        if part == "annotations":
            rows = [_row(file, first + n, entry, images, categories) for n, entry in enumerate(entries)]
            parts.append(np.array(rows, dtype=np.float64).reshape(-1, 8))
        else:
            key = {"images": "file_name", "categories": "name"}[part]
            names[part] |= dict(_named(file, part, first + n, entry, key) for n, entry in enumerate(entries))
    if not parts:
        raise BadInput(f"{file}: has no detections; it must be a list [{{...}}], or an object with `annotations`")
    table = np.concatenate(parts)
    return Detections(
        image=table[:, 0].astype(np.int64),
        category=table[:, 1].astype(np.int64),
        boxes=table[:, 2:6],
        scores=table[:, 6],
        spread=table[:, 7],
        image_keys=list(images),
        category_keys=list(categories),
        image_names=names["images"],
        category_names=names["categories"],
    )


def read_categories(file: Path) -> dict[int | str, str]:
    """category id -> name, from the list `categories` of any COCO file."""
    if not file.is_file():
        raise BadInput(f"{file}: there is no such file; name a COCO file with `categories` under `categories`")
    found: dict[int | str, str] = {}
    for part, first, entries in json_stream.lists(file, ("categories",)):
        found |= dict(_named(file, part, first + n, entry, "name") for n, entry in enumerate(entries))
    if not found:
        raise BadInput(f"{file}: lists no `categories`; name a COCO file that does")
    return found


def _row(
    file: Path, number: int, entry: Any, images: dict[int | str, int], categories: dict[int | str, int]
) -> tuple[float, ...]:
    """Codes of image and category, x, y, width, height, score, spread."""
    if type(entry) is not dict:
        _refuse(file, number, "entry", entry, "write {image_id, category_id, bbox, score}")
    image = entry.get("image_id", entry.get("file_name"))
    if type(image) not in (int, str):
        _refuse(file, number, "image_id", image, "write the id or the file name of an image")
    category = entry.get("category_id")
    if type(category) not in (int, str):
        _refuse(file, number, "category_id", category, "write the id of a category")
    box, score = entry.get("bbox"), entry.get("score")
    if type(box) is not list or len(box) != 4 or not all(map(_is_number, box)) or box[2] < 0 or box[3] < 0:
        _refuse(file, number, "bbox", box, "write [x, y, width, height] in pixels, width and height not below 0")
    if not _is_number(score) or not 0 <= score <= 1:
        _refuse(file, number, "score", score, "write a number from 0 to 1")
    spread = entry.get("spread", np.nan)
    if "spread" in entry and (not _is_number(spread) or spread < 0):
        _refuse(file, number, "spread", spread, "write a number not below 0, or leave it out")
    codes = images.setdefault(image, len(images)), categories.setdefault(category, len(categories))
    return *codes, *box, score, spread


def _named(file: Path, part: str, number: int, entry: Any, key: str) -> tuple[int | str, str]:
    known = entry if type(entry) is dict else {}
    if type(known.get("id")) not in (int, str) or type(known.get(key)) is not str:
        raise BadInput(f"{file}: entry {number} of `{part}` is {_short(entry)}; it must have `id` and `{key}`")
    return known["id"], known[key]


def _is_number(value: Any) -> bool:
    return type(value) in (int, float) and abs(value) < MOST  # NaN and infinity are not


def _refuse(file: Path, number: int, key: str, value: Any, remedy: str) -> NoReturn:
    raise BadInput(f"{file}: detection {number}: `{key}` = {_short(value)}; {remedy}")


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 80 else f"{text[:77]}..."
