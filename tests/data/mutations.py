"""Broken copies of a text file, the same ones every time, and what must hold of whatever is read from one."""

from __future__ import annotations

import copy
import json
import random
from collections.abc import Iterator
from typing import Any

import numpy as np
import pandas as pd

from scantling.data.index import BOX_COLUMNS, IMAGE_LABEL_COLUMNS, XYXY
from scantling.data.source import SOURCE_COLUMNS, Source

NASTY = [
    None, True, False, 0, -1, 1.5, 2**31, 2**63, -(2**63), 10**400, 1e308, float("nan"), float("inf"), "",
    "1", "x" * 70, "../../etc/passwd", "nul\0", "half \ud800", [], [None], [[[[]]]], [1, 2, 3], {}, {"id": 1},
    {"bbox": [1, 2, 3, 4]},
]  # fmt: skip


def damaged(content: bytes, count: int, seed: int = 0) -> Iterator[bytes]:
    """`count` copies: cut short, bytes changed, a slice removed, repeated, moved or filled with noise."""
    draw = random.Random(seed)
    for _ in range(count):
        data = bytearray(content)
        low, high = sorted(draw.randrange(len(data)) for _ in range(2))
        high = min(high, low + draw.choice([1, 3, 30, 300, len(data)]))
        match draw.randrange(6):
            case 0:
                del data[low:]
            case 1:
                for _ in range(draw.choice([1, 2, 20])):
                    data[draw.randrange(len(data))] = draw.randrange(256)
            case 2:
                del data[low:high]
            case 3:
                data[low:low] = data[low:high]
            case 4:
                piece = data[low:high]
                del data[low:high]
                at = draw.randrange(len(data) + 1)
                data[at:at] = piece
            case 5:
                data[low:high] = draw.choices(b'{}[]",:0123456789eE.-ntf \\u', k=high - low)
        yield bytes(data)


def distorted(content: Any, count: int, seed: int = 0) -> Iterator[Any]:
    """`count` copies of a JSON value: one to three values in them replaced by nasty ones, removed, or repeated."""
    draw = random.Random(seed)
    for _ in range(count):
        fresh = copy.deepcopy(content)
        for _ in range(draw.choice([1, 1, 1, 2, 3])):
            places = list(_places(fresh))
            holder, key = draw.choice(places)
            match draw.randrange(6):
                case 0:
                    del holder[key]
                case 1 if isinstance(holder, list):
                    holder.append(copy.deepcopy(holder[key]))
                case _:
                    holder[key] = copy.deepcopy(draw.choice(NASTY))
        yield fresh


def broken_json(content: Any, count: int, seed: int = 0) -> Iterator[bytes]:
    """`count` broken files made of a JSON value, half of them broken as text, half broken as values."""
    text = json.dumps(content).encode()
    yield from damaged(text, count // 2, seed)
    for fresh in distorted(content, count - count // 2, seed):
        yield json.dumps(fresh).encode()


def assert_trustworthy(source: Source) -> None:
    """A source that was read, from whatever file: no half of it, and nothing that a later stage would stumble over."""
    images, boxes, listed = source.images, source.boxes, source.image_labels
    for rows, columns in ((images, SOURCE_COLUMNS), (boxes, BOX_COLUMNS), (listed, IMAGE_LABEL_COLUMNS)):
        assert {name: str(kind) for name, kind in rows.dtypes.items()} == columns
        assert list(rows.columns) == list(columns) and rows.index.equals(pd.RangeIndex(len(rows)))
    assert images.image_id.is_unique and boxes.box_id.is_unique
    assert set(boxes.image_id) | set(listed.image_id) <= set(images.image_id)
    for labels in (boxes.label, listed.label):
        assert labels.between(0, len(source.classes) - 1).all()
    assert np.isfinite(boxes[XYXY].to_numpy()).all()
    assert (images[["width", "height"]].to_numpy() >= 0).all()
    assert len(set(source.classes)) == len(source.classes) == len(source.category_ids) > 0
    for name in (*images.file_name, *source.classes):
        assert name.encode() and "\0" not in name and "\n" not in name
    assert not images.file_name.str.endswith("/").any()


def _places(value: Any) -> Iterator[tuple[Any, Any]]:
    """(holder, key) of everything within a JSON value."""
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, inner in list(items):
        yield value, key
        yield from _places(inner)
