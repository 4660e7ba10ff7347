"""Semi-supervised protocols: whole images are labeled, the others keep nothing."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal, Self

import numpy as np
from pydantic import Field, model_validator

from scantling.data import jsonfile
from scantling.data.choice import Choice, ProtocolParams, Truth, whole
from scantling.stage import BadInput


class AmountParams(ProtocolParams):
    """How many of the training images are labeled: a percentage, or a number."""

    percent: float | None = Field(None, gt=0, le=100)
    images: int | None = Field(None, ge=1)
    allow_missing_class: bool = True

    @model_validator(mode="after")
    def _one_amount(self) -> Self:
        if (self.percent is None) == (self.images is None):
            raise ValueError("give either `percent` or `images`")
        return self

    def wanted(self, total: int, name: str) -> int:
        """Number of images to label out of `total`: 1 to `total`, or BadInput."""
        wanted = int(self.percent / 100.0 * total) if self.percent is not None else int(self.images or 0)
        if not 0 < wanted <= total:
            given = f"percent {self.percent:g}" if self.percent is not None else f"images {self.images}"
            raise BadInput(f"{name}: {given} asks for {wanted} of its {total} training images; ask for 1 to {total}")
        return wanted


class PercentParams(AmountParams):
    """Drawn by NumPy's legacy generator, as published.

    rule  soft_teacher: without replacement, tools/dataset/semi_coco.py; stac: with replacement, so that fewer distinct
          images are labeled than were asked for (STAC's and OpenMMLab's scripts)
    """

    protocol: Literal["percent"]
    rule: Literal["soft_teacher", "stac"] = "soft_teacher"
    seed_offset: int = Field(0, ge=0)
    order: Literal["file", "id"] = "file"

    @model_validator(mode="after")
    def _no_offset_in_stac(self) -> Self:
        if self.rule == "stac" and self.seed_offset:
            raise ValueError("`seed_offset` belongs to rule soft_teacher; rule stac is seeded with the fold alone")
        return self


class FullParams(ProtocolParams):
    """Every box of every image of subset train is kept; images of subset unlabeled have none."""

    protocol: Literal["full"]
    allow_missing_class: bool = True


class ListParams(ProtocolParams):
    """Images of a published list {percent: {fold: [index, ...]}} (Unbiased Teacher, dataseed/COCO_supervision.txt).

    file           the list, JSON or gzipped JSON
    percent        which key of it; "1" means its key "1.0"
    of_images      how many images the list counts in; None: not known, only the length of the list is compared
    without_boxes  images without a box, which the list does not count: left_out of the split, or unlabeled
    """

    protocol: Literal["list"]
    file: str
    percent: float = Field(gt=0, le=100)
    of_images: int | None = Field(None, ge=1)
    without_boxes: Literal["left_out", "unlabeled"] = "left_out"
    allow_missing_class: bool = True


def percent(truth: Truth, params: PercentParams, fold: int) -> Choice:
    """The images that the authors' scripts draw."""
    of_file = truth.index.images
    images = truth.train if params.order == "id" else of_file.image_id[of_file.subset == "train"].to_numpy()
    drawn = draw(images, params, fold, truth.index.name)
    return whole(truth, drawn, facts={"seed": fold + params.seed_offset})


def full(truth: Truth, params: FullParams, fold: int) -> Choice:
    """All of subset train."""
    return whole(truth, truth.train)


def listed(truth: Truth, params: ListParams, fold: int) -> Choice:
    """The images on the list: indices into the images with a box that is no crowd, ascending by image id.

    Which fold of the list is read is the fold of the split. Images are counted before boxes without area or marked
    difficult are left aside, as the authors' loader does (detectron2).
    """
    boxes = truth.index.boxes
    assert boxes is not None
    counted = truth.train[np.isin(truth.train, boxes.image_id[~boxes.crowd])]
    indices = indices_of(jsonfile.read(Path(params.file), "name the list under `file`"), params, fold)
    what = f"{params.file}: percent {params.percent}, fold {fold}"
    n, name = len(counted), truth.index.name
    if params.of_images not in (None, n):
        raise BadInput(
            f"{params.file}: the list counts in {params.of_images} images with boxes (`of_images`), {name} has {n}; "
            "use the data set the list was made for, with no image or box taken out"
        )
    if len(indices) != int(params.percent / 100.0 * n) or indices.max(initial=-1) >= n:
        raise BadInput(
            f"{what}: lists {len(indices)} images up to number {indices.max(initial=-1)}, which does not fit the {n} "
            f"images with boxes of {name} ({int(params.percent / 100.0 * n)} wanted); use the data set it was made for"
        )
    if not len(indices):
        raise BadInput(f"{what}: lists no image; choose a larger percent")
    bare = np.setdiff1d(truth.train, counted)
    left_out = bare if params.without_boxes == "left_out" else bare[:0]
    return whole(truth, counted[indices], left_out=left_out, facts={"file_sha256": jsonfile.sha256(Path(params.file))})


def draw(image_ids: np.ndarray, params: PercentParams, fold: int, name: str) -> np.ndarray:
    """Ids of the labeled images, in the order drawn.

    soft_teacher  RandomState(fold + seed_offset) draws floor(percent / 100 * N) of the N images without replacement.
                  What is drawn is the start of one permutation, so with the same fold a smaller share lies within
                  every larger one.
    stac          the same number with replacement; each drawn image once
    """
    wanted = params.wanted(len(image_ids), name)
    if fold + params.seed_offset >= 2**32:
        raise BadInput(f"{name}: fold {fold} + seed_offset {params.seed_offset}: NumPy takes seeds below {2**32}")
    generator = np.random.RandomState(fold + params.seed_offset)
    drawn = generator.choice(len(image_ids), size=wanted, replace=params.rule == "stac")
    return image_ids[np.fromiter(dict.fromkeys(drawn.tolist()), dtype=np.int64)]


def indices_of(content: Any, params: ListParams, fold: int) -> np.ndarray:
    """(n,) int64, the list of a percent and a fold: distinct whole numbers >= 0."""
    shares = {_number(k): v for k, v in content.items()} if isinstance(content, dict) else {}
    folds, what = shares.get(params.percent), f"{params.file}: percent {params.percent:g}, fold {fold}"
    if not isinstance(folds, dict):
        known = ", ".join(f"{k:g}" for k in sorted(k for k in shares if k is not None))
        raise BadInput(f"{params.file}: has no list for percent {params.percent:g}; it has {known or 'none'}")
    indices = folds.get(str(fold))
    if not isinstance(indices, list):
        raise BadInput(f"{what} is not in the list; its folds are {', '.join(folds) or 'none'}")
    wrong = [i for i in indices if isinstance(i, bool) or not isinstance(i, int) or not 0 <= i < 2**62]
    if wrong or len(set(indices)) != len(indices):
        example = f"found {wrong[0]!r}" if wrong else "one is listed twice"
        raise BadInput(f"{what}: must be distinct whole numbers from 0 on, {example}")
    return np.array(indices, dtype=np.int64)


def _number(key: str) -> float | None:
    try:
        return float(key)
    except ValueError:
        return None
