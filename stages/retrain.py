"""Train a student with one method: on the labels, and on what a teacher says of the rest.

reads   --index, --split   images.parquet, data.json, split.parquet
        --start            student.safetensors and teacher.safetensors of burn_in
        --refined          refined.parquet of polish (used by teacher mode cached)
writes  student.safetensors  the weights as trained
        teacher.safetensors  their moving average
        history.tsv          losses, learning rate, pseudo boxes an image, speed, memory
A killed run goes on where its last checkpoint left it.
"""

import copy
from pathlib import Path

import pandas as pd

from scantling import checkpoint, methods, train, work
from scantling.augment.views import ViewParams
from scantling.data import index as tables
from scantling.data import split as splits
from scantling.data.loader import Pool
from scantling.stage import device, run


def retrain(
    index: Path,
    split: Path,
    start: Path,
    refined: Path,
    method: methods.MethodParams,
    views: ViewParams,
    training: train.TrainingParams,
    seed: int,
    out: Path,
) -> None:
    data = tables.load(index, truth=False)
    keep = work.folder(
        "retrain",
        images=index / "images.parquet",
        data=index / "data.json",
        split=split / "split.parquet",
        student=start / "student.safetensors",
        teacher=start / "teacher.safetensors",
        refined=refined / "refined.parquet",
        method=method,
        views=views,
        training=training,
        seed=seed,
    )
    student, header = checkpoint.load_weights(start / "student.safetensors", classes=data.classes)
    average, _ = checkpoint.load_weights(start / "teacher.safetensors", classes=data.classes)
    maker = methods.create(method, data.classes, pd.read_parquet(refined / "refined.parquet"))
    labeler = {"ema": average, "student": None, "frozen": copy.deepcopy(average), "cached": None}[method.teacher]
    trained = train.run(
        student=student,
        average=average,
        labeler=labeler,
        method=maker,
        pool=Pool.of(data.root, data.images, splits.load(split), keep_empty=maker.keep_empty_images),
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
    trained.history.to_csv(out / "history.tsv", sep="\t", index=False)
    work.finished(keep)


if __name__ == "__main__":
    run(retrain)
