"""Sparse annotation: protocols that hide single boxes and leave every image in training.

Random order is that of order.py, by the hash of (seed, protocol, box id): what a lower share hides, a higher one hides
too. The protocols' authors publish files, no generators (but for keep1): splits made here are equivalent to theirs,
never identical. Definitions and roundings: docs/splits.md.
"""

from __future__ import annotations

from typing import Literal

import numpy as np
import pandas as pd
from pydantic import Field

from scantling.data.choice import Choice, ProtocolParams, Truth
from scantling.data.order import hash_order, rank, size


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
    """One box per class and image is kept (SIOD, arXiv 2203.15353): the first of the file, or a random one."""

    protocol: Literal["keep1"]
    select: Literal["first", "random"] = "first"


AnySparse = DropParams | Missing50Params | EasyHardParams | ExtremeParams | Keep1Params


def choose(truth: Truth, params: AnySparse, fold: int) -> Choice:
    """Every image of subset train is labeled, with some of its boxes. `fold` is the seed."""
    visible = truth.of_train.copy()
    visible[visible] = keep(truth.train_boxes, params, fold)
    return Choice(truth.train, visible, complete=False)


def keep(boxes: pd.DataFrame, params: AnySparse, seed: int) -> np.ndarray:
    """(N,) bool, which of the boxes (columns box_id, image_id, label; no crowds; in file order) stay visible."""
    image, label = boxes.image_id.to_numpy(), boxes.label.to_numpy()
    if isinstance(params, Keep1Params) and params.select == "first":
        return ~boxes.duplicated(["image_id", "label"]).to_numpy()

    order = hash_order(boxes.box_id.to_numpy(), params.protocol, seed)
    match params:
        case DropParams(protocol="drop_dataset", percent=p):
            return rank(order) >= len(boxes) * p // 100
        case DropParams(protocol="drop_category", percent=p):
            n = size(label)
            return rank(order, label) >= np.minimum(n * p // 100, n - 1)
        case DropParams(percent=p):
            n = size(image, label)
            kept = np.maximum(1, (2 * n * (100 - p) + 100) // 200)  # halves are rounded up
            return rank(order, image, label) >= n - kept
        case Missing50Params(unit="dataset"):
            return rank(order) >= len(boxes) // 2
        case Missing50Params():
            return rank(order, label) >= size(label) // 2
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
