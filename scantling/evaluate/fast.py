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
from scantling.evaluate import coco, tested
from scantling.evaluate.coco import NAMES, PER_CLASS_COLUMNS, Result
from scantling.evaluate.matching import overlaps
from scantling.evaluate.rankings import THRESHOLDS, Ranking, mask_of

RECALLS = np.linspace(0.0, 1.0, 101)  # where precision is read off
AREAS = {"": (0.0, 1e10), "s": (0.0, 32.0**2), "m": (32.0**2, 96.0**2), "l": (96.0**2, 1e10)}  # square pixels
LIMIT = 100  # detections of one class in one image

Areas = dict[str, tuple[float, float]]


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


def evaluate(index: Index, subset: str, detections: tested.Found) -> Result:
    """As coco.evaluate: same arguments, same errors, same numbers."""
    tested.check(index, subset, detections)
    ranks = ranking(index, subset, detections)
    curve = {size: _undefined(ranks.classes) for size in AREAS}
    few = {n: np.full((len(THRESHOLDS), ranks.classes), -1.0) for n in (1, 10)}  # recall by the best n
    for k in np.flatnonzero(ranks.boxes.any(axis=0)):
        rows = ranks.best_first(k)
        for a, (precision, recall) in enumerate(curve.values()):
            boxes = int(ranks.boxes[a, k])
            if not boxes:
                continue
            right, ignored = mask_of(rows["right"][:, a]), mask_of(rows["ignored"][:, a])
            for n in range(len(THRESHOLDS)):
                precision[n, :, k] = precision_of(right[:, n], ignored[:, n], boxes)
            recall[:, k] = right.sum(axis=0) / boxes
            if not a:
                for n, values in few.items():
                    values[:, k] = right[rows["rank"] < n].sum(axis=0) / boxes
    numbers: dict[str, float | None] = dict.fromkeys(NAMES)
    for size, (precision, recall) in curve.items():
        numbers |= {f"AP{size}": _mean(precision), f"AR{size or LIMIT}": _mean(recall)}
    precision, recall = curve[""]
    numbers |= {"AP50": _mean(precision[THRESHOLDS == 0.5]), "AP75": _mean(precision[THRESHOLDS == 0.75])}
    numbers |= {f"AR{n}": _mean(values) for n, values in few.items()}
    return Result(numbers, _per_class(index, ranks.boxes[0], precision, recall))


def ranking(index: Index, subset: str, detections: tested.Found, areas: Areas = AREAS) -> Ranking:
    """All detections and true boxes of the subset, matched some images at a time, boxes of these sizes counted."""
    ranks = Ranking(len(index.classes), len(areas))
    for before, part, rows in tested.walk(index, subset, detections):
        at = scene(part, subset, rows)
        every = [match(at, limits) for limits in areas.values()]
        ranks.add(
            at.found["label"].to_numpy(),
            before + at.found["image"].to_numpy(),
            at.found["score"].to_numpy(),
            at.found["rank"].to_numpy(),
            [matches.right for matches in every],
            [matches.ignored for matches in every],
        )
        ranks.boxes += np.stack([boxes_of(at, matches) for matches in every])
        counted = at.true[every[0].counted]
        ranks.true.add(before + counted["image"].to_numpy(np.int32), counted["label"].to_numpy())
    return ranks


def scene(index: Index, subset: str, detections: pd.DataFrame) -> Scene:
    """Sort the detections and find what they overlap. detections: image_id, label, score, x1..y2 of images in `subset`.

    Equal scores keep the order of image ids, and in an image that of the rows.
    """
    images, classes = tested.images_of(index, subset), len(index.classes)
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


def _undefined(classes: int) -> tuple[np.ndarray, np.ndarray]:
    """Precision (T, 101, C) at RECALLS and largest recall (T, C); -1 for classes without a box that counts."""
    return np.full((len(THRESHOLDS), len(RECALLS), classes), -1.0), np.full((len(THRESHOLDS), classes), -1.0)


def _per_class(index: Index, boxes: np.ndarray, precision: np.ndarray, recall: np.ndarray) -> pd.DataFrame:
    classes = range(len(index.classes))
    columns = (
        index.classes,
        [coco.mean(precision[:, :, k]) for k in classes],
        [coco.mean(precision[0, :, k]) for k in classes],
        [coco.mean(recall[:, k]) for k in classes],
        boxes,
    )
    return pd.DataFrame(dict(zip(PER_CLASS_COLUMNS, columns, strict=True)))


def _area(rows: pd.DataFrame) -> np.ndarray:
    return (rows["x2"].to_numpy(np.float64) - rows["x1"]) * (rows["y2"].to_numpy(np.float64) - rows["y1"])


def _mean(values: np.ndarray) -> float | None:
    mean = coco.mean(values)
    return None if np.isnan(mean) else mean
