"""Which labels training may see: the kept boxes of every training image, and what was hidden, counted.

split.parquet  one row per kept box; one row with box_id -1, label -1 and NaN corners for an image that keeps none
               columns SPLIT_COLUMNS; crowd and difficult boxes are never kept
"""

from __future__ import annotations

import difflib
import hashlib
from pathlib import Path
from typing import Any, Literal, Self

import numpy as np
import pandas as pd
from pydantic import Field, model_validator

from scantling import log
from scantling.data import sparse
from scantling.data.index import XYXY, Index, table
from scantling.params import Params, ParamsError, check, read
from scantling.stage import BadInput

SPLIT_COLUMNS = {
    "image_id": "int64",
    "labeled": "bool",
    "box_id": "int64",
    "label": "int32",
    "x1": "float32",
    "y1": "float32",
    "x2": "float32",
    "y2": "float32",
}


class PercentParams(Params):
    """Whole images are labeled: a percentage or a number of the training images; the others keep nothing."""

    protocol: Literal["percent"]
    percent: float | None = Field(None, gt=0, le=100)
    images: int | None = Field(None, ge=1)
    seed_offset: int = Field(0, ge=0)
    order: Literal["file", "id"] = "file"
    allow_missing_class: bool = True

    @model_validator(mode="after")
    def _one_amount(self) -> Self:
        if (self.percent is None) == (self.images is None):
            raise ValueError("give either `percent` or `images`")
        return self


class FullParams(Params):
    """Every box of every training image is kept."""

    protocol: Literal["full"]
    allow_missing_class: bool = True


PROTOCOLS: dict[str, type[Params]] = {
    "percent": PercentParams,
    "full": FullParams,
    "drop_dataset": sparse.DropParams,
    "drop_category": sparse.DropParams,
    "drop_image_category": sparse.DropParams,
    "missing_50p": sparse.Missing50Params,
    "easy": sparse.EasyHardParams,
    "hard": sparse.EasyHardParams,
    "extreme": sparse.ExtremeParams,
    "keep1": sparse.Keep1Params,
}


class SplitParams(Params):
    """What a file in params/splits/ says; loading gives the parameters of the protocol it names."""

    protocol: str
    allow_missing_class: bool

    @classmethod
    def load(cls, spec: str | Path) -> Any:
        content = read(spec)
        name = str(content.get("protocol"))
        if name not in PROTOCOLS:
            near = difflib.get_close_matches(name, PROTOCOLS, 1)
            remedy = f"did you mean `{near[0]}`?" if near else f"known: {', '.join(PROTOCOLS)}"
            raise ParamsError(f"{spec}: `protocol` = {name!r} is unknown; {remedy}")
        return check(PROTOCOLS[name], content, spec)


def make(index: Index, params: Any, fold: int) -> tuple[pd.DataFrame, dict[str, Any]]:
    """The split table and the facts for split.json. `fold` (>= 0) is the seed of the draw."""
    if fold < 0:
        raise BadInput(f"--fold {fold}: must not be negative; give 0, 1, 2, ...")
    assert index.boxes is not None, "a split is made from the truth"
    train = index.images[index.images.subset == "train"]
    if train.empty:
        raise BadInput(f"{index.name}: has no image in subset train; name one under `subsets` in its data parameters")
    images = index.images[index.images.subset.isin(["train", "unlabeled"])]
    boxes = index.boxes[index.boxes.image_id.isin(train.image_id) & ~index.boxes.crowd & ~index.boxes.difficult]

    labeled_ids = train.image_id.to_numpy()
    if isinstance(params, PercentParams):
        labeled_ids = draw(labeled_ids if params.order == "file" else np.sort(labeled_ids), params, fold, index.name)
    visible = boxes.image_id.isin(labeled_ids).to_numpy()
    if isinstance(params, sparse.AnySparse):
        visible = visible & sparse.keep(boxes, params, fold)
    kept = boxes[visible]

    facts = _facts(index, params, fold, images, labeled_ids, boxes.label, kept.label)
    _refuse(index.name, params, facts)
    rows = _rows(images, labeled_ids, kept)
    return rows, facts | {"sha256": content_hash(rows)}


def load(folder: Path) -> pd.DataFrame:
    """The split table of a folder written by the stage."""
    return table(pd.read_parquet(folder / "split.parquet"), SPLIT_COLUMNS)


