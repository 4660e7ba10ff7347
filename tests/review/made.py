"""The results of a run on eight small images, written without training: four labeled, four not."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd

from scantling import checkpoint
from scantling.data import index as indexes
from scantling.data.index import BOX_COLUMNS, IMAGE_COLUMNS, XYXY, Index, table
from scantling.methods.supervised import unused
from scantling.pseudo import COLUMNS
from tests import toy

KEY = "mine-full-f1-faster_rcnn_lite-bccd-soft_teacher-s0"
TEACHER = "mine-full-f1-faster_rcnn_lite-bccd-s0"
CLASSES = ("square", "<b>bar</b></script>")  # the second must be escaped wherever it is shown


def boxes(*rows: tuple[float, ...]) -> pd.DataFrame:
    """A table of a machine's boxes from (image_id, label, score, x1, y1, x2, y2[, spread])."""
    columns = ["image_id", "label", "score", *XYXY, "spread"]
    return table(pd.DataFrame([(*row, np.nan)[:8] for row in rows], columns=columns), COLUMNS)


def run(folder: Path, *, weights: bool = False) -> Path:
    """results/ of one run under `folder`; gives results/retrain/KEY. Images lie in data/raw/mine/images."""
    root, results = folder / "data/raw/mine", folder / "results"
    (root / "images").mkdir(parents=True)
    images, split = toy.tables(root / "images")
    images = images.assign(file_name="images/" + images["file_name"], bytes=1, mtime_ns=0)
    images["subset"] = ["train"] * 4 + ["unlabeled"] * 4
    for stage, key in (("prepare", "mine"), ("split", "mine-full-f1"), ("pseudo_label", TEACHER)):
        (results / stage / key).mkdir(parents=True)
    for stage in ("polish", "retrain"):
        (results / stage / KEY).mkdir(parents=True)
    truth = split[split["box_id"] >= 0].assign(area=1.0, crowd=False, difficult=False)
    made = Index("mine", root, CLASSES, (3, 17), table(images, IMAGE_COLUMNS), table(truth, BOX_COLUMNS), {})
    indexes.save(made, results / "prepare/mine")
    split.to_parquet(results / "split/mine-full-f1/split.parquet")
    pseudo = found(split)
    pseudo.to_parquet(results / "pseudo_label" / TEACHER / "pseudo.parquet")
    unused(pseudo).to_parquet(results / "polish" / KEY / "refined.parquet")
    names = {"index": "prepare/mine", "split": "split/mine-full-f1"}
    record(results / "polish" / KEY, results, names | {"pseudo": f"pseudo_label/{TEACHER}"})
    record(results / "retrain" / KEY, results, names | {"refined": f"polish/{KEY}"})
    if weights:
        detector = toy.detector("fcos_lite", CLASSES)
        params = toy.detector_params("fcos_lite")
        checkpoint.save_weights(results / "retrain" / KEY / "teacher.safetensors", detector, params, step=1, role="t")
    return results / "retrain" / KEY


def found(split: pd.DataFrame) -> pd.DataFrame:
    """Boxes with something to find: an object without label, a label of another class, and doubts elsewhere."""
    first = split[(split["image_id"] == 0) & (split["box_id"] >= 0)].iloc[0]
    return boxes(
        (0, 1, 0.9, *first[XYXY]),  # says bar where the label says square
        (1, 0, 0.95, 60, 40, 78, 62),  # nobody has labeled this
        (4, 0, 0.72, 2, 2, 20, 20, 0.2),
        (5, 1, 0.65, 10, 10, 40, 30, 0.01),
    )


def record(folder: Path, results: Path, inputs: dict[str, str]) -> None:
    """provenance.json as the stages write it."""
    paths = {name: {"path": str(results / at), "sha256": ""} for name, at in inputs.items()}
    (folder / "provenance.json").write_text(json.dumps({"inputs": paths}))


def table_of(file: Path, folder: Path) -> Path:
    """The boxes of `found` as a file of their own."""
    found(pd.read_parquet(folder / "results/split/mine-full-f1/split.parquet")).to_parquet(file)
    return file
