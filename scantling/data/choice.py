"""What a protocol chooses from, and what it gives back.

A protocol is a class of parameters and a function (Truth, parameters, fold) -> Choice; protocols.py lists them.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal, Self

import numpy as np
import pandas as pd

from scantling.data.index import XYXY, Index
from scantling.params import Params
from scantling.stage import BadInput


class ProtocolParams(Params):
    """What every protocol asks.

    allow_missing_class  False refuses a split in which a class of the training images keeps no box
    voc_difficult        drop: objects marked difficult are hidden before the draw; keep: they count like others
    """

    protocol: str
    allow_missing_class: bool
    voc_difficult: Literal["drop", "keep"] = "drop"


@dataclass(frozen=True)
class Truth:
    """The images a split is made of and the boxes it may keep; crowds and boxes without area are out already.

    images    (I,) int64, ids of subsets train and unlabeled, in the order of the index
    in_train  (I,) bool, which of them are of subset train
    boxes     box_id, image_id, label and `row`, the position in index.boxes; in the order of the index
    of_train  (N,) bool, which boxes lie in an image of subset train
    dropped   boxes left aside before anything is drawn: crowd, without_area, difficult
    """

    index: Index
    images: np.ndarray
    in_train: np.ndarray
    boxes: pd.DataFrame
    of_train: np.ndarray
    dropped: dict[str, int]

    @classmethod
    def of(cls, index: Index, *, difficult: bool) -> Self:
        """`difficult`: whether boxes marked so count like others."""
        assert index.boxes is not None, "a split is made from the truth"
        chosen = index.images.subset.isin(["train", "unlabeled"]).to_numpy()
        images = index.images.image_id.to_numpy()[chosen]
        in_train = (index.images.subset == "train").to_numpy()[chosen]
        if not in_train.any():
            raise BadInput(
                f"{index.name}: has no image in subset train; name one under `subsets` in its data parameters"
            )
        boxes = index.boxes
        corners = {name: boxes[name].to_numpy() for name in XYXY}
        at = positions(images, boxes.image_id.to_numpy())
        usable = at >= 0
        dropped = {}
        for what, out in (
            ("crowd", boxes.crowd.to_numpy()),
            (
                "without_area",
                ~((corners["x2"] > corners["x1"]) & (corners["y2"] > corners["y1"])),
            ),
            ("difficult", boxes.difficult.to_numpy() & (not difficult)),
        ):
            dropped[what] = int((usable & out).sum())
            usable &= ~out
        row = np.flatnonzero(usable)
        columns = {name: boxes[name].to_numpy()[row] for name in ("box_id", "image_id", "label")}
        return cls(index, images, in_train, pd.DataFrame({**columns, "row": row}), in_train[at[row]], dropped)

    @property
    def train(self) -> np.ndarray:
        """Ids of the images of subset train, in the order of the index."""
        return self.images[self.in_train]

    @property
    def train_boxes(self) -> pd.DataFrame:
        return self.boxes if self.of_train.all() else self.boxes[self.of_train]


@dataclass(frozen=True)
class Choice:
    """What a protocol chose.

    labeled   ids of the labeled images
    visible   (N,) bool, which boxes of the Truth are kept; only such of labeled images
    complete  whether every object of a labeled image has its box: if not, background may hold hidden objects
    facts     what else split.json is to say
    left_out  ids of images that are no part of the split at all
    """

    labeled: np.ndarray
    visible: np.ndarray
    complete: bool
    facts: dict[str, Any] = field(default_factory=dict)
    left_out: np.ndarray = field(default_factory=lambda: np.empty(0, dtype=np.int64))


def whole(truth: Truth, labeled: np.ndarray, **more: Any) -> Choice:
    """These images with all their boxes, nothing of the others."""
    return Choice(labeled, truth.boxes.image_id.isin(labeled).to_numpy(copy=True), complete=True, **more)


def positions(ids: np.ndarray, wanted: np.ndarray) -> np.ndarray:
    """(N,) int64, where in `ids` (unique, any order) each wanted id stands; -1 where it does not."""
    if not len(ids):
        return np.full(len(wanted), -1)
    order = np.argsort(ids, kind="stable")
    at = order[np.minimum(np.searchsorted(ids[order], wanted), len(ids) - 1)]
    return np.where(ids[at] == wanted, at, -1)


def floor_share(percent: float, total: int) -> int:
    """floor(total * percent / 100) in whole numbers (of a percentage with up to six decimals)."""
    return total * round(percent * 10**6) // 10**8
