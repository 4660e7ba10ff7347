"""Small but real result folders, in the formats of the stages, made without training anything."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from PIL import Image

from scantling.data.index import BOX_COLUMNS, IMAGE_COLUMNS, XYXY, Index, load, save, table
from scantling.evaluate import coco, label_quality
from scantling.evaluate.params import QualityParams
from scantling.report.study import Run, StudyParams
from tests.evaluate.made import measure

CLASSES = ("ring", "disk", "<b>&cross")  # the last one must be escaped wherever it is shown
QUALITY = QualityParams(iou_threshold=0.5, headline_threshold=0.5, thresholds=(0.1, 0.3, 0.5, 0.7, 0.9))
SIDE = 96
BASELINES = ("supervised_two_views", "supervised")
STEPS = {"burn_in": 20, "retrain": 40}


def study(folds: tuple[int, ...] = (1, 2, 3), splits: tuple[str, ...] = ("percent_10", "missing_50")) -> StudyParams:
    """supervised and soft on the first split, mining and its own baseline, supervised_two_views, on the others."""
    runs = []
    for number, split in enumerate(splits):
        for method in ("supervised", "soft") if number == 0 else ("mining", "supervised_two_views"):
            runs += [
                Run(data="shapes", split=split, fold=f, detector="small", training="quick", method=method, seed=0)
                for f in folds
            ]
    return StudyParams(name="toy", title="Shapes & labels: a <toy> study", runs={run.key: run for run in runs})


def write(folder: Path, plan: StudyParams) -> Path:
    """All outputs of all runs under folder/results; gives that folder."""
    results = folder / "results"
    index = _index(folder / "images")
    (results / "prepare" / "shapes").mkdir(parents=True)
    save(index, results / "prepare" / "shapes")
    for number, run in enumerate(plan.runs.values()):
        _write_run(results, index, run, np.random.default_rng([7, number]))
    return results


def read_index(results: Path) -> Index:
    return load(results / "prepare" / "shapes", truth=True)


def _index(folder: Path) -> Index:
    rng = np.random.default_rng(3)
    folder.mkdir(parents=True)
    images, boxes = [], []
    for image_id in range(1, 21):
        pixels = rng.integers(90, 130, (SIDE, SIDE, 3)).astype(np.uint8)
        for _ in range(rng.integers(1, 4)):
            x, y = rng.uniform(2, SIDE - 36, 2)
            w, h = rng.uniform(14, 32, 2)
            label = int(rng.integers(3))
            pixels[int(y) : int(y + h), int(x) : int(x + w), label] = 230
            box = dict(zip(XYXY, (x, y, x + w, y + h), strict=True))
            boxes.append({"box_id": len(boxes) + 1, "image_id": image_id, "label": label, **box, "area": w * h})
        Image.fromarray(pixels).save(folder / f"{image_id}.png")
        subset = "train" if image_id <= 12 else "test"
        images.append({"image_id": image_id, "subset": subset, "file_name": f"{image_id}.png"})
    frame = pd.DataFrame(images).assign(width=SIDE, height=SIDE, bytes=1, mtime_ns=0)
    truth = table(pd.DataFrame(boxes).assign(crowd=False, difficult=False), BOX_COLUMNS)
    return Index("shapes", folder, CLASSES, (1, 2, 3), table(frame, IMAGE_COLUMNS), truth, {"source": "synthetic"})


def _write_run(results: Path, index: Index, run: Run, rng: np.random.Generator) -> None:
    split = _split(index, run)
    found = _found(index, "train", 0.75, np.random.default_rng(run.fold))
    pseudo = found.assign(spread=np.float32(0.01), class_probability=found["score"])
    refined = _refined(pseudo, run.method)
    skill = 0.8 if run.method in BASELINES else 0.95
    found = {role: _found(index, "test", skill, rng) for role in ("student", "teacher")}
    scored = {role: coco.evaluate(index, "test", rows) for role, rows in found.items()}
    quality = _as_older_results_have_it(measure(index, split, pseudo, refined, QUALITY))
    rich = run.split.startswith("percent")  # the other splits are results of an older version, without these
    if rich:
        _enrich(quality)
        quality["training"] = None if run.method in BASELINES else _found_in_training(run.fold)

    folder = _folder(results / "split" / run.split_key)
    split.to_parquet(folder / "split.parquet", index=False)
    if rich:
        counts = {"images": 12, "labeled": 3, "unlabeled": 9, "kept": 6, "hidden": 19 + run.fold}
        (folder / "split.json").write_text(json.dumps({"counts": counts}))
    folder = _folder(results / "burn_in" / run.burn_in_key)
    _history("burn_in", ["labeled/class", "labeled/box"], rng).to_csv(folder / "history.tsv", sep="\t", index=False)
    _provenance(folder, "burn_in", 12.5, {"training": {"steps": STEPS["burn_in"]}, "seed": run.seed})
    folder = _folder(results / "pseudo_label" / run.burn_in_key)
    pseudo.to_parquet(folder / "pseudo.parquet", index=False)
    _provenance(folder, "pseudo_label", 1.5, {"params": {"score_floor": 0.05}})
    folder = _folder(results / "polish" / run.key)
    refined.to_parquet(folder / "refined.parquet", index=False)
    keys = {
        "index": f"prepare/{run.data}",
        "split": f"split/{run.split_key}",
        "pseudo": f"pseudo_label/{run.pseudo_key}",
    }
    inputs = {name: {"path": f"results/{key}"} for name, key in keys.items()}
    _provenance(folder, "polish", 0.5, {"method": {"method": run.method}}, inputs=inputs)
    terms = ["labeled/class", "labeled/box"]
    terms += [] if run.method in BASELINES else ["unlabeled/class", "pseudo_boxes"]
    folder = _folder(results / "retrain" / run.key)
    _history("retrain", terms, rng).to_csv(folder / "history.tsv", sep="\t", index=False)
    told = {"method": {"method": run.method, "note": "</pre>"}, "seed": run.seed, "training": {"precision": "float32"}}
    _provenance(folder, "retrain", 30.0, told)

    folder = _folder(results / "evaluate" / run.key)
    metrics: dict[str, Any] = {role: result.numbers for role, result in scored.items()}
    if rich:
        metrics["voc"] = {role: {"AP_11_points": 0.5, "AP_area": 0.25} for role in scored}
        metrics["groups"] = {"rare": {"classes": 1, **{role: {"AP": 0.125, "AP50": 0.5} for role in scored}}}
        metrics["imbalance"] = {"minority": metrics["groups"]["rare"]}
        metrics["burn_in"] = {"images": 8, "burn_in_AP": 0.9, "teacher_AP": 0.5, "below_burn_in": run.fold == 2}
        spread = {"level": 0.95} | {role: {"AP": [0.111, 0.999], "AP50": None} for role in scored}
        (folder / "intervals.json").write_text(json.dumps(spread))
    (folder / "metrics.json").write_text(json.dumps(metrics | {"pseudo": label_quality.headline(quality)}))
    (folder / "label_quality.json").write_text(json.dumps(quality))
    if rich:
        (folder / "errors.json").write_text(json.dumps({role: _errors(rng) for role in found}))
    rows = pd.concat([result.per_class.assign(model=role) for role, result in scored.items()])
    rows[["model", *coco.PER_CLASS_COLUMNS]].to_csv(folder / "per_class.csv", index=False)
    _provenance(
        folder, "evaluate", 2.0, {"params": {"subset": "test", "score_threshold": 0.05, "nms_iou": 0.5, "limit": 100}}
    )


def _as_older_results_have_it(quality: dict[str, Any]) -> dict[str, Any]:
    """Without what later versions measure of labels; some runs get it back by `_enrich`."""
    parts = {name: quality[name] for name in quality if name not in ("density", "estimate", "changes")}
    for new in ("sizes", "calibration", "suggested"):
        parts["pseudo"].pop(new, None)
    return parts


def _enrich(quality: dict[str, Any]) -> None:
    """What newer results say of labels beside precision and recall: sizes, calibration, thresholds, an estimate."""
    pseudo = quality["pseudo"]
    classes = dict.fromkeys(quality["classes"])
    pseudo["sizes"] = dict.fromkeys(("small", "medium", "large"), pseudo["all"])
    bins = {"count": [4, 0, 6], "mean_score": [0.2, None, 0.8], "precision": [0.1, None, 0.9], "error": 0.1}
    pseudo["calibration"] = {"edges": [0, 1 / 3, 2 / 3, 1], "all": bins, "classes": classes | {"ring": bins}}
    best = {"threshold": 0.3, "precision": 0.7, "recall": 0.8, "f1": 0.747}
    pseudo["suggested"] = {"all": best, "classes": classes | {"ring": best}}
    dense = {"boxes_per_image": 2.0, "threshold": 0.415}
    quality["density"] = {"labeled_images": 3, "images": 9, "all": dense, "classes": classes | {"ring": dense}}
    quality["estimate"] = {"subset": "val", "images": 8, "boxes": 16, "all": pseudo["all"]}
    quality["changes"] = None


def _found_in_training(fold: int) -> dict[str, Any]:
    """Of three stretches; nothing was found in the first."""
    every = {"hidden": [5, 5, 5], "count": [0, 4, 8], "boxes_per_image": [0.0, 1.0, 2.0], "mean_iou": [None, 0.7, 0.8]}
    every |= {"precision": [None, 0.5, 0.625 + fold / 1000], "recall": [0.0, 0.4, 1.0], "parts": [None, 0.25, 0.0]}
    return {"steps": [14, 27, 40], "views": [4, 4, 4], "all": every, "classes": {}}


def _errors(rng: np.random.Generator) -> dict[str, Any]:
    """One model's part of errors.json."""
    kinds = ("classification", "localization", "both", "duplicate", "background", "missed")
    types = {
        kind: {"count": int(rng.integers(1, 9)), "shown": 1, "dAP": float(rng.uniform(-0.01, 0.1))} for kind in kinds
    }
    types["missed"]["shown"] = None
    whole = {"count": 9, "shown": 3, "dAP": 0.2}
    return {
        "AP50": 0.7,
        "types": types,
        "false_positives": whole,
        "false_negatives": whole,
        "classes": {name: dict.fromkeys(kinds, 1) for name in CLASSES},
        "confusion": [[0, 0, 5], [0, 1, 2], [1, 1, 6], [2, 2, 3], [2, 3, 4], [3, 0, 7]],
    }