def draw(image_ids: np.ndarray, params: PercentParams, fold: int, name: str) -> np.ndarray:
    """Ids of the labeled images, in the order drawn.

    Rule of Soft Teacher's tools/dataset/semi_coco.py with seed offset 0: NumPy's legacy generator, seeded with the
    fold, draws floor(percent / 100 * N) of the N images in file order without replacement. What is drawn is the
    start of one permutation, so with the same fold a smaller share lies within every larger one.
    """
    total = len(image_ids)
    wanted = int(params.percent / 100.0 * total) if params.percent is not None else int(params.images or 0)
    if not 0 < wanted <= total:
        given = f"percent {params.percent:g}" if params.percent is not None else f"images {params.images}"
        raise BadInput(f"{name}: {given} asks for {wanted} of its {total} training images; ask for 1 to {total}")
    generator = np.random.RandomState(fold + params.seed_offset)
    return image_ids[generator.choice(total, size=wanted, replace=False)]


def content_hash(rows: pd.DataFrame) -> str:
    """SHA-256 of the values of a split table: of every column the name and its bytes, rows sorted by id."""
    ordered = table(rows, SPLIT_COLUMNS).sort_values(["image_id", "box_id"], kind="stable")
    seen = hashlib.sha256()
    for column in SPLIT_COLUMNS:
        values = ordered[column].to_numpy()
        if values.dtype.kind == "f":
            values = np.where(np.isnan(values), np.float32("nan"), values)  # one NaN pattern
        seen.update(column.encode())
        seen.update(np.ascontiguousarray(values.astype(values.dtype.newbyteorder("<"))).tobytes())
    return seen.hexdigest()


def _rows(images: pd.DataFrame, labeled_ids: np.ndarray, kept: pd.DataFrame) -> pd.DataFrame:
    """Rows in the order of the images, boxes of an image in the order of the index."""
    bare = images.loc[~images.image_id.isin(kept.image_id), ["image_id"]].assign(
        box_id=-1, label=-1, **dict.fromkeys(XYXY, np.nan)
    )
    rows = pd.concat([kept[["image_id", "box_id", "label", *XYXY]], bare], ignore_index=True)
    rows["labeled"] = rows.image_id.isin(labeled_ids)
    order = np.argsort(pd.Index(images.image_id).get_indexer(rows.image_id), kind="stable")
    return table(rows.iloc[order], SPLIT_COLUMNS)


def _facts(
    index: Index,
    params: Any,
    fold: int,
    images: pd.DataFrame,
    labeled_ids: np.ndarray,
    all_labels: pd.Series,
    kept_labels: pd.Series,
) -> dict[str, Any]:
    kept = np.bincount(kept_labels, minlength=len(index.classes))
    hidden = np.bincount(all_labels, minlength=len(index.classes)) - kept
    return {
        "data": index.name,
        "protocol": params.protocol,
        "params": params.resolved(),
        "fold": fold,
        # whether every object of a labeled image has its box: False means that background may hold hidden objects
        "complete": not isinstance(params, sparse.AnySparse),
        "classes": list(index.classes),
        "counts": {
            "images": len(images),
            "labeled": len(labeled_ids),
            "unlabeled": len(images) - len(labeled_ids),
            "kept": int(kept.sum()),
            "hidden": int(hidden.sum()),
        },
        "per_class": {
            name: {"kept": int(k), "hidden": int(h)} for name, k, h in zip(index.classes, kept, hidden, strict=True)
        },
    }


def _refuse(name: str, params: Any, facts: dict[str, Any]) -> None:
    what = f"{name}: protocol {params.protocol}, fold {facts['fold']}"
    if facts["counts"]["kept"] == 0:
        raise BadInput(
            f"{what} keeps no labeled box of {facts['counts']['hidden']}; label more images or keep more boxes"
        )
    missing = [c for c, n in facts["per_class"].items() if n["kept"] == 0 and n["hidden"] > 0]
    if missing and not params.allow_missing_class:
        raise BadInput(
            f"{what} keeps no box of class {', '.join(missing)}; keep more or set `allow_missing_class: true`"
        )
    if missing:
        log.line(f"warning: {what} keeps no box of class {', '.join(missing)}; it cannot be learned")
