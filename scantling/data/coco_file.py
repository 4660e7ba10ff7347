"""One annotation file in COCO form as columns; polygons and everything else that is not used is dropped on the way."""

from __future__ import annotations

import re
from array import array
from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
import pandas as pd

from scantling.data import json_stream
from scantling.data.index import BOX_COLUMNS, XYXY
from scantling.data.problems import EXAMPLES
from scantling.stage import BadInput

IMAGES = {"image_id": "int64", "file_name": "str", "width": "int32", "height": "int32"}
BOXES = {"box_id": "int64", "image_id": "int64", "category_id": "int64"} | {
    name: dtype for name, dtype in BOX_COLUMNS.items() if name not in ("box_id", "image_id", "label")
}
IMAGE_CATEGORIES = {"image_id": "int64", "category_id": "int64", "kind": "str"}
INT32_MAX = 2**31 - 1
_CODES = {"int64": "q", "int32": "i", "float32": "f", "bool": "b"}
UNUSABLE = re.compile("[\x00-\x1f\x7f\ud800-\udfff]")


@dataclass
class CocoFile:
    """images: IMAGES; boxes: BOXES, which are index.BOX_COLUMNS with the category id for the label; image_categories:
    IMAGE_CATEGORIES; categories: id -> entry, in the order of the file; problems: kind -> how many, and the first few
    in words."""

    file: Path
    images: pd.DataFrame
    boxes: pd.DataFrame
    image_categories: pd.DataFrame
    categories: dict[int, dict[str, Any]]
    problems: dict[str, tuple[int, list[str]]] = field(default_factory=dict)

    def note(self, kind: str, examples: Sequence[str], count: int | None = None) -> None:
        known, shown = self.problems.get(kind, (0, []))
        count = len(examples) if count is None else count
        if count:
            self.problems[kind] = (known + count, [*shown, *examples][:EXAMPLES])


def read(
    file: Path,
    *,
    folder: str = "",
    name_key: str = "file_name",
    shorten: Callable[[str], str] | None = None,
    kinds: Mapping[str, str] | None = None,
    piece_bytes: int = json_stream.PIECE_BYTES,
) -> CocoFile:
    """The columns of `file`.

    An image's file name is `folder` / `shorten`(its `name_key`). `kinds`: key of an image entry that lists category
    ids -> kind in image_categories. Boxes that are not four finite numbers are counted and left out. Raises BadInput
    with entry and value for everything else that has not the type it must have.
    """
    images, boxes, listed = (_Columns(dtypes) for dtypes in (IMAGES, BOXES, IMAGE_CATEGORIES))
    categories: dict[int, dict[str, Any]] = {}
    content = CocoFile(file, pd.DataFrame(), pd.DataFrame(), pd.DataFrame(), categories)
    found = set()
    wanted = ("images", "annotations", "categories")
    for part, first, entries in json_stream.lists(file, wanted, drop="segmentation", piece_bytes=piece_bytes):
        found.add(part)
        batch = _Batch(file, part, first, entries)
        if part == "images":
            _add_images(batch, images, listed, folder, name_key, shorten, kinds or {})
        elif part == "annotations":
            _add_boxes(batch, boxes, content)
        else:
            _add_categories(batch, categories)
    if "images" not in found:
        raise BadInput(f"{file}: has no list `images`; it must be a COCO instances file")
    _refuse_twice(file, categories)
    content.images, content.boxes, content.image_categories = images.table(), boxes.table(), listed.table()
    return content


class _Columns:
    """A table that grows by batches; numbers lie in arrays that the machine can make longer without copying them."""

    def __init__(self, dtypes: dict[str, str]) -> None:
        self.dtypes = dtypes
        self.columns = {name: [] if dtype == "str" else array(_CODES[dtype]) for name, dtype in dtypes.items()}

    def add(self, **values: np.ndarray | list[str]) -> None:
        for name, fresh in values.items():
            column = self.columns[name]
            if isinstance(column, list):
                column += fresh
            else:
                column.frombytes(np.asarray(fresh, dtype=self.dtypes[name]).tobytes())

    def table(self) -> pd.DataFrame:
        """What was added; without a copy of the numbers."""
        return pd.DataFrame(
            {
                name: pd.Series(column, dtype="str") if dtype == "str" else np.asarray(column).view(dtype)
                for (name, dtype), column in zip(self.dtypes.items(), self.columns.values(), strict=True)
            },
            copy=False,
        )


