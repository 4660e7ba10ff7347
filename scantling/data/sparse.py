"""Sparse annotation: protocols that hide single boxes and leave every image in training.

Random order is the order of SHA-256("seed|protocol|box id"), so a choice depends on nothing but these three: not on
the order of the rows, on the other images or on the number of processes. The share is not part of the hash: what a
lower share hides, a higher one hides too. The protocols' authors publish files, no generators: splits made here are
equivalent to theirs, never identical.
"""

from __future__ import annotations

import hashlib
from typing import Literal

import numpy as np
import pandas as pd
from pydantic import Field

from scantling.params import Params


class SparseParams(Params):
    """`allow_missing_class`: False refuses a split in which a class of the training images keeps no box."""

    allow_missing_class: bool = False


class DropParams(SparseParams):
    """`percent` of the boxes of the whole data set, of each class, or of each class in each image are hidden."""

    protocol: Literal["drop_dataset", "drop_category", "drop_image_category"]
    percent: int = Field(ge=0, le=99)


class Missing50Params(SparseParams):
    """Half of all boxes hidden (BRL, arXiv 2002.05274), drawn in each category or over the data set."""

    protocol: Literal["missing_50p"]
    unit: Literal["category", "dataset"] = "category"


class EasyHardParams(SparseParams):
    """easy hides one box per image, hard half of them, rounded down (Co-mining). `guard`: who keeps at least one."""

    protocol: Literal["easy", "hard"]
    guard: Literal["class", "image"] = "class"


class ExtremeParams(SparseParams):
    """Exactly one box per image is kept (Co-mining)."""

    protocol: Literal["extreme"]


class Keep1Params(SparseParams):
    """One box per class and image is kept (SIOD, arXiv 2203.15353): the first of the file, or a random one."""

    protocol: Literal["keep1"]
    select: Literal["first", "random"] = "first"


AnySparse = DropParams | Missing50Params | EasyHardParams | ExtremeParams | Keep1Params


def keep(boxes: pd.DataFrame, params: AnySparse, seed: int) -> np.ndarray:
    """(N,) bool, which of the boxes (columns box_id, image_id, label; no crowds; in file order) stay visible."""
    image, label = boxes.image_id.to_numpy(), boxes.label.to_numpy()
    one = np.zeros(len(boxes), dtype=np.int64)  # all boxes as one group
    if isinstance(params, Keep1Params) and params.select == "first":
        return ~boxes.duplicated(["image_id", "label"]).to_numpy()

    order = hash_order(boxes.box_id.to_numpy(), params.protocol, seed)
    match params:
        case DropParams(protocol="drop_dataset", percent=p):
            return rank(order, one) >= size(one) * p // 100
        case DropParams(protocol="drop_category", percent=p):
            n = size(label)
            return rank(order, label) >= np.minimum(n * p // 100, n - 1)
        case DropParams(percent=p):
            n = size(image, label)
            kept = np.maximum(1, (2 * n * (100 - p) + 100) // 200)  # halves are rounded up
            return rank(order, image, label) >= n - kept
        case Missing50Params(unit=unit):
            group = label if unit == "category" else one
            return rank(order, group) >= size(group) // 2
        case EasyHardParams(guard=guard):
            n = size(image)
            wanted = np.minimum(1, n - 1) if params.protocol == "easy" else n // 2
            if guard == "image":
                return rank(order, image) >= wanted
            spared = rank(order, image, label) == 0
            return spared | (rank(order, image, spared) >= wanted)
        case ExtremeParams():
            return rank(order, image) == 0
        case Keep1Params():
            return rank(order, image, label) == 0


def hash_order(box_ids: np.ndarray, protocol: str, seed: int) -> np.ndarray:
    """(N,) int64, indices that sort the boxes by the first 64 bits of their hash, ties by id."""
    start = hashlib.sha256(f"{seed}|{protocol}|".encode())

    def first_bits(box_id: int) -> bytes:
        seen = start.copy()
        seen.update(b"%d" % box_id)
        return seen.digest()[:8]

    bits = np.frombuffer(b"".join(map(first_bits, box_ids.tolist())), dtype=">u8")
    return np.lexsort((box_ids, bits))


def rank(order: np.ndarray, *groups: np.ndarray) -> np.ndarray:
    """(N,) int64, place 0, 1, ... of each box among the boxes of its group, in `order`."""
    sequence = np.lexsort((np.argsort(order), *groups))
    places = np.arange(len(order))
    starts = _borders([g[sequence] for g in groups])
    result = np.empty(len(order), dtype=np.int64)
    result[sequence] = places - np.maximum.accumulate(np.where(starts, places, 0))
    return result


def size(*groups: np.ndarray) -> np.ndarray:
    """(N,) int64, number of boxes in the group of each box."""
    sequence = np.lexsort(groups)
    starts = np.flatnonzero(_borders([g[sequence] for g in groups]))
    counts = np.diff(np.append(starts, len(sequence)))
    result = np.empty(len(sequence), dtype=np.int64)
    result[sequence] = np.repeat(counts, counts)
    return result


def _borders(groups: list[np.ndarray]) -> np.ndarray:
    """(N,) bool, where a new group starts in sorted values."""
    first = np.zeros(len(groups[0]), dtype=bool)
    first[:1] = True
    for values in groups:
        first[1:] |= values[1:] != values[:-1]
    return first
