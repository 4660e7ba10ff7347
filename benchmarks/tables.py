"""Memory and time of the steps that hold whole tables, at growing numbers of boxes, each in a process of its own.

    python benchmarks/tables.py [--boxes 1000000 ...] [--work FOLDER]

Objects365's shape: 365 classes, 15 boxes an image, as many pseudo labels as true boxes, a tenth of the images labeled.
Memory is what a step adds to a process that has imported everything, at its peak, in MiB for a million boxes:
  pool      all labels of a full split, as burn_in and retrain hold them
  polish    Soft Teacher's choice among the pseudo labels
  retrain   the pool of the split and the refined table, as `teacher: cached` holds them
  quality   pseudo and refined labels against the hidden truth
  coco      the twelve numbers, of as many detections as there are boxes
A million boxes need 150 MB below --work, removed at the end.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa

from scantling import candidates, methods
from scantling.data import corrections, index, split
from scantling.data.index import XYXY, Index, table
from scantling.data.loader import Pool
from scantling.evaluate import fast, label_quality, portions
from scantling.evaluate.params import EvaluateParams
from scantling.pseudo import COLUMNS

ROOT = Path(__file__).parents[1]
CLASSES, PER_IMAGE = 365, 15
STEPS = ("pool", "polish", "retrain", "quality", "coco")


def make(folder: Path, boxes: int) -> None:
    """The index, a split of a tenth, a full split and pseudo labels, as files in `folder`."""
    rng, images = np.random.default_rng(0), max(1, boxes // PER_IMAGE)
    ids = np.arange(images, dtype=np.int64)
    rows = {"image_id": ids, "subset": "train", "file_name": [f"patch{i % 51}/objects365_v1_{i:08}.jpg" for i in ids]}
    listed = table(pd.DataFrame({**rows, "width": 640, "height": 480, "bytes": 0, "mtime_ns": 0}), index.IMAGE_COLUMNS)
    of_image = np.sort(rng.integers(0, images, boxes))
    corner, side = rng.random((boxes, 2), np.float32) * 500, 1 + rng.random((boxes, 2), np.float32) * 100
    columns = dict(zip(XYXY, np.concatenate([corner, corner + side], 1).T, strict=True))
    labels = (CLASSES * rng.random(boxes) ** 2).astype(np.int32)  # a long tail
    truth = pd.DataFrame({"box_id": np.arange(boxes), "image_id": of_image, "label": labels, **columns})
    truth = table(truth.assign(area=side.prod(1), crowd=False, difficult=False), index.BOX_COLUMNS)
    names, numbers = tuple(f"class {k}" for k in range(CLASSES)), tuple(range(CLASSES))
    mixed = truth.iloc[rng.permutation(boxes)].reset_index(drop=True)  # as in COCO's files
    index.save(Index("large", folder, names, numbers, listed, mixed, {}), folder)

    full = table(truth.assign(labeled=True), split.SPLIT_COLUMNS)
    full.to_parquet(folder / "full.parquet", index=False)
    kept = full[full["image_id"] % 10 == 0]
    nothing = {"box_id": -1, "label": -1, "labeled": False} | dict.fromkeys(XYXY, np.nan)
    bare = pd.DataFrame({"image_id": np.setdiff1d(ids, kept["image_id"])}).assign(**nothing)
    some = pd.concat([kept, table(bare, split.SPLIT_COLUMNS)]).sort_values(["image_id", "box_id"])
    some.to_parquet(folder / "split.parquet", index=False)

    moved = {name: values + rng.normal(0, 4, boxes) for name, values in columns.items()}
    found = {"image_id": of_image, "label": labels, "score": 0.05 + 0.95 * rng.random(boxes), "spread": 0.02, **moved}
    table(pd.DataFrame(found), COLUMNS).to_parquet(folder / "pseudo.parquet", index=False)


def take(step: str, folder: Path) -> object:
    """One step on these files; gives what it holds at its end."""
    data = index.load(folder, truth=step == "coco")
    asked = methods.MethodParams.load(ROOT / "params/methods/soft_teacher_cached.yaml")
    params = EvaluateParams.load(ROOT / "params/evaluate.yaml")
    if step == "pool":
        return Pool.of(folder, data.images, pd.read_parquet(folder / "full.parquet"), keep_empty=True)
    if step == "polish":
        maker = methods.create(asked, data.classes, None)
        refined, _ = maker.refine(pd.read_parquet(folder / "pseudo.parquet"), split.load(folder))
        refined.to_parquet(folder / "refined.parquet", index=False)
        return refined
    if step == "retrain":
        labels = candidates.load(folder / "refined.parquet")
        maker = methods.create(asked, data.classes, labels)
        pool = Pool.of(folder, data.images, corrections.seen(split.load(folder), labels), keep_empty=True)
        del labels
        pa.default_memory_pool().release_unused()
        return maker, pool
    if step == "coco":
        return fast.evaluate(data, "train", portions.of_file(folder / "pseudo.parquet"))
    names = ("boxes", "split", "pseudo", "refined")
    tables = label_quality.Tables(**{name: portions.of_file(folder / f"{name}.parquet") for name in names})
    return label_quality.measure(data, tables, params.label_quality)


def memory(field: str) -> float:
    """MiB that the process has now (VmRSS) or had at most (VmHWM)."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return int(next(line for line in lines if line.startswith(field)).split()[1]) / 1024


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--boxes", type=int, nargs="+", default=[1_000_000])
    parser.add_argument("--work", type=Path, help="existing folder with room; the system's temporary one if not given")
    parser.add_argument("--step", choices=("make", *STEPS), help=argparse.SUPPRESS)
    options = parser.parse_args()
    for boxes in options.boxes:
        if options.step == "make":
            make(options.work, boxes)
        elif options.step:
            before, start = memory("VmRSS"), time.process_time()
            held = take(options.step, options.work)
            added = [(memory(field) - before) / boxes * 1e6 for field in ("VmHWM", "VmRSS")]
            seconds = (time.process_time() - start) / boxes * 1e6
            text = f"{added[0]:.0f} MiB a million at the peak, {added[1]:.0f} in the end, {seconds:.1f} s of one core"
            print(f"{boxes:,} boxes, {options.step}: {text} a million", flush=True)
            del held
        else:
            with tempfile.TemporaryDirectory(prefix="scantling-", dir=options.work) as folder:
                for step in ("make", *STEPS):
                    words = [__file__, "--boxes", str(boxes), "--work", folder, "--step", step]
                    subprocess.run([sys.executable, *words], check=True)
                sizes = {file.name: file.stat().st_size / boxes for file in sorted(Path(folder).glob("*.parquet"))}
                print(f"{boxes:,} boxes, bytes a box on disk:", {name: round(size, 1) for name, size in sizes.items()})


if __name__ == "__main__":
    main()
