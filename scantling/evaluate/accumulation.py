"""pycocotools over any number of images: it matches some of them at a time and sums up one class at a time.

As published it keeps everything of every image, over four kilobytes a detection. What it found out is kept as in
rankings.py; its own `accumulate` then gets one class and range of sizes after the other, image by image as it wants it.
"""

from __future__ import annotations

import contextlib
import io
from collections.abc import Callable

import numpy as np
import pandas as pd
from pycocotools.cocoeval import COCOeval

from scantling.data.index import Index
from scantling.evaluate import tested
from scantling.evaluate.rankings import Ranking, mask_of

ROWS = 20_000  # detections and true boxes at a time: about 90 MB

Make = Callable[[Index, pd.DataFrame], COCOeval]


def run(index: Index, subset: str, found: tested.Found, make: Make) -> COCOeval:
    """An evaluation of the whole subset, accumulated: `eval` has precision [T, R, K, A, M] and recall [T, K, A, M].

    make  the evaluation of the images of an index, with these detections; its settings are the same for all
    """
    ranking = None
    with contextlib.redirect_stdout(io.StringIO()):  # pycocotools prints its progress
        for before, part, rows in tested.walk(index, subset, found, ROWS):
            made = make(part, rows)
            made.evaluate()
            if ranking is None:
                ranking, ranges = Ranking(len(index.classes), len(made.params.areaRng)), made.params.areaRng
            _keep(made, before, ranking)
            made.evalImgs = []
        made.eval = _accumulated(made, ranges, ranking)
    return made


def _keep(made: COCOeval, before: int, ranking: Ranking) -> None:
    """Add the detections and count the true boxes of the images of one evaluation."""
    images, ranges = len(made.params.imgIds), len(made.params.areaRng)
    of_class = images * ranges
    for k in range(ranking.classes):
        by_range = [
            [(i, e) for i, e in enumerate(made.evalImgs[start : start + images]) if e is not None]
            for start in range(k * of_class, (k + 1) * of_class, images)
        ]
        for a, every in enumerate(by_range):
            ranking.boxes[a, k] += sum(int(np.count_nonzero(e["gtIgnore"] == 0)) for _, e in every)
        seen = by_range[0]
        counts = [len(e["dtScores"]) for _, e in seen]
        if not sum(counts):
            continue
        ignored = [np.concatenate([e["dtIgnore"] for _, e in every], axis=1).T > 0 for every in by_range]
        matched = [np.concatenate([e["dtMatches"] for _, e in every], axis=1).T > 0 for every in by_range]
        ranking.add(
            np.full(sum(counts), k),
            before + np.repeat([i for i, _ in seen], counts),
            np.concatenate([e["dtScores"] for _, e in seen]),
            np.concatenate([np.arange(n) for n in counts]),
            [one & ~other for one, other in zip(matched, ignored, strict=True)],
            ignored,
        )


def _accumulated(made: COCOeval, ranges: list[list[float]], ranking: Ranking) -> dict[str, object]:
    """What `accumulate` makes of one class and range at a time, put together."""
    p, categories = made.params, made.params.catIds
    shape = (len(p.iouThrs), len(p.recThrs), len(categories), len(ranges), len(p.maxDets))
    precision, recall = -np.ones(shape), -np.ones((shape[0], *shape[2:]))
    for k, category in enumerate(categories):
        rows = ranking.found.of(k)
        first = np.flatnonzero(np.diff(rows["image"], prepend=-1))
        cuts = list(zip(first, [*first[1:], len(rows)], strict=True)) if len(rows) else []
        for a, size in enumerate(ranges):
            if not ranking.boxes[a, k]:
                continue  # undefined
            right, ignored = mask_of(rows["right"][:, a]).T, mask_of(rows["ignored"][:, a]).T
            made.evalImgs = [
                {
                    "dtScores": rows["score"][start:stop],
                    "dtMatches": right[:, start:stop],
                    "dtIgnore": ignored[:, start:stop],
                    "gtIgnore": np.zeros(0),
                }
                for start, stop in cuts
            ]
            none = np.zeros((shape[0], 0), bool)
            truth = {"dtScores": np.zeros(0), "dtMatches": none, "dtIgnore": none}
            made.evalImgs.append(truth | {"gtIgnore": np.zeros(ranking.boxes[a, k])})
            p.catIds, p.areaRng, p.imgIds = [category], [size], list(range(len(made.evalImgs)))
            made._paramsEval = p
            made.accumulate(p)
            precision[:, :, k, a], recall[:, k, a] = made.eval["precision"][:, :, 0, 0], made.eval["recall"][:, 0, 0]
    p.catIds, p.areaRng, made.evalImgs = categories, ranges, []
    return {"params": p, "counts": list(shape), "precision": precision, "recall": recall}
