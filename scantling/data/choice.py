"""What a protocol chooses from, and what it gives back.

A protocol is a class of parameters and a function (Truth, parameters, fold) -> Choice; protocols.py lists them.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Literal, Self

import numpy as np

from scantling.data import split
from scantling.data.index import BOX_COLUMNS, XYXY, Index
from scantling.data.order import grouped
from scantling.params import Params
from scantling.stage import BadInput

TABLE = 16  # a table of all numbers up to the largest id is used if it has at most so many cells for each id


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

    images    (I,) int64, ids of subsets train and unlabeled, ascending
    in_train  (I,) bool, which of them are of subset train
    box_id, label, at, row   (N,) of each box, by ascending image and box id: `at` is the place of its image in
              `images`, `row` its own in index.boxes
    rows      (M,) places in index.boxes of all boxes of these images, in the same order
    dropped   boxes left aside before anything is drawn: crowd, without_area, difficult
    """

    index: Index
    images: np.ndarray
    in_train: np.ndarray
    box_id: np.ndarray
    label: np.ndarray
    at: np.ndarray
    row: np.ndarray
    rows: np.ndarray
    dropped: dict[str, int]

    @classmethod
    def of(cls, index: Index, *, difficult: bool) -> Self:
        """`difficult`: whether boxes marked so count like others."""
        assert index.boxes is not None, "a split is made from the truth"
        subset = index.images.subset
        images = np.sort(index.images.image_id.to_numpy()[subset.isin(["train", "unlabeled"]).to_numpy()])
        in_train = mask(images, index.images.image_id.to_numpy()[(subset == "train").to_numpy()])
        if not in_train.any():
            raise BadInput(
                f"{index.name}: has no image in subset train; label some, or name one under `subsets` in its data "
                "parameters"
            )
        boxes = {name: index.boxes[name].to_numpy() for name in ("box_id", "label", "crowd", "difficult", *XYXY)}
        at = positions(images, index.boxes.image_id.to_numpy())
        rows = np.argsort(boxes["box_id"])
        rows = rows[at[rows] >= 0]
        rows = rows[grouped(np.arange(len(rows)), at[rows])[0]]
        usable, dropped = np.ones(len(rows), dtype=bool), {}
        flat = ~((boxes["x2"] > boxes["x1"]) & (boxes["y2"] > boxes["y1"]))
        for what, out in (
            ("crowd", boxes["crowd"]),
            ("without_area", flat),
            ("difficult", boxes["difficult"] & (not difficult)),
        ):
            dropped[what] = int((usable & out[rows]).sum())
            usable &= ~out[rows]
        row = rows[usable]
        return cls(index, images, in_train, boxes["box_id"][row], boxes["label"][row], at[row], row, rows, dropped)

    @cached_property
    def sha256(self) -> str:
        """Of what splits are made of: classes, and the images and boxes of subsets train and unlabeled, by id."""
        images, boxes = self.index.images, self.index.boxes
        assert boxes is not None
        seen = hashlib.sha256("\n".join(self.index.classes).encode())
        place = positions(images.image_id.to_numpy(), self.images)
        split.update(seen, "in_train", self.in_train)
        for name in ("image_id", "file_name", "width", "height"):
            split.update(seen, name, images[name].to_numpy()[place])
        for name in BOX_COLUMNS:
            split.update(seen, name, boxes[name].to_numpy()[self.rows])
        return seen.hexdigest()

    @property
    def train(self) -> np.ndarray:
        """Ids of the images of subset train, ascending."""
        return self.images[self.in_train]

    @property
    def of_train(self) -> np.ndarray:
        """(N,) bool, which boxes lie in an image of subset train."""
        return self.in_train[self.at]

    def boxes_of(self, images: np.ndarray) -> np.ndarray:
        """(N,) bool, which boxes lie in images with these ids."""
        return mask(self.images, images)[self.at]


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
    return Choice(labeled, truth.boxes_of(labeled), **{"complete": True, **more})


def positions(ids: np.ndarray, wanted: np.ndarray) -> np.ndarray:
    """(N,) int64, where in `ids` (unique, any order) each wanted id stands; -1 where it does not."""
    most = int(ids.max(initial=0))
    if ids.min(initial=0) >= 0 and most < TABLE * (len(ids) + len(wanted)):
        table = np.full(most + 2, -1)
        table[ids] = np.arange(len(ids))
        return table[np.where((wanted >= 0) & (wanted <= most), wanted, most + 1)]
    if not len(ids):
        return np.full(len(wanted), -1)
    order = np.argsort(ids)
    at = order[np.minimum(np.searchsorted(ids, wanted, sorter=order), len(ids) - 1)]
    return np.where(ids[at] == wanted, at, -1)


def mask(ids: np.ndarray, chosen: np.ndarray) -> np.ndarray:
    """(I,) bool, which of `ids` are among `chosen`, all of which occur."""
    found = np.zeros(len(ids), dtype=bool)
    found[positions(ids, chosen)] = True
    return found


def floor_share(percent: float, total: int) -> int:
    """floor(total * percent / 100) in whole numbers (of a percentage with up to six decimals)."""
    return total * round(percent * 10**6) // 10**8