@dataclass(frozen=True)
class _Batch:
    """Entries of one list of a file; `first` is the number of the first."""

    file: Path
    part: str
    first: int
    entries: list[Any]

    def __post_init__(self) -> None:
        if not set(map(type, self.entries)) <= {dict}:
            where = next(i for i, e in enumerate(self.entries) if not isinstance(e, dict))
            raise BadInput(
                f"{self.file}: `{self.part}` is not a list of objects (entry {self.first + where} is "
                f"{_short(self.entries[where])}); it must be a COCO instances file"
            )

    def column(self, key: str) -> list[Any]:
        try:
            return [entry[key] for entry in self.entries]
        except KeyError:
            where = next(i for i, entry in enumerate(self.entries) if key not in entry)
            raise BadInput(f"{self.file}: entry {self.first + where} of `{self.part}` has no `{key}`; add it") from None

    def optional(self, key: str) -> list[Any]:
        return [entry.get(key) for entry in self.entries]

    def whole(self, key: str) -> np.ndarray:
        """int64; no text, no fraction, no truth value."""
        values = self.column(key)
        if not set(map(type, values)) <= {int}:
            self.refuse(key, values, lambda v: type(v) is int, "a whole number")
        try:
            return np.array(values, dtype=np.int64)
        except OverflowError:
            self.refuse(key, values, lambda v: -(2**63) <= v < 2**63, "a whole number of at most 64 bits")

    def pixels(self, key: str) -> np.ndarray:
        """int32, 0 where nothing is said."""
        values = [0 if v is None else v for v in self.optional(key)]
        if float in set(map(type, values)):  # 640.0
            values = [int(v) if type(v) is float and v.is_integer() else v for v in values]
        if not set(map(type, values)) <= {int} or not all(0 <= v <= INT32_MAX for v in values):
            self.refuse(key, values, _is_pixels, "a whole number of pixels")
        return np.array(values, dtype=np.int32)

    def areas(self) -> np.ndarray:
        """float32, NaN where none is published: the check fills it."""
        values = [np.nan if v is None else v for v in self.optional("area")]
        if not set(map(type, values)) <= {int, float}:
            self.refuse("area", values, lambda v: type(v) in (int, float), "a number")
        try:
            areas = np.array(values, dtype=np.float64)
        except OverflowError:
            self.refuse("area", values, lambda v: abs(v) < 1e300, "a number of pixels")
        areas[~(np.abs(areas) < np.finfo(np.float32).max)] = np.nan
        return areas.astype(np.float32)

    def flags(self, key: str) -> np.ndarray:
        """bool, False where nothing is said."""
        values = self.optional(key)
        try:
            valid = set(values) <= {None, 0, 1}
        except TypeError:  # a list or an object
            valid = False
        if not valid:
            self.refuse(key, values, lambda v: v is None or (isinstance(v, int | float) and v in (0, 1)), "0 or 1")
        return np.array([v == 1 for v in values], dtype=bool)

    def texts(self, key: str) -> list[str]:
        values = self.column(key)
        if not set(map(type, values)) <= {str} or not all(map(_is_name, values)):
            self.refuse(
                key,
                values,
                lambda v: type(v) is str and _is_name(v),
                "a text without control characters",
            )
        return values

    def refuse(self, key: str, values: list[Any], is_right: Callable[[Any], bool], wanted: str) -> NoReturn:
        where = next(i for i, v in enumerate(values) if not is_right(v))
        raise BadInput(
            f"{self.file}: entry {self.first + where} of `{self.part}`: `{key}` must be {wanted}, found "
            f"{_short(values[where])}; correct it"
        )


def _add_images(
    batch: _Batch,
    images: _Columns,
    listed: _Columns,
    folder: str,
    name_key: str,
    shorten: Callable[[str], str] | None,
    kinds: Mapping[str, str],
) -> None:
    ids = batch.whole("id")
    names = batch.texts(name_key)
    if not all(name[-1] != "/" for name in names):
        batch.refuse(name_key, names, lambda name: name[-1] != "/", "the path of a file")
    if shorten:
        names = list(map(shorten, names))
    if folder not in ("", "."):
        names = [f"{folder}/{name}" for name in names]
    images.add(image_id=ids, file_name=names, width=batch.pixels("width"), height=batch.pixels("height"))
    for key, kind in kinds.items():
        lists = [entry.get(key) or [] for entry in batch.entries]
        if not set(map(type, lists)) <= {list} or not set(map(type, chain.from_iterable(lists))) <= {int}:
            batch.refuse(key, lists, _is_ids, "a list of category ids")
        try:
            category_ids = np.array(list(chain.from_iterable(lists)), dtype=np.int64)
        except OverflowError:
            batch.refuse(key, lists, lambda ids: all(abs(i) < 2**63 for i in ids), "a list of category ids")
        repeated = np.repeat(ids, [len(found) for found in lists])
        listed.add(image_id=repeated, category_id=category_ids, kind=[kind] * len(repeated))


