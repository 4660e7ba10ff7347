"""Sparse annotation: protocols that hide single boxes and leave every image in training.

Random order is that of order.py, by the hash of (seed, protocol, box id): what a lower share hides, a higher one hides
too. The protocols' authors publish files, no generators (but for keep1): splits made here are equivalent to theirs,
never identical. Definitions and roundings: docs/splits.md.
"""

from __future__ import annotations

from typing import Literal

import numpy as np
from pydantic import Field

from scantling.data.choice import Choice, ProtocolParams, Truth
from scantling.data.order import hash_order, rank


class SparseParams(ProtocolParams):
    """A class that loses its last box is refused unless allowed."""

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
    """`k` boxes per class and image are kept (SIOD, arXiv 2203.15353, has 1): the first of the file, or random ones."""

    protocol: Literal["keep1"]
    k: int = Field(1, ge=1)
    select: Literal["first", "random"] = "first"


AnySparse = DropParams | Missing50Params | EasyHardParams | ExtremeParams | Keep1Params


def choose(truth: Truth, params: AnySparse, fold: int) -> Choice:
    """Every image of subset train is labeled, with some of its boxes. `fold` is the seed."""
    return Choice(truth.train, within(truth, truth.of_train, params, fold), complete=False)


def within(truth: Truth, seen: np.ndarray, params: AnySparse, fold: int) -> np.ndarray:
    """(N,) bool, which of the boxes in the mask `seen` stay visible; the others count for nothing."""
    columns = (truth.box_id, truth.at, truth.label, truth.row)
    if seen.all():
        return keep(*columns, params, fold)
    visible = np.zeros(len(seen), dtype=bool)
    visible[seen] = keep(*(column[seen] for column in columns), params, fold)
    return visible


def keep(
    box_id: np.ndarray, image: np.ndarray, label: np.ndarray, row: np.ndarray, params: AnySparse, seed: int
) -> np.ndarray:
    """(N,) bool, which of N boxes (no crowds) stay visible.

    image  numbers 0..I-1 of the images;  label  0..C-1;  row  numbers that ascend in the order of the file
    """
    pair = image.astype(np.int64) * (int(label.max(initial=0)) + 1) + label
    if isinstance(params, Keep1Params):
        first = params.select == "first"
        return rank(np.argsort(row) if first else hash_order(box_id, "keep1", seed), pair)[0] < params.k

    order = hash_order(box_id, params.protocol, seed)
    match params:
        case DropParams(protocol="drop_dataset", percent=p):
            return _without(order[: len(order) * p // 100], len(order))
        case DropParams(protocol="drop_category", percent=p):
            place, n = rank(order, label)
            return place >= np.minimum(n * p // 100, n - 1)
        case DropParams(percent=p):
            place, n = rank(order, pair)
            kept = np.maximum(1, (2 * n * (100 - p) + 100) // 200)  # halves are rounded up
            return place >= n - kept
        case Missing50Params(unit="dataset"):
            return _without(order[: len(order) // 2], len(order))
        case Missing50Params():
            place, n = rank(order, label)
            return place >= n // 2
        case EasyHardParams(guard=guard):
            n = np.bincount(image)[image]
            wanted = np.minimum(1, n - 1) if params.protocol == "easy" else n // 2
            if guard == "image":
                return rank(order, image)[0] >= wanted
            spared = rank(order, pair)[0] == 0
            return spared | (rank(order, image * 2 + spared)[0] >= wanted)
        case ExtremeParams():
            return rank(order, image)[0] == 0


def _without(hidden: np.ndarray, n: int) -> np.ndarray:
    """(n,) bool, all but these."""
    visible = np.ones(n, dtype=bool)
    visible[hidden] = False
    return visible
