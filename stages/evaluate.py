"""Measure a finished run: student and teacher on held-out images, pseudo labels against the truth the split hid.

reads   index, split (split.parquet, split.json)
        --pseudo            pseudo.parquet, held_out.parquet, summary.json
        --refined           refined.parquet
        --before            refined.parquet of the round before; the same as --refined: there was none
        --model             student.safetensors, teacher.safetensors, and learned.parquet, boxes learned from;
                            a burn-in, which has none, can be evaluated too
        --burn_in           teacher.safetensors of the burn-in, which the run's teacher is compared with
writes  metrics.json        {"student": 12 COCO numbers, "teacher": the same, "pseudo": precision, recall,
                            "groups": AP of rare, common and frequent classes,
                            "imbalance": AP of minority and majority classes, where the split names a minority,
                            "burn_in": AP of both teachers on some images, and whether the run's fell below,
                            "voc": {"student": {AP_11_points, AP_area}, "teacher": ...} for PASCAL VOC,
                            "lvis": {"student": {AP .. APr, APc, APf, AR300}, "teacher": ...} for LVIS}
        per_class.csv       model, class, AP, AP50, AR100, boxes, labeled_boxes, group; for VOC AP_11_points, AP_area;
                            for LVIS AP_lvis, frequency
        intervals.json      {"level", "resamples", "seed", "images", "student": {"AP": [low, high], "AP50": the same,
                            "classes": {class: {"AP", "AP50"}}}, "teacher": the same,
                            "teacher_minus_student": {"AP": {"difference", "interval", "above_zero"}, "AP50": the same}}
        errors.json         {"score_threshold", "classes": names, "student": {"AP50", "types": {type: {"count", "shown",
                            "dAP"}}, "false_positives", "false_negatives": the same, "classes": {class: {type: count}},
                            "confusion": [[true, named, count], ...]}, "teacher": the same}; see errors.analyze
        detections.parquet  model, image_id, label, score, x1..y2 in original pixels
        label_quality.json  how good pseudo and refined labels are: docs/label_quality.md
A killed run goes on where it was.
"""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

from scantling import work
from scantling.checkpoint import load_weights
from scantling.data import index as indexes
from scantling.data import parquet
from scantling.distributed import is_first
from scantling.evaluate import below, detections, facts, frequency, label_quality, over_training, portions
from scantling.evaluate.params import EvaluateParams
from scantling.predict import detection_parts
from scantling.pseudo_files import load_held_out
from scantling.stage import device, run


def evaluate(
    index: Path,
    split: Path,
    pseudo: Path,
    refined: Path,
    model: Path,
    params: EvaluateParams,
    out: Path,
    before: Path | None = None,
    burn_in: Path | None = None,
) -> None:
    data = indexes.load(index, truth=False)
    images = data.images[data.images["subset"] == params.subset]
    settings = params.model_dump(include={"batch_size", "workers", "score_threshold", "nms_iou", "limit"})
    weights = {role: model / f"{role}.safetensors" for role in ("student", "teacher")}
    looked_at = dict.fromkeys(weights, images)
    if burn_in is not None and params.burn_in_images:
        weights[facts.BURN_IN] = burn_in / "teacher.safetensors"
        looked_at[facts.BURN_IN] = below.some(images, params.burn_in_images)
    keep = work.folder(
        "evaluate",
        out=out.name,
        images=index / "images.parquet",
        data=index / "data.json",
        subset=params.subset,
        settings=settings,
        **weights,
    )
    parts = {}
    for role, path in weights.items():
        detector, header = load_weights(path, classes=data.classes)
        size = header["detector"].input
        parts[role] = detection_parts(
            detector, looked_at[role], data.root, input=size, device=device(), keep=keep / role, **settings
        )
        del detector
    if is_first():  # the others have found their part
        found = {role: detections.stored(tables, keep / f"{role}.parquet") for role, tables in parts.items()}
        data = replace(data, image_labels=parquet.read(index / "image_labels.parquet"))
        tables = _tables(index, split, pseudo, refined, before)
        quality = _quality(data, tables, pseudo, params)
        learned = over_training.load(model / "learned.parquet")
        quality["training"] = over_training.measure(data, tables.boxes, tables.split, learned, params.label_quality)
        labeled = frequency.labeled_boxes(tables.split, len(data.classes))
        data = replace(data, boxes=portions.of_images(tables.boxes, images["image_id"].to_numpy()))
        del tables  # where one of them was held
        made = facts.measure(data, labeled, found, looked_at, quality, params, _minority(split))
        for name, content in made.documents.items():
            (out / name).write_text(json.dumps(content, indent=None if name == "errors.json" else 1))
        made.tables["per_class.csv"].to_csv(out / "per_class.csv", index=False)
        of_run = {role: table for role, table in found.items() if role != facts.BURN_IN}
        detections.save(of_run, out / "detections.parquet")
    work.finished(keep)


def _tables(index: Path, split: Path, pseudo: Path, refined: Path, before: Path | None) -> label_quality.Tables:
    files = {
        "boxes": index / "boxes.parquet",
        "split": split / "split.parquet",
        "pseudo": pseudo / "pseudo.parquet",
        "refined": refined / "refined.parquet",
    }
    if before is not None and before != refined:  # not the first round
        files["before"] = before / "refined.parquet"
    return label_quality.Tables(**{name: portions.of_file(file) for name, file in files.items()})


def _minority(split: Path) -> list[str]:
    """Classes of which protocol `imbalanced` labeled a few boxes only; none where another protocol drew the split."""
    return json.loads((split / "split.json").read_text()).get("drawn", {}).get("minority", [])


def _quality(data: indexes.Index, tables: label_quality.Tables, pseudo: Path, params: EvaluateParams) -> dict[str, Any]:
    held_out = load_held_out(pseudo)
    if held_out is not None:
        held_out = held_out[0], portions.Held(held_out[1])
    return label_quality.measure(data, tables, params.label_quality, on_held_out=held_out)


if __name__ == "__main__":
    run(evaluate)
