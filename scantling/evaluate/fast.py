"""COCO's twelve numbers without pycocotools: equal to the last bit, many times faster, and by image for resampling.

The rules are those of pycocotools 2.0.11, cocoeval.py: a detection takes the free true box of its class and image it
overlaps most; true boxes that count come before ignored ones; only the best 100 of a class in an image are looked at.
What is found here is right, wrong or ignored once and for all, so numbers of resampled images need no second matching.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd

from scantling.data.index import Index
from scantling.evaluate import coco
from scantling.evaluate.coco import NAMES, PER_CLASS_COLUMNS, Result
from scantling.evaluate.matching import overlaps

THRESHOLDS = np.linspace(0.5, 0.95, 10)  # IoU from which on a detection is right
RECALLS = np.linspace(0.0, 1.0, 101)  # where precision is read off
AREAS = {"": (0.0, 1e10), "s": (0.0, 32.0**2), "m": (32.0**2, 96.0**2), "l": (96.0**2, 1e10)}  # square pixels
LIMIT = 100  # detections of one class in one image


@dataclass(frozen=True)
class Scene:
    """Detections and true boxes of some images, and which of them lie over each other.

    images  ids (B,), ascending; `image` below is a position in it
    found   columns image, label, score, area, rank (0 = best of its class and image), row (of the detections, by
            position); rows by label, best first
    true    columns image, label, area, ignored (crowd or difficult), crowd, row (of index.boxes, by position)
    starts  (C + 1,), the detections of class k are found[starts[k] : starts[k + 1]]
    pairs   (Q, 2) rows of found and of true, same class and image, overlap at least 0.5; overlap (Q,), IoU, or the part
            of the detection that lies in it for crowds
    """

    images: np.ndarray
    classes: int
    found: pd.DataFrame
    true: pd.DataFrame
    starts: np.ndarray
    pairs: np.ndarray
    overlap: np.ndarray


@dataclass(frozen=True)
class Matches:
    """What became of the P detections and G true boxes of a scene at T thresholds, boxes of some sizes counted.

    taken    (P, T) int32, the true box a detection has taken, -1 for none
    right    (P, T) bool, it is one that counts
    ignored  (P, T) bool, the detection is neither right nor wrong
    counted  (G,) bool, the true boxes that are to be found
    """

    taken: np.ndarray
    right: np.ndarray
    ignored: np.ndarray
    counted: np.ndarray


def evaluate(index: Index, subset: str, detections: pd.DataFrame) -> Result:
    """As coco.evaluate: same arguments, same errors, same numbers."""
    assert index.boxes is not None, "evaluation needs the truth"
    coco.check(index, subset, coco.images_of(index, subset), detections)
    at = scene(index, subset, detections)
    rank = at.found["rank"].to_numpy()
    numbers: dict[str, float | None] = dict.fromkeys(NAMES)
    per_class = pd.DataFrame()
    for size, limits in AREAS.items():
        matches = match(at, limits)
        precision, recall = curves(at, matches)
        numbers |= {f"AP{size}": _mean(precision), f"AR{size or LIMIT}": _mean(recall)}
        if not size:
            numbers |= {"AP50": _mean(precision[THRESHOLDS == 0.5]), "AP75": _mean(precision[THRESHOLDS == 0.75])}
            numbers |= {f"AR{n}": _mean(_recall(at, matches, rank < n)) for n in (1, 10)}
            per_class = _per_class(index, at, matches, precision, recall)
    return Result(numbers, per_class)


def scene(index: Index, subset: str, detections: pd.DataFrame) -> Scene:
    """Sort the detections and find what they overlap. detections: image_id, label, score, x1..y2 of images in `subset`.

    Equal scores keep the order of image ids, and in an image that of the rows.
    """
    images, classes = np.sort(coco.images_of(index, subset)), len(index.classes)
    boxes = index.boxes
    rows = np.flatnonzero(boxes["image_id"].isin(images))
    boxes = boxes.iloc[rows]
    order = np.lexsort((np.searchsorted(images, detections["image_id"]), -detections["score"], detections["label"]))
    rank = detections.iloc[order].groupby(["image_id", "label"], sort=False).cumcount().to_numpy()
    order, rank = order[rank < LIMIT], rank[rank < LIMIT]
    best = detections.iloc[order]
    found = pd.DataFrame(
        {
            "image": np.searchsorted(images, best["image_id"]),
            "label": best["label"].to_numpy(),
            "score": best["score"].to_numpy(),
            "area": _area(best),
            "rank": rank,
            "row": order,
        }
    )
    crowd = boxes["crowd"].to_numpy()
    true = pd.DataFrame(
        {
            "image": np.searchsorted(images, boxes["image_id"]),
            "label": boxes["label"].to_numpy(),
            "area": boxes["area"].to_numpy(np.float64),
            "ignored": crowd | boxes["difficult"].to_numpy(),
            "crowd": crowd,
            "row": rows,
        }
    )
    parts = []
    for mask, over in ((~crowd, "union"), (crowd, "found")):
        p, t, overlap = overlaps(best, boxes[mask], THRESHOLDS[0], over=over)
        parts.append((p, np.flatnonzero(mask)[t], overlap))
    p, t, overlap = (np.concatenate(part) for part in zip(*parts, strict=True))
    starts = np.searchsorted(found["label"], np.arange(classes + 1))
    return Scene(images, classes, found, true, starts, np.stack([p, t], axis=1), overlap)


def match(at: Scene, area: tuple[float, float] = AREAS[""]) -> Matches:
    """Let the detections take true boxes, best first. Boxes with an area outside the two limits are ignored."""
    size, rank, size_found = (at.true["area"].to_numpy(), at.found["rank"].to_numpy(), at.found["area"].to_numpy())
    ignored = at.true["ignored"].to_numpy() | (size < area[0]) | (size > area[1])
    crowd = at.true["crowd"].to_numpy()
    taken = np.full((len(rank), len(THRESHOLDS)), -1, dtype=np.int32)
    free = np.ones((len(size), len(THRESHOLDS)), dtype=bool)
    enough = np.minimum(THRESHOLDS, 1 - 1e-10)
    for pairs in _turns(at, ignored):
        p, t = at.pairs[pairs].T
        takes = (at.overlap[pairs, None] >= enough) & (taken[p] < 0) & (free[t] | crowd[t, None])
        taken[p] = np.where(takes, t[:, None], taken[p])
        free[t] &= ~takes
    some = taken >= 0
    forgiven = some & ignored[taken] if len(ignored) else some
    outside = (size_found < area[0]) | (size_found > area[1])
    return Matches(taken, some & ~forgiven, forgiven | (~some & outside[:, None]), ~ignored)


def _turns(at: Scene, ignored: np.ndarray) -> list[np.ndarray]:
    """Pairs in the order in which they are tried, the n-th of every class and image together in turn n.

    Of one detection: true boxes that count first, then the larger overlap, then the later row.
    """
    p, t = at.pairs.T
    group = at.found["image"].to_numpy()[p] * at.classes + at.found["label"].to_numpy()[p]
    order = np.lexsort((-t, -at.overlap, ignored[t], p, group))
    first = np.unique(group[order], return_index=True)[1]
    count = np.diff(first, append=len(order))
    turn = np.arange(len(order)) - np.repeat(first, count)
    return np.split(order[np.argsort(turn, kind="stable")], np.cumsum(np.bincount(turn))[:-1]) if len(order) else []


def curves(at: Scene, matches: Matches) -> tuple[np.ndarray, np.ndarray]:
    """Precision (T, 101, C) at RECALLS and largest recall (T, C); -1 for classes without a box that counts."""
    precision = np.full((len(THRESHOLDS), len(RECALLS), at.classes), -1.0)
    boxes = boxes_of(at, matches)
    for k in np.flatnonzero(boxes):
        rows = slice(at.starts[k], at.starts[k + 1])
        for n in range(len(THRESHOLDS)):
            precision[n, :, k] = precision_of(matches.right[rows, n], matches.ignored[rows, n], boxes[k])
    return precision, _recall(at, matches, np.ones(len(at.found), dtype=bool))


def boxes_of(at: Scene, matches: Matches) -> np.ndarray:
    """Number (C,) of true boxes that count."""
    return np.bincount(at.true["label"][matches.counted], minlength=at.classes)


def precision_of(right: np.ndarray, ignored: np.ndarray, boxes: int) -> np.ndarray:
    """Precision (101,) of one class at one threshold: at each recall the largest at that recall or a higher one."""
    places = np.flatnonzero(right)  # between two of these recall stands still and precision falls
    hits = np.arange(1.0, len(places) + 1)
    precision = hits / (np.cumsum(~ignored)[places] + np.spacing(1))
    envelope = np.maximum.accumulate(precision[::-1])[::-1]
    reached = np.searchsorted(RECALLS, hits / boxes, side="right")
    values = np.zeros(len(RECALLS))
    values[: reached[-1] if len(reached) else 0] = np.repeat(envelope, np.diff(reached, prepend=0))
    return values


def _recall(at: Scene, matches: Matches, use: np.ndarray) -> np.ndarray:
    """Recall (T, C) by the detections in `use` (P,); -1 for classes without a box that counts."""
    boxes, labels = boxes_of(at, matches), at.found["label"].to_numpy()
    hits = np.stack([np.bincount(labels[use & right], minlength=at.classes) for right in matches.right.T])
    return np.where(boxes > 0, hits / np.maximum(boxes, 1), -1.0)


def _per_class(index: Index, at: Scene, matches: Matches, precision: np.ndarray, recall: np.ndarray) -> pd.DataFrame:
    columns = (
        index.classes,
        [coco.mean(precision[:, :, k]) for k in range(at.classes)],
        [coco.mean(precision[0, :, k]) for k in range(at.classes)],
        [coco.mean(recall[:, k]) for k in range(at.classes)],
        boxes_of(at, matches),
    )
    return pd.DataFrame(dict(zip(PER_CLASS_COLUMNS, columns, strict=True)))


def _area(rows: pd.DataFrame) -> np.ndarray:
    return (rows["x2"].to_numpy(np.float64) - rows["x1"]) * (rows["y2"].to_numpy(np.float64) - rows["y1"])


def _mean(values: np.ndarray) -> float | None:
    mean = coco.mean(values)
    return None if np.isnan(mean) else mean