def _add_boxes(batch: _Batch, boxes: _Columns, content: CocoFile) -> None:
    ids = batch.whole("id")
    corners, whole = _corners(batch.column("bbox"))
    columns = {
        "box_id": ids,
        "image_id": batch.whole("image_id"),
        "category_id": batch.whole("category_id"),
        "area": batch.areas(),
        "crowd": batch.flags("iscrowd"),
        "difficult": batch.flags("difficult"),
    } | dict(zip(XYXY, corners, strict=True))
    if not whole.all():
        wrong = np.flatnonzero(~whole)
        shown = [f"annotation {ids[i]} with {_short(batch.entries[i]['bbox'])}" for i in wrong[:EXAMPLES]]
        content.note("box_not_numbers", shown, len(wrong))
        columns = {name: values[whole] for name, values in columns.items()}
    boxes.add(**columns)


def _corners(boxes: list[Any]) -> tuple[np.ndarray, np.ndarray]:
    """x1, y1, x2, y2 float32 (4, N) of [x, y, width, height], and which are four finite numbers, bool (N,)."""
    whole = np.ones(len(boxes), dtype=bool)
    well_formed = (
        set(map(type, boxes)) <= {list}
        and set(map(len, boxes)) <= {4}
        and set(map(type, chain.from_iterable(boxes))) <= {int, float}
    )
    if not well_formed:
        whole = np.array([_is_box(box) for box in boxes], dtype=bool)
        boxes = [box if right else [0, 0, 0, 0] for box, right in zip(boxes, whole, strict=True)]
    try:
        xywh = np.array(boxes, dtype=np.float64).reshape(-1, 4)
    except OverflowError:  # a whole number beyond any float
        xywh = np.array([[float(v) if abs(v) < 1e300 else np.inf for v in box] for box in boxes], dtype=np.float64)
    x, y, w, h = xywh.T
    with np.errstate(over="ignore", invalid="ignore"):
        corners = np.stack([x, y, x + w, y + h]).astype(np.float32)
    return corners, whole & np.isfinite(corners).all(0)


def _add_categories(batch: _Batch, categories: dict[int, dict[str, Any]]) -> None:
    batch.whole("id")
    names = [entry.get("name", entry["id"]) for entry in batch.entries]
    if not all(type(name) is int or (type(name) is str and _is_name(name)) for name in names):
        batch.refuse("name", names, lambda v: type(v) is int or (type(v) is str and _is_name(v)), "a text")
    for entry, name in zip(batch.entries, names, strict=True):
        if entry["id"] in categories:
            raise BadInput(f"{batch.file}: categories listed twice: id {entry['id']}; give every class one id and name")
        categories[entry["id"]] = entry | {"name": str(name)}


def _refuse_twice(file: Path, categories: dict[int, dict[str, Any]]) -> None:
    twice = [repr(name) for name, n in Counter(c["name"] for c in categories.values()).items() if n > 1]
    if twice:
        raise BadInput(f"{file}: categories listed twice: {some(twice)}; give every class one id and one name")


def _is_box(box: Any) -> bool:
    return type(box) is list and len(box) == 4 and all(type(v) in (int, float) for v in box)


def _is_ids(found: Any) -> bool:
    return type(found) is list and all(type(v) is int for v in found)


def _is_name(text: str) -> bool:
    """Not empty, no control characters, and writable as UTF-8 (JSON may hold halves of surrogate pairs)."""
    return text != "" and not UNUSABLE.search(text)


def _is_pixels(value: Any) -> bool:
    return type(value) is int and 0 <= value <= INT32_MAX


def _short(value: Any) -> str:
    try:
        text = repr(value)
    except RecursionError:
        text = f"a deeply nested {type(value).__name__}"
    return text if len(text) <= 60 else f"{text[:57]}..."


def some(values: Collection[Any], limit: int = 5) -> str:
    """The first few in words."""
    shown = [str(v) for v in list(values)[:limit]]
    return ", ".join(shown) + (f" and {len(values) - limit} more" if len(values) > limit else "")