def _split(index: Index, run: Run) -> pd.DataFrame:
    """percent_*: some images keep all boxes, the others none; full: all is kept; missing_*: the first box."""
    train = index.images.loc[index.images["subset"] == "train", "image_id"]
    boxes = index.boxes[index.boxes["image_id"].isin(train)]
    if run.split.startswith("percent"):
        kept = boxes[boxes["image_id"] % 4 == run.fold % 4]
    elif run.split == "full":
        kept = boxes
    else:
        kept = boxes.groupby("image_id").head(1)
    rows = kept[["image_id", "box_id", "label", *XYXY]].assign(labeled=True)
    bare = pd.DataFrame({"image_id": train[~train.isin(kept["image_id"])]}).assign(labeled=False, box_id=-1, label=-1)
    columns = {"image_id": "int64", "labeled": "bool", "box_id": "int64", "label": "int32"}
    return table(pd.concat([rows, bare]), columns | dict.fromkeys(XYXY, "float32"))


def _found(index: Index, subset: str, skill: float, rng: np.random.Generator) -> pd.DataFrame:
    """Displaced true boxes with a share of 1 - skill lost, and some boxes of nothing."""
    ids = index.images.loc[index.images["subset"] == subset, "image_id"]
    true = index.boxes[index.boxes["image_id"].isin(ids)]
    true = true[rng.random(len(true)) < skill]
    right = true[["image_id", "label"]].assign(score=rng.uniform(0.3, 1.0, len(true)))
    right[XYXY] = true[XYXY] + rng.normal(0, 3 * (1.2 - skill), (len(true), 4))
    corner = rng.uniform(0, SIDE - 30, (len(ids), 2))
    labels, scores = rng.integers(0, 3, len(ids)), rng.uniform(0.05, 0.6, len(ids))
    wrong = pd.DataFrame({"image_id": ids, "label": labels, "score": scores})
    wrong[XYXY] = np.hstack([corner, corner + 20])
    columns = {"image_id": "int64", "label": "int32", "score": "float32"} | dict.fromkeys(XYXY, "float32")
    return table(pd.concat([right, wrong]).sort_values("score", ascending=False), columns)


