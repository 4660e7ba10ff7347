"""Evaluation of a result of the size of COCO's val set: pycocotools against the fast engine, and resampling it.

python benchmarks/evaluate.py               5,000 images, 36,781 boxes, 100 detections an image
python benchmarks/evaluate.py --shrink 50   a fiftieth of it

The twelve numbers must be equal to the last bit. Boxes and detections are generated; the shares below were measured on
337 COCO train2017 images and what a real detector (FastestDet, 100 boxes an image, score > 0.01) finds on them, except
that more boxes are found, as by a better detector: more matches are more work for both. Times are of one core.
"""

from __future__ import annotations

import argparse
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
import pandas as pd

from scantling.data.index import BOX_COLUMNS, IMAGE_COLUMNS, XYXY, Index, table
from scantling.evaluate import bootstrap, coco, errors, fast

IMAGES, BOXES, CLASSES, PER_IMAGE = 5000, 36_781, 80, 100  # val2017
T = TypeVar("T")


def generated(images: int, boxes: int, seed: int = 0) -> tuple[Index, pd.DataFrame]:
    """A data set of 640 x 480 images and 100 detections on each."""
    rng = np.random.default_rng(seed)
    ids = np.sort(rng.choice(600_000, images, replace=False))
    share = 1 / np.arange(1, CLASSES + 1) ** 0.85  # the first class has a fifth of all boxes
    share /= share.sum()
    here = rng.choice(CLASSES, (images, 16), p=share)  # an image shows the first 4 of them, 16 are found in it
    image = np.sort(np.minimum(rng.exponential(1.0, images).cumsum() / images, 1).searchsorted(rng.random(boxes)))
    image = np.minimum(image, images - 1)  # some have many, one in a hundred has none
    true = _boxes(rng, boxes, log_side=3.98, spread=1.05)
    label = here[image, rng.integers(0, 4, boxes)]
    true_rows = {"box_id": np.arange(boxes), "image_id": ids[image], "label": label, **_columns(true)}
    area = (true[:, 2:] - true[:, :2]).prod(axis=1) * rng.uniform(0.3, 0.86, boxes)  # of the outline, 0.58 on average
    flags = {"area": area, "crowd": rng.random(boxes) < 0.01, "difficult": False}

    # A box is found well (70 %), once more badly, as another class (30 %); the rest of the 100 is background.
    parts = []
    for chance, jitter, score, other in ((0.7, 0.06, 0.6, False), (0.9, 0.3, 0.15, False), (0.3, 0.1, 0.2, True)):
        rows = np.flatnonzero(rng.random(boxes) < chance)
        labels = here[image[rows], rng.integers(4, 16, len(rows))] if other else label[rows]
        parts.append(_found(rng, ids[image[rows]], labels, _moved(rng, true[rows], jitter), score))
    spare = np.repeat(np.arange(images), PER_IMAGE)
    background = _boxes(rng, len(spare), log_side=4.56, spread=0.76)
    parts.append(_found(rng, ids[spare], here[spare, rng.integers(0, 16, len(spare))], background, 0.05))
    every = pd.concat(parts, ignore_index=True)
    found = every[every.groupby("image_id").cumcount() < PER_IMAGE].sample(frac=1, random_state=seed)

    sizes = {"subset": "val", "file_name": "", "width": 640, "height": 480, "bytes": 0, "mtime_ns": 0}
    tables = table(pd.DataFrame({"image_id": ids}).assign(**sizes), IMAGE_COLUMNS), pd.DataFrame(true_rows | flags)
    names = tuple(f"class {k}" for k in range(CLASSES))
    index = Index("generated", Path("."), names, tuple(range(CLASSES)), tables[0], table(tables[1], BOX_COLUMNS), {})
    return index, found.reset_index(drop=True)


def _boxes(rng: np.random.Generator, n: int, log_side: float, spread: float) -> np.ndarray:
    side, aspect = np.exp(rng.normal(log_side, spread, n)), np.exp(rng.normal(0, 0.79, n) / 2)
    sides = np.minimum(np.stack([side * aspect, side / aspect], axis=1), [639, 479]).clip(2)
    corner = rng.random((n, 2)) * ([640, 480] - sides)
    return np.hstack([corner, corner + sides])


def _moved(rng: np.random.Generator, boxes: np.ndarray, jitter: float) -> np.ndarray:
    sides = np.tile(boxes[:, 2:] - boxes[:, :2], 2)
    moved = boxes + rng.normal(0, jitter, boxes.shape) * sides
    return np.hstack([moved[:, :2], np.maximum(moved[:, 2:], moved[:, :2] + 1)])


def _found(
    rng: np.random.Generator, image_id: np.ndarray, label: np.ndarray, boxes: np.ndarray, score: float
) -> pd.DataFrame:
    scores = 1 / (1 + np.exp(-rng.normal(np.log(score / (1 - score)), 1.2, len(label))))
    rows = pd.DataFrame({"image_id": image_id, "label": label, "score": scores, **_columns(boxes)})
    return rows.astype({"score": "float32"} | dict.fromkeys(XYXY, "float32"))


def _columns(boxes: np.ndarray) -> dict[str, np.ndarray]:
    return dict(zip(XYXY, boxes.T, strict=True))


def timed(name: str, call: Callable[[], T]) -> tuple[T, float]:
    """What `call` returns, and its seconds of processor time."""
    started = time.perf_counter(), time.process_time()
    result = call()
    clock, core = time.perf_counter() - started[0], time.process_time() - started[1]
    print(f"  {name:44} {clock:8.2f} {core:8.2f}", flush=True)
    return result, core


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shrink", type=int, default=1, metavar="N", help="an N-th of the images and boxes")
    parser.add_argument("--repeats", type=int, default=3, help="measurements of the fast engine, the median counts")
    given = parser.parse_args()
    index, found = generated(IMAGES // given.shrink, BOXES // given.shrink)
    print(f"{len(index.images):,} images, {len(index.boxes):,} boxes, {len(found):,} detections")
    print(f"  {'':44} clock, s  core, s")
    slow, slow_s = timed("pycocotools", lambda: coco.evaluate(index, "val", found))
    runs = [timed("fast engine", lambda: fast.evaluate(index, "val", found)) for _ in range(given.repeats)]
    fast_s = float(np.median([seconds for _, seconds in runs]))
    numbers = runs[0][0].numbers
    drawn = {"resamples": 200, "seed": 0, "level": 0.95}
    timed("200 resamples", lambda: bootstrap.intervals(index, "val", found, **drawn))
    timed("errors", lambda: errors.analyze(index, "val", found, score_threshold=0.5))
    small, rows = generated(72, 800)
    timed("200 resamples of 72 images", lambda: bootstrap.intervals(small, "val", rows, **drawn))
    print("AP {AP:.4f}, AP50 {AP50:.4f}, AR100 {AR100:.4f}".format(**numbers))
    print(f"twelve numbers equal: {numbers == slow.numbers}; pycocotools over the fast engine: {slow_s / fast_s:.1f}")


if __name__ == "__main__":
    main()
