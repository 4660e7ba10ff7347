"""How long the report of a large study takes, and how large it is: results of the sizes of real ones, made of noise.

python benchmarks/report.py                     40 runs (2 splits x 4 methods x 5 folds), 100,000 images, 80 classes
python benchmarks/report.py --images 1000000    the same of a million images
python benchmarks/report.py --out FOLDER        keep the report, to look at it

Prints seconds of the clock and of one core, bytes of the page, number and bytes of the images, and peak memory.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import tempfile
import time
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
import pandas as pd
import pyarrow
from PIL import Image

from scantling.data import index as indexes
from scantling.data.index import BOX_COLUMNS, IMAGE_COLUMNS, XYXY, Index, table
from scantling.evaluate.coco import NAMES
from scantling.report.build import build
from scantling.report.params import ReportParams
from scantling.report.study import Run, StudyParams

ROOT = Path(__file__).parents[1]
CLASSES, BOXES, PSEUDO, FILES = 80, 7, 10, 200  # classes; boxes and pseudo labels an image; different image files
METHODS = ("supervised", "soft_teacher", "unbiased_teacher", "co_student")
GRID = [round(0.05 * k, 2) for k in range(1, 20)]
STEPS, EVERY = 20_000, 10  # training steps, and steps a row of the history


def study(folds: int) -> StudyParams:
    runs = [
        Run(data="large", split=s, fold=f, detector="r50", training="long", method=m, seed=0)
        for s in ("percent_1", "percent_10")
        for m in METHODS
        for f in range(1, folds + 1)
    ]
    return StudyParams(name="large", title="A large study", runs={run.key: run for run in runs})


def write(folder: Path, plan: StudyParams, images: int) -> None:
    rng = np.random.default_rng(0)
    index = _index(folder / "photos", images, rng)
    assert index.boxes is not None
    _folder(folder / "prepare" / "large")
    indexes.save(index, folder / "prepare" / "large")
    boxes = index.boxes
    kept = boxes["image_id"] % 100 == 0
    rows = boxes.loc[kept, ["image_id", "box_id", "label", *XYXY]].assign(labeled=True)
    bare = pd.DataFrame({"image_id": index.images.loc[index.images["image_id"] % 100 != 0, "image_id"]})
    split = pd.concat([rows, bare.assign(labeled=False, box_id=-1, label=-1)], ignore_index=True)
    split[XYXY] = split[XYXY].astype("float32")
    refined = _refined(index, rng)
    for run in plan.runs.values():
        place = _folder(folder / "split" / run.split_key)
        if not (place / "split.parquet").exists():
            split.to_parquet(place / "split.parquet", index=False)
        _stage(folder / "burn_in" / run.burn_in_key, "burn_in", rng, ("labeled/class", "labeled/box"))
        _stage(folder / "pseudo_label" / run.pseudo_key, "pseudo_label", rng)
        place = _stage(folder / "polish" / run.key, "polish", rng)
        if run.fold == 1:  # the report looks at images of one fold
            refined.to_parquet(place / "refined.parquet", index=False)
        losses = [f"{kind}/{name}" for kind in ("labeled", "unlabeled") for name in ("rpn", "rpn_box", "class", "box")]
        _stage(folder / "retrain" / run.key, "retrain", rng, (*losses, "pseudo_boxes"))
        _evaluated(_stage(folder / "evaluate" / run.key, "evaluate", rng), index, images, rng)


def _index(photos: Path, images: int, rng: np.random.Generator) -> Index:
    photos.mkdir(parents=True)
    for k in range(FILES):
        pixels = np.kron(rng.integers(0, 255, (12, 16, 3)), np.ones((40, 40, 1))) + rng.integers(0, 20, (480, 640, 3))
        Image.fromarray(pixels.clip(0, 255).astype(np.uint8)).save(photos / f"{k}.jpg", quality=90)
    ids = np.arange(1, images + 1)
    files = [f"{k}.jpg" for k in range(FILES)]
    frame = pd.DataFrame({"image_id": ids, "file_name": [files[i % FILES] for i in ids]})
    frame = frame.assign(subset="train", width=640, height=480, bytes=1, mtime_ns=0)
    n = images * BOXES
    boxes = pd.DataFrame({"box_id": np.arange(1, n + 1), "image_id": np.repeat(ids, BOXES)})
    boxes["label"] = (CLASSES * rng.random(n) ** 2).astype(np.int32)
    boxes[XYXY] = _corners(n, rng)
    boxes = boxes.assign(area=4000.0, crowd=False, difficult=False)
    names = tuple(f"class {k}" for k in range(CLASSES))
    tables = table(frame, IMAGE_COLUMNS), table(boxes, BOX_COLUMNS)
    return Index("large", photos, names, tuple(range(CLASSES)), *tables, {})


def _corners(n: int, rng: np.random.Generator) -> np.ndarray:
    at, size = rng.random((n, 2)) * (500, 340), rng.random((n, 2)) * 100 + 20
    return np.hstack([at, at + size]).astype(np.float32)


def _refined(index: Index, rng: np.random.Generator) -> pd.DataFrame:
    """Most true boxes displaced, and as many of nothing."""
    assert index.boxes is not None
    rows = index.boxes[["image_id", "label", *XYXY]].reset_index(drop=True)
    rows[XYXY] += rng.normal(0, 6, (len(rows), 4)).astype(np.float32)
    extra = rows.sample(frac=PSEUDO / BOXES - 1, random_state=0).reset_index(drop=True)
    extra[XYXY] = _corners(len(extra), rng)
    rows = pd.concat([rows, extra], ignore_index=True).sort_values("image_id", kind="stable")
    score = rng.random(len(rows)).astype(np.float32)
    used = score > 0.5
    flags = dict.fromkeys(("for_objectness", "for_class", "for_box"), used)
    weight = np.float32(1)
    return rows.assign(score=score, refined_score=score, source="teacher", weight=weight, ignore=False, **flags)


def _stage(folder: Path, name: str, rng: np.random.Generator, terms: tuple[str, ...] = ()) -> Path:
    """provenance.json of a real size, and a history where the stage trains."""
    _folder(folder)
    params = {f"section {k}": {f"name {j}": [0.1 * j, "value"] for j in range(12)} for k in range(8)}
    record = {"stage": name, "params": params, "seconds": 3600.0, "machine": "x86_64", "device": "cuda"}
    (folder / "provenance.json").write_text(json.dumps(record | {"versions": {"python": "3.11", "torch": "2.15"}}))
    if terms and not (folder / "history.tsv").exists():
        step = np.arange(EVERY, STEPS + 1, EVERY)
        values = {name: np.exp(-step / STEPS) + 0.1 * rng.random(len(step)) for name in ("learning_rate", *terms)}
        pd.DataFrame({"step": step, **values}).to_csv(folder / "history.tsv", sep="\t", index=False)
    return folder


def _evaluated(folder: Path, index: Index, images: int, rng: np.random.Generator) -> None:
    def numbers() -> dict[str, Any]:
        lists = {name: rng.random(len(GRID)).tolist() for name in ("precision", "recall", "mean_iou")}
        return lists | {"hidden": 1000, "count": [9] * len(GRID), "boxes_per_image": [7.0] * len(GRID)}

    def targets() -> dict[str, Any]:
        one = {"precision": 0.7, "recall": 0.6, "boxes_per_image": 5.0, "mean_iou": 0.8, "hidden": 9, "count": 9}
        return {"all": one, "classes": dict.fromkeys(index.classes, one)}

    metrics = {role: dict.fromkeys(NAMES, float(rng.uniform(0.2, 0.4))) for role in ("student", "teacher")}
    pseudo = {"all": numbers(), "classes": {name: numbers() for name in index.classes}}
    refined = {"ignore_share": 0.1} | {name: targets() for name in ("class", "box", "objectness")}
    quality = {"iou_threshold": 0.5, "headline_threshold": 0.7, "thresholds": GRID, "classes": list(index.classes)}
    quality |= {"images": images, "hidden": images * BOXES, "kept": 9, "pseudo": pseudo, "refined": refined}
    (folder / "metrics.json").write_text(json.dumps(metrics))
    (folder / "label_quality.json").write_text(json.dumps(quality))
    names = [(role, name) for role in metrics for name in index.classes]
    rows = pd.DataFrame(names, columns=["model", "class"]).assign(AP=rng.random(len(names)), boxes=100)
    rows.to_csv(folder / "per_class.csv", index=False)


def _folder(path: Path) -> Path:
    path.mkdir(parents=True, exist_ok=True)
    return path


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=100_000, metavar="N")
    parser.add_argument("--folds", type=int, default=5, metavar="N", help="of each method and split")
    parser.add_argument("--out", type=Path, help="where to leave the report; a new folder")
    given = parser.parse_args()
    pyarrow.set_cpu_count(1)
    plan = study(given.folds)
    with tempfile.TemporaryDirectory() as name:
        out = given.out or Path(name) / "report"
        out.mkdir(parents=True)
        if pid := os.fork():  # made in a process of its own: what that took is not counted
            if os.waitpid(pid, 0)[1]:
                raise SystemExit("the results could not be made")
        else:
            write(Path(name) / "results", plan, given.images)
            os._exit(0)
        clock, core = time.perf_counter(), time.process_time()
        build(plan, Path(name) / "results", ReportParams.load(ROOT / "params" / "report.yaml"), out)
        clock, core = time.perf_counter() - clock, time.process_time() - core
        photos = [path.stat().st_size for path in (out / "images").iterdir()]
        page = (out / "index.html").stat().st_size
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e9
    print(f"{len(plan.runs)} runs, {given.images:,} images: {clock:.1f} s, {core:.1f} s of one core, {peak:.2f} GB")
    print(f"page {page / 1e6:.2f} MB, {len(photos)} images of {sum(photos) / 1e6:.1f} MB together")


if __name__ == "__main__":
    main()
