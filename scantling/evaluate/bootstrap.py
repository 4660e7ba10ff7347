"""How far AP could lie off because the test images are what they are: percentile bootstrap over images.

Efron & Tibshirani, An Introduction to the Bootstrap (1993), chapter 13: as many images are drawn, with replacement, as
there are; AP of the drawn ones, many times; the interval holds the middle share of these. An image drawn twice counts
twice, its detections lie beside each other in the ranking. Matches of an image do not depend on other images, so each
resample only sums up anew. What the intervals do not hold: other splits, other seeds of training, other data.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from scantling.data.index import Index
from scantling.evaluate import fast, tested
from scantling.evaluate.fast import AREAS, RECALLS
from scantling.evaluate.rankings import THRESHOLDS, Ranking, mask_of

AT_ONCE = 1_000_000  # detections (or boxes) times resamples in one go: about 50 MB
DRAWN_AT_ONCE = 8_000_000  # images times resamples: 32 MB
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
    return np.concatenate(list(_drawn(images, resamples, seed)))[1:]


def _drawn(images: int, resamples: int, seed: int) -> Iterator[np.ndarray]:
    """The same some rows at a time, and before them one for the images as they are."""
    yield np.ones((1, images), np.int32)
    rng, step = np.random.default_rng(seed), max(1, DRAWN_AT_ONCE // images)
    for first in range(0, resamples, step):
        rows = np.empty((min(step, resamples - first), images), np.int32)
        for row in rows:
            row[:] = np.bincount(rng.integers(0, images, images), minlength=images)
        yield rows


def resample(ranks: Ranking, drawn: np.ndarray) -> Resampled:
    """AP of the images as often as `drawn` (R, B) says."""
    every = np.full((len(drawn), ranks.classes, len(THRESHOLDS)), np.nan)
    for k in range(ranks.classes):
        rows, theirs = ranks.best_first(k), ranks.true.of(k)
        mine, right, ignored = rows["image"], mask_of(rows["right"][:, 0]), mask_of(rows["ignored"][:, 0])
        step = max(1, AT_ONCE // max(len(mine), len(theirs), 1))
        for some in (slice(r, r + step) for r in range(0, len(drawn), step)):
            boxes = drawn[some][:, theirs].sum(axis=1)
            every[some, k] = _average_precision(drawn[some][:, mine], right, ignored, boxes)
    classes = {"AP": every.mean(axis=2), "AP50": every[:, :, 0].copy()}
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
    index: Index, subset: str, found: dict[str, tested.Found], *, resamples: int, level: float, seed: int
) -> dict[str, Any]:
    """The content of intervals.json: the settings, the number of images, `intervals` of each model, and for two models
    "SECOND_minus_FIRST", their `difference`. Same images for all, each resample drawn once.

    found: model -> detections as in coco.evaluate, which also says what is refused.
    """
    for rows in found.values():
        tested.check(index, subset, rows)
    images = len(tested.images_of(index, subset))
    ranks = {model: fast.ranking(index, subset, rows, {"": AREAS[""]}) for model, rows in found.items()}
    parts: dict[str, list[Resampled]] = {model: [] for model in found}
    for drawn in _drawn(images, resamples, seed):
        for model, of_model in ranks.items():
            parts[model].append(resample(of_model, drawn))
    results = {model: _joined(of_model) for model, of_model in parts.items()}
    content = {"level": level, "resamples": resamples, "seed": seed, "images": images}
    content |= {model: _intervals(result, index.classes, level) for model, result in results.items()}
    if len(results) == 2:
        first, second = results
        content[f"{second}_minus_{first}"] = _difference(results[first], results[second], level)
    return content


def intervals(
    index: Index, subset: str, detections: tested.Found, *, resamples: int, level: float, seed: int
) -> dict[str, Any]:
    """{"AP": [low, high], "AP50": [low, high], "classes": {name: {"AP": [low, high], "AP50": [low, high]}}}.

    Fractions; None instead of a pair where nothing is defined. level: the share of resamples inside, e.g. 0.95.
    """
    return measure(index, subset, {"model": detections}, resamples=resamples, level=level, seed=seed)["model"]


def difference(
    index: Index,
    subset: str,
    first: tested.Found,
    second: tested.Found,
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


def _joined(parts: list[Resampled]) -> Resampled:
    return Resampled(
        *({name: np.concatenate([getattr(part, kind)[name] for part in parts]) for name in METRICS}
          for kind in ("whole", "classes"))
    )  # fmt: skip


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
