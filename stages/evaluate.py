"""Measure a finished run: student and teacher on held-out images, pseudo labels against the truth the split hid.

reads   index, split, pseudo.parquet, refined.parquet, student.safetensors, teacher.safetensors
writes  metrics.json        {"student": 12 COCO numbers, "teacher": the same, "pseudo": precision, recall}
        per_class.csv       model, class, AP, AP50, AR100, boxes
        detections.parquet  model, image_id, label, score, x1..y2 in original pixels
        label_quality.json  precision and recall of pseudo and refined labels per class and threshold
A killed run goes on where it was.
"""

from __future__ import annotations

import json
from pathlib import Path

import pandas as pd

from scantling import log, work
from scantling.checkpoint import load_weights
from scantling.data import index as indexes
from scantling.data import split as splits
from scantling.distributed import is_first
from scantling.evaluate import coco, label_quality
from scantling.evaluate.params import EvaluateParams
from scantling.predict import predict
from scantling.stage import device, run


def evaluate(
    index: Path, split: Path, pseudo: Path, refined: Path, model: Path, params: EvaluateParams, out: Path
) -> None:
    data = indexes.load(index, truth=True)
    images = data.images[data.images["subset"] == params.subset]
    settings = params.model_dump(include={"batch_size", "workers", "score_threshold", "nms_iou", "limit"})
    weights = {role: model / f"{role}.safetensors" for role in ("student", "teacher")}
    keep = work.folder(
        "evaluate",
        images=index / "images.parquet",
        data=index / "data.json",
        subset=params.subset,
        settings=settings,
        **weights,
    )
    found = {}
    for role, path in weights.items():
        detector, header = load_weights(path, classes=data.classes)
        size = header["detector"].input
        found[role] = predict(detector, images, data.root, input=size, device=device(), keep=keep / role, **settings)
    if is_first():  # the others have found their part
        _measure(data, split, pseudo, refined, params, found, out)
    work.finished(keep)


def _measure(
    data: indexes.Index,
    split: Path,
    pseudo: Path,
    refined: Path,
    params: EvaluateParams,
    found: dict[str, pd.DataFrame],
    out: Path,
) -> None:
    results = {role: coco.evaluate(data, params.subset, table) for role, table in found.items()}
    labels = pd.read_parquet(pseudo / "pseudo.parquet"), pd.read_parquet(refined / "refined.parquet")
    quality = label_quality.measure(data, splits.load(split), *labels, params.label_quality)
    for sentence in label_quality.polishing(quality):
        log.line(sentence)
    metrics = {role: result.numbers for role, result in results.items()} | {"pseudo": label_quality.headline(quality)}

    (out / "metrics.json").write_text(json.dumps(metrics, indent=1))
    (out / "label_quality.json").write_text(json.dumps(quality, indent=1))
    _by_model({role: result.per_class for role, result in results.items()}).to_csv(out / "per_class.csv", index=False)
    _by_model(found).to_parquet(out / "detections.parquet", index=False)


def _by_model(tables: dict[str, pd.DataFrame]) -> pd.DataFrame:
    """The tables one below the other, with the model that each row is of as first column."""
    return pd.concat(tables, names=["model"]).reset_index(level="model")


if __name__ == "__main__":
    run(evaluate)
