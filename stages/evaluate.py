"""Measure a finished run: student and teacher on held-out images, pseudo labels against the truth the split hid.

reads   index, split, pseudo.parquet, refined.parquet, student.safetensors, teacher.safetensors
        --burn_in           teacher.safetensors of the burn-in, which the run's teacher is compared with
writes  metrics.json        {"student": 12 COCO numbers, "teacher": the same, "pseudo": precision, recall,
                            "groups": AP of rare, common and frequent classes,
                            "burn_in": AP of both teachers on some images, and whether the run's fell below}
        per_class.csv       model, class, AP, AP50, AR100, boxes, labeled_boxes, group
        detections.parquet  model, image_id, label, score, x1..y2 in original pixels
        label_quality.json  precision and recall of pseudo and refined labels per class and threshold
A killed run goes on where it was.
"""

from __future__ import annotations

import json
from pathlib import Path

import pandas as pd

from scantling import work
from scantling.checkpoint import load_weights
from scantling.data import index as indexes
from scantling.data import split as splits
from scantling.distributed import is_first
from scantling.evaluate import below, coco, frequency, label_quality
from scantling.evaluate.params import EvaluateParams
from scantling.predict import predict
from scantling.stage import device, run


def evaluate(
    index: Path,
    split: Path,
    pseudo: Path,
    refined: Path,
    model: Path,
    params: EvaluateParams,
    out: Path,
    burn_in: Path | None = None,
) -> None:
    data = indexes.load(index, truth=True)
    images = data.images[data.images["subset"] == params.subset]
    settings = params.model_dump(include={"batch_size", "workers", "score_threshold", "nms_iou", "limit"})
    weights = {role: model / f"{role}.safetensors" for role in ("student", "teacher")}
    looked_at = dict.fromkeys(weights, images)
    if burn_in is not None and params.burn_in_images:
        weights["burn_in"] = burn_in / "teacher.safetensors"
        looked_at["burn_in"] = below.some(images, params.burn_in_images)
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
        found[role] = predict(
            detector, looked_at[role], data.root, input=size, device=device(), keep=keep / role, **settings
        )
    if is_first():  # the others have found their part
        before = found.pop("burn_in", None)
        fallen = None if before is None else below.compare(data, looked_at["burn_in"], before, found["teacher"])
        _measure(data, split, pseudo, refined, params, found, out, {} if fallen is None else {"burn_in": fallen})
    work.finished(keep)


def _measure(
    data: indexes.Index,
    split: Path,
    pseudo: Path,
    refined: Path,
    params: EvaluateParams,
    found: dict[str, pd.DataFrame],
    out: Path,
    more: dict[str, object],
) -> None:
    results = {role: coco.evaluate(data, params.subset, table) for role, table in found.items()}
    labels = pd.read_parquet(pseudo / "pseudo.parquet"), pd.read_parquet(refined / "refined.parquet")
    quality = label_quality.measure(data, splits.load(split), *labels, params.label_quality)
    per_class = _by_model({role: result.per_class for role, result in results.items()})
    per_class = frequency.marked(per_class, splits.load(split), data.classes, params.frequency)
    metrics: dict[str, object] = {role: result.numbers for role, result in results.items()}
    metrics |= {"pseudo": label_quality.headline(quality), "groups": frequency.means(per_class)} | more

    (out / "metrics.json").write_text(json.dumps(metrics, indent=1))
    (out / "label_quality.json").write_text(json.dumps(quality, indent=1))
    per_class.to_csv(out / "per_class.csv", index=False)
    _by_model(found).to_parquet(out / "detections.parquet", index=False)


def _by_model(tables: dict[str, pd.DataFrame]) -> pd.DataFrame:
    """The tables one below the other, with the model that each row is of as first column."""
    return pd.concat(tables, names=["model"]).reset_index(level="model")


if __name__ == "__main__":
    run(evaluate)
