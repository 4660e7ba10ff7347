"""How long every split takes, on an index of COCO's size made of random boxes (images are not needed).

python benchmarks/splits.py                 4 percentages x 5 folds, and every sparse protocol
python benchmarks/splits.py --objects365    one percent and one drop_category split of 1.7 million images

Prints seconds of the clock and of one core, and the peak memory of the process. The index is sorted and hashed once
for all. `load` is reading the tables from Parquet, `write` what the stage writes.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
import pandas as pd
import pyarrow

from scantling.data import index as indices
from scantling.data import protocols, split_page
from scantling.data.choice import Truth
from scantling.data.index import BOX_COLUMNS, IMAGE_COLUMNS, Index

COCO = {"images": 118_287, "boxes": 860_001, "classes": 80}  # train2017
OBJECTS365 = {"images": 1_742_289, "boxes": 25_000_000, "classes": 365}  # v2 train, about
Seconds = dict[str, np.ndarray]  # name -> (seconds of the clock, seconds of one core)
ALLOWED = {"allow_missing_class": True}
SPARSE: dict[str, dict[str, Any]] = {
    "missing_50p": {"protocol": "missing_50p"},
    "missing_50p dataset": {"protocol": "missing_50p", "unit": "dataset"},
    "easy": {"protocol": "easy"},
    "hard": {"protocol": "hard"},
    "extreme": {"protocol": "extreme"},
    "keep1": {"protocol": "keep1"},
    "keep1 random": {"protocol": "keep1", "select": "random"},
    **{
        f"{p} {share}": {"protocol": p, "percent": share}
        for p in ("drop_dataset", "drop_category", "drop_image_category")
        for share in (30, 50, 70)
    },
}
OTHER: dict[str, dict[str, Any]] = {
    "full": {"protocol": "full"},
    "stratified 10": {"protocol": "stratified", "percent": 10},
    "imbalanced": {"protocol": "imbalanced", "minority": [f"class {k}" for k in range(0, 80, 4)]},
}


def generated(images: int, boxes: int, classes: int, seed: int = 0) -> Index:
    """Long-tailed classes, one image in a hundred without a box, ids with gaps, rows of boxes in random order."""
    rng = np.random.default_rng(seed)
    image_ids = np.sort(rng.choice(4 * images, images, replace=False))
    sizes = rng.integers(300, 641, (images, 2), dtype=np.int32)
    corners = np.sort(rng.random((2, boxes, 2), dtype=np.float32) * 299, axis=0)
    share = 1 / np.arange(1, classes + 1) ** 0.8
    tables = [
        {
            "image_id": image_ids,
            "subset": pd.array(["train"] * images, dtype="str"),
            "file_name": pd.array([f"images/{i:012d}.jpg" for i in image_ids.tolist()], dtype="str"),
            "width": sizes[:, 0],
            "height": sizes[:, 1],
            "bytes": np.ones(images, dtype=np.int64),
            "mtime_ns": np.zeros(images, dtype=np.int64),
        },
        {
            "box_id": rng.permutation(2 * boxes)[:boxes],
            "image_id": image_ids[rng.integers(0, images - images // 100, boxes)],
            "label": rng.choice(classes, boxes, p=share / share.sum()).astype(np.int32),
            "x1": corners[0, :, 0],
            "y1": corners[0, :, 1],
            "x2": corners[1, :, 0] + 1,
            "y2": corners[1, :, 1] + 1,
            "area": np.ones(boxes, dtype=np.float32),
            "crowd": rng.random(boxes) < 0.01,
            "difficult": np.zeros(boxes, dtype=bool),
        },
    ]
    assert [list(t) for t in tables] == [list(IMAGE_COLUMNS), list(BOX_COLUMNS)]
    names = tuple(f"class {k}" for k in range(classes))
    frames = [pd.DataFrame(t, copy=False) for t in tables]
    return Index("generated", Path("."), names, tuple(range(1, classes + 1)), *frames, {})


@contextmanager
def timed(name: str, seconds: Seconds) -> Iterator[None]:
    started = np.array([time.perf_counter(), time.process_time()])
    yield
    seconds[name] = seconds.get(name, np.zeros(2)) + [time.perf_counter(), time.process_time()] - started


def made(truth: Truth, given: dict[str, Any], fold: int) -> tuple[pd.DataFrame, dict[str, Any]]:
    return protocols.of(truth, protocols.PROTOCOLS[given["protocol"]].params(**{**ALLOWED, **given}), fold)


def peak_gb() -> float:
    """Of this process so far, in units of 10^9 bytes."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e9


def report(seconds: Seconds, title: str) -> np.ndarray:
    print(f"\n{title:42} clock, s   core, s")
    for name, spent in {**seconds, "together": np.sum(list(seconds.values()), axis=0)}.items():
        print(f"  {name:40} {spent[0]:8.2f}  {spent[1]:8.2f}")
    return spent


def run(folder: Path, size: dict[str, int], work: list[tuple[str, dict[str, Any], int]], title: str) -> np.ndarray:
    """Times of the splits in `work`, of loading the index and of writing one split."""
    frame: Seconds = {}
    with timed("load", frame):
        index = indices.load(folder, truth=True)
    print(f"{size['images']:,} images, {size['boxes']:,} boxes; loaded: {peak_gb():.2f} GB at most")
    seconds: Seconds = {}
    with timed("sort and hash the index", seconds):
        truth = Truth.of(index, difficult=False)
        assert truth.sha256
    for name, given, fold in work:
        with timed(name, seconds):
            rows, facts = made(truth, given, fold)
    with timed("write", frame):
        rows.to_parquet(folder / "split.parquet", index=False)
        (folder / "split.json").write_text(json.dumps(facts))
        split_page.write(facts, folder / "split.html")
    report(frame, "read and write")
    return report(seconds, title)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--objects365", action="store_true", help="the large index instead of COCO's")
    parser.add_argument("--shrink", type=int, default=1, metavar="N", help="an N-th of the images and boxes")
    given = parser.parse_args()
    pyarrow.set_cpu_count(1)
    size = {
        k: n if k == "classes" else n // given.shrink for k, n in (OBJECTS365 if given.objects365 else COCO).items()
    }
    with tempfile.TemporaryDirectory() as name:
        if pid := os.fork():  # made in a process of its own: what that took is not counted
            if os.waitpid(pid, 0)[1]:
                raise SystemExit("the index could not be made")
        else:
            indices.save(generated(**size), Path(name))
            os._exit(0)
        if given.objects365:
            drop = {"protocol": "drop_category", "percent": 50}
            run(
                Path(name),
                size,
                [("percent 10", {"protocol": "percent", "percent": 10}, 1), ("drop_category 50", drop, 1)],
                "splits",
            )
        else:
            percents = [
                (f"percent {p}, 5 folds", {"protocol": "percent", "percent": p}, f)
                for p in (1, 2, 5, 10)
                for f in range(1, 6)
            ]
            total = run(
                Path(name),
                size,
                percents + [(k, v, 1) for k, v in SPARSE.items()],
                "4 percentages x 5 folds, all sparse protocols",
            )
            print(f"  {'share of 20 s':40} {total[0] / 20:8.0%}  {total[1] / 20:8.0%}")
            run(Path(name), size, [(k, v, 1) for k, v in OTHER.items()], "others")
    print(f"\npeak memory {peak_gb():.2f} GB")


if __name__ == "__main__":
    main()
