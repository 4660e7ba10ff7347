"""Train the first teacher of a split on its labels alone.

reads   --index    images.parquet, data.json
        --split    split.parquet (the boxes training may see)
        --labeled  the view of labeled images, the only one it sees: an edit of another view leaves it as it is
writes  student.safetensors  the weights as trained
        teacher.safetensors  their moving average: the first teacher
        history.tsv          losses, learning rate, speed, memory
A killed run goes on where its last checkpoint left it.
"""

import copy
from pathlib import Path

import torch

from scantling import checkpoint, detectors, train, work
from scantling.augment.settings import View, ViewParams
from scantling.augment.views import torch_seed
from scantling.data import index as tables
from scantling.data import split as splits
from scantling.data.loader import Pool
from scantling.methods import supervised
from scantling.stage import BadInput, device, run


def burn_in(
    index: Path,
    split: Path,
    detector: detectors.DetectorParams,
    labeled: View,
    training: train.TrainingParams,
    seed: int,
    out: Path,
) -> None:
    data = tables.load(index, truth=False)
    if labeled.same_geometry:
        raise BadInput("--labeled: `same_geometry` follows the weak view, only `strong` can have it; leave it out")
    views = ViewParams(labeled=labeled, weak=labeled, strong=labeled)
    backbone = Path(str(detector.backbone.weights))  # or `package`, which the pins decide
    keep = work.folder(
        "burn_in",
        out=out.name,
        backbone=backbone if backbone.is_file() else None,
        images=index / "images.parquet",
        data=index / "data.json",
        split=split / "split.parquet",
        detector=detector,
        view=labeled,
        training=training,
        seed=seed,
    )
    torch.manual_seed(torch_seed(seed))  # the heads start at random
    student = detectors.build(detector, data.classes, pretrained=True)
    trained = train.run(
        student=student,
        average=copy.deepcopy(student),
        labeler=None,
        method=supervised.Method(supervised.Params(), data.classes, None),
        pool=Pool.of(
            data.root,
            data.images,
            splits.load(split),
            keep_empty=training.empty_images,
            min_side_px=training.min_side_px,
        ),
        views=views,
        params=training,
        seed=seed,
        device=device(),
        work=keep,
        what="burn_in",
    )
    roles = {"student": (trained.student, trained.networks), "teacher": (trained.teacher, trained.averages)}
    for role, (weights, networks) in roles.items():
        checkpoint.save_weights(
            out / f"{role}.safetensors", weights, detector,
            step=training.scaled().steps, role=role, training=training.summary(), networks=networks,
        )  # fmt: skip
    trained.history.to_csv(out / "history.tsv", sep="\t", index=False)
    work.finished(keep)


if __name__ == "__main__":
    run(burn_in)
