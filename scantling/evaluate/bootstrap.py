"""How far AP could lie off because the test images are what they are: percentile bootstrap over images.

Efron & Tibshirani, An Introduction to the Bootstrap (1993), chapter 13: as many images are drawn, with replacement, as
there are; AP of the drawn ones, many times; the interval holds the middle share of these. An image drawn twice counts
twice, its detections lie beside each other in the ranking. Matches of an image do not depend on other images, so each
resample only sums up anew. What the intervals do not hold: other splits, other seeds of training, other data.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from scantling.data.index import Index
from scantling.evaluate import coco
from scantling.evaluate.fast import RECALLS, THRESHOLDS, Matches, Scene, match, scene

AT_ONCE = 4_000_000  # detections times resamples in one go: about 200 MB
METRICS = ("AP", "AP50")


@dataclass(frozen=True)
class Resampled:
    """AP of every resample: fractions, NaN where no box of that kind was drawn.

    whole    "AP", "AP50" -> (R,), the mean of the classes that were drawn
    classes  the same -> (R, C)
    """

    whole: dict[str, np.ndarray]
    classes: dict[str, np.ndarray]


def draws(images: int, resamples: int, seed: int) -> np.ndarray:
    """How often each image is in each resample: (R, B) int32, rows sum to B."""
    rng = np.random.default_rng(seed)
    rows = [np.bincount(rng.integers(0, images, images), minlength=images) for _ in range(resamples)]
    return np.array(rows, dtype=np.int32)


def resample(at: Scene, matches: Matches, drawn: np.ndarray) -> Resampled:
    """AP of the images as often as `drawn` (R, B) says."""
    label, image = at.true["label"].to_numpy(), at.true["image"].to_numpy()
    every = np.full((len(drawn), at.classes, len(THRESHOLDS)), np.nan)
    for k in range(at.classes):
        rows = slice(at.starts[k], at.starts[k + 1])
        mine = at.found["image"].to_numpy()[rows]
        boxes = drawn[:, image[matches.counted & (label == k)]].sum(axis=1)
        step = max(1, AT_ONCE // max(len(mine), 1))
        for some in (slice(r, r + step) for r in range(0, len(drawn), step)):
            every[some, k] = _average_precision(
                drawn[some][:, mine], matches.right[rows], matches.ignored[rows], boxes[some]
            )
    classes = {"AP": every.mean(axis=2), "AP50": every[:, :, 0]}
    return Resampled({name: _mean(values) for name, values in classes.items()}, classes)


def _average_precision(times: np.ndarray, right: np.ndarray, ignored: np.ndarray, boxes: np.ndarray) -> np.ndarray:
    """AP (R, T) of one class. times (R, P): how often each detection is there, best first; boxes (R,) to be found."""
    ap = np.zeros((len(times), right.shape[1]))
    every = np.cumsum(times, axis=1)
    for n in range(right.shape[1]):
        places = np.flatnonzero(right[:, n])
        lost = np.flatnonzero(ignored[:, n])
        counted = every[:, places].astype(np.float64)
        if len(lost):  # those that count before a place: all before it less the ignored ones
            sums = np.pad(np.cumsum(times[:, lost], axis=1), ((0, 0), (1, 0)))
            counted -= sums[:, np.searchsorted(lost, places)]
        hits = np.cumsum(times[:, places], axis=1)
        precision = hits / np.maximum(counted, 1)
        envelope = np.maximum.accumulate(precision[:, ::-1], axis=1)[:, ::-1]
        reached = np.searchsorted(RECALLS, hits / np.maximum(boxes, 1)[:, None], side="right")
        ap[:, n] = (envelope * np.diff(reached, axis=1, prepend=0)).sum(axis=1) / len(RECALLS)
    ap[boxes == 0] = np.nan
    return ap


def measure(
    index: Index, subset: str, found: dict[str, pd.DataFrame], *, resamples: int, level: float, seed: int
) -> dict[str, Any]:
    """The content of intervals.json: the settings, the number of images, `intervals` of each model, and for two models
    "SECOND_minus_FIRST", their `difference`. Same images for all, each resample drawn once.

    found: model -> detections as in coco.evaluate, which also says what is refused.
    """
    images = len(coco.images_of(index, subset))
    drawn = np.vstack([np.ones(images, np.int32), draws(images, resamples, seed)])
    results = {model: _resampled(index, subset, rows, drawn) for model, rows in found.items()}
    content = {"level": level, "resamples": resamples, "seed": seed, "images": images}
    content |= {model: _intervals(result, index.classes, level) for model, result in results.items()}
    if len(results) == 2:
        first, second = results
        content[f"{second}_minus_{first}"] = _difference(results[first], results[second], level)
    return content


def intervals(
    index: Index, subset: str, detections: pd.DataFrame, *, resamples: int, level: float, seed: int
) -> dict[str, Any]:
    """{"AP": [low, high], "AP50": [low, high], "classes": {name: {"AP": [low, high], "AP50": [low, high]}}}.

    Fractions; None instead of a pair where nothing is defined. level: the share of resamples inside, e.g. 0.95.
    """
    return measure(index, subset, {"model": detections}, resamples=resamples, level=level, seed=seed)["model"]


def difference(
    index: Index,
    subset: str,
    first: pd.DataFrame,
    second: pd.DataFrame,
    *,
    resamples: int,
    level: float,
    seed: int,
) -> dict[str, Any]:
    """Paired: how much better `second` is than `first` on the same images, each resample drawn for both.

    {"AP": {"difference": number, "interval": [low, high], "above_zero": share of resamples in which second is better},
    "AP50": the same}; fractions, None where nothing is defined. What both find equally hard cancels, so the interval is
    narrower than that of two separate ones.
    """
    found = {"first": first, "second": second}
    return measure(index, subset, found, resamples=resamples, level=level, seed=seed)["second_minus_first"]


def _resampled(index: Index, subset: str, detections: pd.DataFrame, drawn: np.ndarray) -> Resampled:
    coco.check(index, subset, coco.images_of(index, subset), detections)
    at = scene(index, subset, detections)
    return resample(at, match(at), drawn)


def _intervals(result: Resampled, classes: tuple[str, ...], level: float) -> dict[str, Any]:
    """Of all rows but the first, which are the images as they are."""
    whole = {name: _middle(result.whole[name][1:], level) for name in METRICS}
    by_class = {name: [_middle(column, level) for column in result.classes[name][1:].T] for name in METRICS}
    return whole | {"classes": {title: {n: by_class[n][k] for n in METRICS} for k, title in enumerate(classes)}}


def _difference(first: Resampled, second: Resampled, level: float) -> dict[str, Any]:
    result = {}
    for name in METRICS:
        there, *rest = second.whole[name] - first.whole[name]
        known = np.array(rest)[~np.isnan(rest)]
        result[name] = {
            "difference": None if np.isnan(there) else float(there),
            "interval": _middle(known, level),
            "above_zero": float((known > 0).mean()) if len(known) else None,
        }
    return result


def _middle(values: np.ndarray, level: float) -> list[float] | None:
    known = values[~np.isnan(values)]
    return np.quantile(known, [(1 - level) / 2, (1 + level) / 2]).tolist() if len(known) else None


def _mean(classes: np.ndarray) -> np.ndarray:
    """Mean of the classes that are not NaN: (R, C) to (R,)."""
    known = ~np.isnan(classes)
    count = known.sum(axis=1)
    return np.where(count > 0, np.nansum(classes, axis=1) / np.maximum(count, 1), np.nan)
