"""Average precision as COCO defines it, computed by pycocotools: the twelve numbers and the same per class."""

from __future__ import annotations

import contextlib
import io
from dataclasses import dataclass

import numpy as np
import pandas as pd
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from scantling.data.index import XYXY, Index
from scantling.evaluate import accumulation, tested

NAMES = ("AP", "AP50", "AP75", "APs", "APm", "APl", "AR1", "AR10", "AR100", "ARs", "ARm", "ARl")
PER_CLASS_COLUMNS = ("class", "AP", "AP50", "AR100", "boxes")


@dataclass(frozen=True)
class Result:
    """numbers    the twelve COCO numbers by name, fractions 0..1, None where no box of that kind exists
    per_class  one row per class in the order of the index: class, AP, AP50, AR100 (fractions, NaN without boxes),
               boxes (those that count: neither crowd nor difficult)
    """

    numbers: dict[str, float | None]
    per_class: pd.DataFrame


def evaluate(index: Index, subset: str, detections: tested.Found) -> Result:
    """Compare `detections` with the truth of the images in `subset`.

    Size classes use the published `area`. Crowd boxes follow COCO's rule (any number of detections may lie in one).
    Difficult boxes are ignored: the detection that matches one is neither right nor wrong.
    Raises BadInput for a subset without images, an unknown image or label, and numbers that are not finite.
    """
    tested.check(index, subset, detections)

    def made(part: Index, rows: pd.DataFrame) -> COCOeval:
        images, classes = part.images["image_id"].to_numpy(), len(index.classes)
        truth = truth_of(images, classes, part.boxes)
        return Evaluation(truth, found_of(images, classes, rows), ignored_of(part.boxes))

    run = accumulation.run(index, subset, detections, made)
    with contextlib.redirect_stdout(io.StringIO()):  # pycocotools prints its progress
        run.summarize()
    numbers = {name: _defined(value) for name, value in zip(NAMES, run.stats, strict=True)}
    return Result(numbers, per_class(index, tested.boxes_of(index, subset), run))


class Evaluation(COCOeval):
    """COCOeval that also ignores boxes by id; as published it overwrites every `ignore` flag with `iscrowd`."""

    def __init__(self, truth: COCO, found: COCO, ignored: np.ndarray):
        super().__init__(truth, found, "bbox")
        self._ignored = set(ignored.tolist())

    def _prepare(self) -> None:
        super()._prepare()
        for boxes in self._gts.values():
            for box in boxes:
                box["ignore"] = bool(box["ignore"]) or box["id"] in self._ignored


def ignored_of(boxes: pd.DataFrame) -> np.ndarray:
    """Ids in `truth_of` of the boxes that are ignored besides crowds."""
    return np.flatnonzero(boxes["difficult"]) + 1


def truth_of(images: np.ndarray, classes: int, boxes: pd.DataFrame) -> COCO:
    """Rows of index.boxes as pycocotools wants them."""
    area, crowd = boxes["area"].to_numpy(), boxes["crowd"].to_numpy()
    return _coco(images, classes, boxes, area=area, crowd=crowd, score=np.ones(len(boxes)))


def found_of(images: np.ndarray, classes: int, detections: pd.DataFrame) -> COCO:
    """Detections as pycocotools wants them."""
    sides = detections[["x2", "y2"]].to_numpy(np.float64) - detections[["x1", "y1"]].to_numpy(np.float64)
    crowd, score = np.zeros(len(detections), dtype=bool), detections["score"].to_numpy()
    return _coco(images, classes, detections, area=sides.prod(axis=1), crowd=crowd, score=score)


def _coco(
    images: np.ndarray, classes: int, rows: pd.DataFrame, *, area: np.ndarray, crowd: np.ndarray, score: np.ndarray
) -> COCO:
    """The rows as pycocotools wants them. Ids start at 1: it takes the id 0 for "not matched"."""
    corners = rows[XYXY].to_numpy(np.float64)
    bbox = np.hstack([corners[:, :2], corners[:, 2:] - corners[:, :2]])
    columns = (rows["image_id"].to_numpy(), rows["label"].to_numpy() + 1, bbox, area, crowd.astype(int), score)
    names = ("image_id", "category_id", "bbox", "area", "iscrowd", "score")
    values = zip(*(column.tolist() for column in columns), strict=True)
    coco = COCO()
    coco.dataset = {
        "images": [{"id": i} for i in images.tolist()],
        "categories": [{"id": c + 1} for c in range(classes)],
        "annotations": [{"id": n, **dict(zip(names, row, strict=True))} for n, row in enumerate(values, start=1)],
    }
    coco.createIndex()
    return coco


def per_class(index: Index, boxes: pd.DataFrame, run: COCOeval) -> pd.DataFrame:
    """One row per class, from COCOeval's precision [T, R, K, A, M] and recall [T, K, A, M]: all areas, last limit."""
    precision, recall = run.eval["precision"][:, :, :, 0, -1], run.eval["recall"][:, :, 0, -1]
    counted = boxes[~boxes["crowd"] & ~boxes["difficult"]]
    per_class = {
        "class": list(index.classes),
        "AP": [mean(precision[:, :, k]) for k in range(len(index.classes))],
        "AP50": [mean(precision[0, :, k]) for k in range(len(index.classes))],
        "AR100": [mean(recall[:, k]) for k in range(len(index.classes))],
        "boxes": np.bincount(counted["label"], minlength=len(index.classes)),
    }
    return pd.DataFrame(per_class, columns=list(PER_CLASS_COLUMNS))


def mean(values: np.ndarray) -> float:
    """Mean of the defined entries (pycocotools marks the others -1), NaN without any."""
    defined = values[values > -1]
    return float(defined.mean()) if defined.size else float("nan")


def _defined(value: float) -> float | None:
    return None if value < 0 else float(value)
