"""Detections of a foreign model on a data set's images: a foundation model, another framework, last year's detector.

Its images and classes become those of the index, boxes are clipped to their images. Nothing is taken on trust: what
does not fit is refused with the value, for labels on the wrong image or of the wrong class look like bad labels.
"""

from __future__ import annotations

import difflib
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas as pd
from pydantic import Field

from scantling.data import foreign_file, jsonfile
from scantling.data.image_names import SEVERAL, ImageNames
from scantling.data.index import XYXY, Index
from scantling.params import Params
from scantling.params import read as read_yaml
from scantling.stage import BadInput


class ForeignParams(Params):
    """file         COCO results, or a COCO instances file whose annotations have scores; JSON, maybe gzipped
    categories   COCO file whose `categories` name the ids that `file` uses; None: those of `file`, else of the data set
    map_classes  its class (name, or id where no name is known) -> class here, null drops the boxes; classes not named
                 keep their name; or a YAML file of such lines
    image_id     what a number in `image_id` is: the id in images.parquet, or the number that the file is called (some
                 tools write 000139.jpg as 139); auto: either, an error where the two are different images
    other_images what to do with images that the data set does not have: error, or drop them
    outside_px   pixels by which a box may reach beyond its image before it is refused; None: any number
    """

    file: str
    categories: str | None = None
    map_classes: str | dict[int | str, str | None] = {}
    image_id: Literal["auto", "id", "file_name"] = "auto"
    other_images: Literal["error", "drop"] = "error"
    outside_px: float | None = Field(2.0, ge=0)


def read(params: ForeignParams, index: Index) -> tuple[pd.DataFrame, dict[str, Any]]:
    """Columns of scantling.pseudo.COLUMNS for images of any subset, and what became of the file.

    facts: file, sha256, detections, and how many were dropped and why: other_images, other_classes, without_area.
    """
    file = Path(params.file)
    found = foreign_file.read(file)
    image_of = _images(found, params, index)
    label_of = _labels(found, params, index)
    images = image_of[found.image] if len(image_of) else found.image
    labels = label_of[found.category] if len(label_of) else found.category
    row = pd.Series(np.arange(len(index.images)), index=index.images["image_id"].to_numpy())
    known, wanted = images >= 0, labels >= 0
    corners = np.hstack([found.boxes[:, :2], found.boxes[:, :2] + found.boxes[:, 2:]])
    size = np.zeros((len(images), 2))
    size[known] = index.images[["width", "height"]].to_numpy(np.float64)[row.loc[images[known]].to_numpy()]
    _refuse_outside(file, params, index, images, corners, size, known & wanted)
    clipped = np.clip(corners, 0, np.tile(size, 2))
    solid = (clipped[:, 2:] > clipped[:, :2]).all(axis=1)
    used = known & wanted & solid
    table = pd.DataFrame({"image_id": images[used], "label": labels[used], "score": found.scores[used]})
    table[XYXY] = clipped[used]
    table["spread"] = found.spread[used]
    table["class_probability"] = table["score"]  # such files tell no other
    return table, {
        "file": params.file,
        "sha256": jsonfile.sha256(file),
        "detections": len(images),
        "other_images": int((~known).sum()),
        "other_classes": int((known & ~wanted).sum()),
        "without_area": int((known & wanted & ~solid).sum()),
    }


def _images(found: foreign_file.Detections, params: ForeignParams, index: Index) -> np.ndarray:
    """Image id of the index for each of the file's images, -1 for one to drop."""
    names = ImageNames(index) if found.image_keys else None

    def one(key: int | str) -> int:
        assert names is not None
        said = found.image_names.get(key) if found.image_names else key
        image = names.named(said) if isinstance(said, str) else None
        if image is None and (isinstance(said, int) or (isinstance(said, str) and said.isdecimal() and len(said) < 19)):
            image = _by_number(int(said), names, params, index)
        if image == SEVERAL:
            raise BadInput(
                f"{params.file}: image {said!r} may be several of {index.name}; write names as images.parquet has them"
            )
        if image is None and params.other_images == "error":
            raise BadInput(
                f"{params.file}: image {key!r} is none of {index.name}; write ids or file names as images.parquet has "
                "them, or `other_images: drop`"
            )
        return -1 if image is None else image

    return np.array([one(key) for key in found.image_keys], dtype=np.int64)


