"""Train a student with one method: on the labels, and on what a teacher says of the rest.

reads   --index, --split   images.parquet, data.json, split.parquet
        --start            student.safetensors of burn_in, or of the round before
        --begin            weights: those of --start; backbone: its detector with the backbone's weights alone
        --teacher          teacher.safetensors of the model that made the pseudo labels
        --refined          refined.parquet of polish (used by teacher mode cached, and for corrections) and
                           polishing.safetensors, networks of the method that polish trained
writes  student.safetensors  the weights as trained
        teacher.safetensors  their moving average
        history.tsv          losses, learning rate, pseudo boxes an image, speed, memory
        aids.json            what the method found out beside the weights: thresholds, class weights, repetitions
        learned.parquet      the machine's boxes it learned from, in some of the views it saw (mining/record.py)
A killed run goes on where its last checkpoint left it.
"""

import copy
import json
from pathlib import Path

import pandas as pd
import pyarrow as pa
import torch
from torch import Tensor

from scantling import candidates, checkpoint, detectors, methods, train, work
from scantling.augment.views import ViewParams, torch_seed
from scantling.data import corrections, parquet
from scantling.data import index as tables
from scantling.data import split as splits
from scantling.data.loader import Pool
from scantling.stage import BadInput, device, digest, run


def retrain(
    index: Path,
    split: Path,
    start: Path,
    teacher: Path,
    refined: Path,
    method: methods.MethodParams,
    views: ViewParams,
    training: train.TrainingParams,
    seed: int,
    out: Path,
    begin: str = "weights",
) -> None:
    data = tables.load(index, truth=False)
    keep = work.folder(
        "retrain",
        out=out.name,
        images=index / "images.parquet",
        data=index / "data.json",
        split=split / "split.parquet",
        student=start / "student.safetensors",
        begin=begin,
        teacher=teacher / "teacher.safetensors",
        refined=refined / "refined.parquet",
        networks=refined / "polishing.safetensors",
        method=method,
        views=views,
        training=training,
        seed=seed,
    )
    student, header = checkpoint.load_weights(start / "student.safetensors", classes=data.classes)
    made, _ = checkpoint.load_weights(teacher / "teacher.safetensors", classes=data.classes)
    if begin not in ("weights", "backbone"):
        raise BadInput(f"--begin {begin}: a student begins with `weights` or `backbone`")
    if begin == "backbone":  # soft_teacher.md section 14.2, after the second stage of STAC
        torch.manual_seed(torch_seed(seed + 1))  # the heads start at random, other ones than burn-in's
        student = detectors.build(header["detector"], data.classes, pretrained=True)
        header["step"] = 0
    # a later round that starts from the burn-in again starts its average there, too
    average = made if start == teacher and begin == "weights" else copy.deepcopy(student)
    if method.teacher == "cached":  # only then the method learns from the table
        labels = candidates.load(refined / "refined.parquet", methods.module(method.method).Method.refined_columns)
    else:
        parquet.check(refined / "refined.parquet")
        labels = pd.read_parquet(refined / "refined.parquet", filters=[("source", "==", "corrected")])
    maker = methods.create(method, data.classes, labels)
    maker.given = _networks(refined / "polishing.safetensors", teacher / "teacher.safetensors")
    labeler = {"ema": average, "student": None, "frozen": copy.deepcopy(made), "cached": None}[method.teacher]
    seen = corrections.seen(splits.load(split), labels)
    keep_empty = training.empty_images and maker.keep_empty_images
    pool = Pool.of(data.root, data.images, seen, keep_empty=keep_empty, min_side_px=training.min_side_px)
    del labels, seen  # from here on the method and the pool have what they need of them
    pa.default_memory_pool().release_unused()
    trained = train.run(
        student=student,
        average=average,
        labeler=labeler,
        method=maker,
        pool=pool,
        views=views,
        params=training,
        seed=seed + 1,  # other draws than burn-in's
        device=device(),
        work=keep,
        what="retrain",
    )
    steps = header["step"] + training.scaled().steps
    roles = {"student": (trained.student, trained.networks), "teacher": (trained.teacher, trained.averages)}
    for role, (weights, networks) in roles.items():
        checkpoint.save_weights(
            out / f"{role}.safetensors", weights, header["detector"],
            step=steps, role=role, training=training.summary(), networks=networks,
        )  # fmt: skip
    aids = {"method": method.method, **trained.aids}
    (out / "aids.json").write_text(json.dumps(aids, indent=1))
    maker.record.table().to_parquet(out / "learned.parquet", index=False)
    trained.history.to_csv(out / "history.tsv", sep="\t", index=False)
    work.finished(keep)


def _networks(path: Path, teacher: Path) -> dict[str, Tensor]:
    """The state of the networks that polish trained, which know the features of one teacher only; {} for none."""
    state, made_by, _ = checkpoint.load_polishing(path)
    if state and made_by != digest(teacher):
        raise BadInput(f"{path}: trained on the features of another model than {teacher}; run polish again")
    return state


if __name__ == "__main__":
    run(retrain)
