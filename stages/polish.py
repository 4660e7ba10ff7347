"""Decide which pseudo label a method would learn from, and how: a table a person can look at.

reads   --index                images.parquet, data.json, val_boxes.parquet
        --split                split.parquet
        --teacher              teacher.safetensors of the model that made the pseudo labels
        --pseudo               pseudo.parquet; held_out.parquet and summary.json, if they are there
        --corrections          COCO file of images labeled by hand since; they win over the machine's labels
writes  refined.parquet        the same rows with source, refined label, score and box, weight and the flags
                               for_objectness, for_class, for_box, ignore
        polishing.safetensors  networks that the method trained on the teacher's features; mostly none
        aids.json              what else the method derives from them; `guard`: whether too few or too many pass;
                               `expected`: how many of those that pass are right, as `val` tells
A method with such networks looks at images through the teacher, and a killed run of it goes on where it was; the other
methods take seconds.
"""

import json
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pandas as pd
from torch import nn

from scantling import checkpoint, guards, log, methods, work
from scantling import polish as networks
from scantling.augment.views import ViewParams
from scantling.data import corrections as corrected
from scantling.data import index as tables
from scantling.data import parquet
from scantling.data import split as splits
from scantling.data.loader import Pool
from scantling.distributed import is_first
from scantling.evaluate import expected as expected_labels
from scantling.methods import supervised
from scantling.mining import label_limits
from scantling.pseudo_files import load_held_out
from scantling.stage import device, digest, run


def polish(
    index: Path,
    split: Path,
    teacher: Path,
    pseudo: Path,
    corrections: Path,
    method: methods.MethodParams,
    views: ViewParams,
    seed: int,
    out: Path,
) -> None:
    data = tables.load(index, truth=False)
    maker = methods.create(method, data.classes, None)
    found, labels = parquet.read(pseudo / "pseudo.parquet"), splits.load(split)
    by_hand = corrected.load(corrections, data)
    weights = teacher / "teacher.safetensors"
    trained, facts = nn.ModuleDict(), {}
    if maker.taught() is not None:
        known = corrected.seen(labels, corrected.replaced(supervised.unused(found), by_hand))
        decides = {
            "images": index / "images.parquet",
            "data": index / "data.json",
            "split": split / "split.parquet",
            "teacher": weights,
            "pseudo": pseudo / "pseudo.parquet",
            "corrections": corrections,
            "views": views,
            "seed": seed,
            "out": out.name,
        }
        found, trained, facts = _networks(maker, data, known, found, labels, weights, views, seed, decides)
    if not is_first():  # the others have trained and asked the networks with it
        return
    checkpoint.save_polishing(out / "polishing.safetensors", trained, teacher=digest(weights), facts=facts)
    # labels that miss boxes are no measure of what is right, so this is for methods that take them as complete
    seen = None if maker.mines_labeled else _held_out(data, index, pseudo)
    maker.held_out = None if seen is None else seen.boxes
    refined, aids = maker.refine(found, labels)
    refined = corrected.replaced(refined, by_hand)
    refined.to_parquet(out / "refined.parquet", index=False)
    if maker.threshold is not None and aids:  # without aids a method refines nothing
        aids |= _doubts(maker, method.guards, found, refined, labels, seen)
    aids = {"method": method.method, "corrected_images": by_hand["image_id"].nunique(), **aids, **facts}
    (out / "aids.json").write_text(json.dumps(aids, indent=1))


def _held_out(data: tables.Index, index: Path, pseudo: Path) -> expected_labels.HeldOut | None:
    """What the teacher found in the images of val, right and wrong; the truth of other subsets is for the end."""
    looked_at = load_held_out(pseudo)
    if looked_at is None or looked_at[0] != tables.VAL:
        return None
    known = replace(data, boxes=parquet.read(index / "val_boxes.parquet"))
    return expected_labels.judged(known, *looked_at)


def _doubts(
    maker: Any,
    limits: guards.GuardParams,
    found: pd.DataFrame,
    refined: pd.DataFrame,
    labels: pd.DataFrame,
    seen: expected_labels.HeldOut | None,
) -> dict[str, Any]:
    """Whether too few or too many labels pass, and how many of them are right; what is out of limits is warned of."""
    half = label_limits.half_of(found, labels[labels["box_id"] >= 0]) if maker.mines_labeled else None
    number = guards.of_table(found, refined, labels, limits, mines_labeled=maker.mines_labeled, on_labels=half)
    doubts = {}
    if number is not None:
        doubts["guard"] = number.facts()
        if number.verdict != "fine":
            log.warn(number.sentence("in the table", maker.threshold))
    if seen is None:
        return doubts
    used = refined.loc[refined["for_class"] & (refined["source"] != "corrected"), "score"].to_numpy()
    right = expected_labels.measure(seen, used, too_wrong=limits.too_wrong, enough=limits.enough)
    if right is not None:
        doubts["expected"] = right.facts()
        if right.verdict != "fine":
            log.warn(right.sentence(maker.threshold))
    return doubts


def _networks(
    maker: Any,
    data: tables.Index,
    known: pd.DataFrame,
    found: pd.DataFrame,
    labels: pd.DataFrame,
    weights: Path,
    views: ViewParams,
    seed: int,
    decides: dict[str, Any],
) -> tuple[pd.DataFrame, nn.ModuleDict, dict[str, float]]:
    """The pseudo labels as the networks correct them, the networks, and how well they did at the end of training."""
    detector, header = checkpoint.load_weights(weights, classes=data.classes)
    taught, training = maker.taught()
    # neither the labels nor who asks decide what the networks learn: polish of other thresholds or methods finds them
    shared = decides | {"pseudo": None, "out": None, "taught": taught.decides(), "training": training}
    with work.alone(keep := work.folder("polish", **shared)):
        trained, facts = networks.networks_of(
            taught,
            detector,
            Pool.of(data.root, data.images, known, keep_empty=maker.keep_empty_images),
            views,
            training,
            seed=seed + 2,  # other draws than burn-in's and retrain's
            device=device(),
            keep=keep,
            made_by=digest(weights),
        )
    keep = work.folder("polish", **(decides | {"method": maker.params}))
    refined = networks.refined(
        partial(maker.improve, trained.to(device())),
        detector,
        found,
        maker.looks_at(found, labels),
        data.images,
        data.root,
        input=header["detector"].input,
        device=device(),
        keep=keep,
    )
    work.finished(keep)
    return refined, trained, facts


if __name__ == "__main__":
    run(polish)