def _by_number(number: int, names: ImageNames, params: ForeignParams, index: Index) -> int | None:
    by_id, by_name = names.with_id(number), names.numbered(number)
    if params.image_id == "id":
        return by_id
    if params.image_id == "file_name":
        return by_name
    if None not in (by_id, by_name) and by_name not in (by_id, SEVERAL):
        file = index.images.loc[index.images["image_id"] == by_id, "file_name"].iloc[0]
        raise BadInput(
            f"{params.file}: image_id {number} is the id of {file} in {index.name}, but another file is called "
            f"{number}; say which is meant, `image_id: id` or `image_id: file_name`"
        )
    return by_name if by_id is None else by_id


def _labels(found: foreign_file.Detections, params: ForeignParams, index: Index) -> np.ndarray:
    """Label for each of the file's categories, -1 for one to drop."""
    is_file = isinstance(params.map_classes, str)
    mapping: dict[Any, Any] = read_yaml(params.map_classes) if is_file else params.map_classes  # type: ignore[arg-type]
    where = params.map_classes if is_file else f"{params.file}: `map_classes`"
    names = foreign_file.read_categories(Path(params.categories)) if params.categories else found.category_names
    own = dict(zip(index.category_ids, index.classes, strict=True))
    for old, new in mapping.items():
        if new is not None and new not in index.classes:
            raise BadInput(f"{where}: {old!r} becomes {new!r}, no class of {index.name}{_near(new, index.classes)}")
        if names and old not in names and old not in names.values():
            raise BadInput(f"{where}: names {old!r}, no class of the foreign model{_near(old, names.values())}")

    def one(key: int | str) -> int:
        name = names.get(key, key if isinstance(key, str) else None)
        known_as = [k for k in (name, key) if k in mapping]
        if known_as:
            new = mapping[known_as[0]]
            return -1 if new is None else index.classes.index(new)
        if name is None and not names:
            name = own.get(key)  # type: ignore[arg-type]
        if name in index.classes:
            return index.classes.index(name)
        shown = f"category_id {key!r}" + (f" ({name})" if name not in (None, key) else "")
        there = ", ".join(f"{i} {c}" for i, c in list(own.items())[:20])
        raise BadInput(
            f"{params.file}: {shown} is no class of {index.name} ({there}){_near(name, index.classes)}; say under "
            "`map_classes` which class it is, or null"
        )

    return np.array([one(key) for key in found.category_keys], dtype=np.int64)


def _refuse_outside(
    file: Path,
    params: ForeignParams,
    index: Index,
    images: np.ndarray,
    corners: np.ndarray,
    size: np.ndarray,
    used: np.ndarray,
) -> None:
    if params.outside_px is None:
        return
    beyond = np.maximum(-corners, corners - np.tile(size, 2)).max(axis=1, initial=0)
    wrong = np.flatnonzero(used & (beyond > params.outside_px))
    if len(wrong):
        n = wrong[0]
        name = index.images.loc[index.images["image_id"] == images[n], "file_name"].iloc[0]
        box = [round(float(v), 2) for v in corners[n]]
        raise BadInput(
            f"{file}: detection {n}: box {box} (x1, y1, x2, y2) reaches {beyond[n]:.1f} px beyond {name} of "
            f"{size[n, 0]:.0f} x {size[n, 1]:.0f} px, one of {len(wrong)} such; boxes must be in pixels of the upright "
            "original image; if they are, raise `outside_px`, or null to clip them all"
        )


def _near(name: Any, names: Any) -> str:
    near = difflib.get_close_matches(str(name), [str(n) for n in names], 1)
    return f"; did you mean {near[0]!r}?" if near else ""