def _refined(pseudo: pd.DataFrame, method: str) -> pd.DataFrame:
    used = (pseudo["score"] >= 0.5) & (method not in BASELINES)
    flags = {name: used for name in ("for_objectness", "for_class")} | {"for_box": used & (pseudo["score"] >= 0.7)}
    ignore = ~used & (pseudo["score"] >= 0.4) & (method not in BASELINES)
    return pseudo.assign(source="teacher", refined_score=pseudo["score"], weight=np.float32(1), **flags, ignore=ignore)


def _history(stage: str, names: list[str], rng: np.random.Generator) -> pd.DataFrame:
    step = np.arange(2, STEPS[stage] + 1, 2)
    values = {name: 2 * np.exp(-step / 15) + rng.uniform(0, 0.2, len(step)) + 0.2 for name in names}
    speed = {"learning_rate": 0.01, "images_per_second": 20.0, "peak_memory_mib": 500.0}
    return pd.DataFrame({"step": step, **values, **speed})


def _provenance(folder: Path, stage: str, seconds: float, params: dict[str, Any], **more: object) -> None:
    record = more | {"stage": stage, "params": params, "seconds": seconds, "machine": "x86_64", "device": "cpu"}
    (folder / "provenance.json").write_text(json.dumps(record | {"versions": {"python": "3.11.0", "torch": "2.15.0"}}))


def _folder(path: Path) -> Path:
    path.mkdir(parents=True, exist_ok=True)
    return path
