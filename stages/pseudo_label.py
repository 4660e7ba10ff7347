"""Label the images a split left without (all) labels, with a frozen teacher.

reads   --index, --split   images.parquet, data.json, split.parquet
        --teacher          teacher.safetensors of burn_in
writes  pseudo.parquet     every box above a low floor, original pixels, with score and box spread
        summary.json       boxes an image and class over a grid of thresholds
Thresholds of use belong to the methods: changing one never runs the teacher again. A killed run goes on where it was.
"""

import json
from pathlib import Path

import numpy as np

from scantling import checkpoint, predict, pseudo, work
from scantling.data import index as tables
from scantling.data import split as splits
from scantling.stage import device, run


def pseudo_label(index: Path, split: Path, teacher: Path, params: pseudo.PseudoLabelParams, out: Path) -> None:
    data = tables.load(index, truth=False)
    wanted = data.images[data.images["image_id"].isin(splits.load(split)["image_id"])]
    detector, header = checkpoint.load_weights(teacher / "teacher.safetensors", classes=data.classes)
    keep = work.folder(
        "pseudo_label",
        images=index / "images.parquet",
        data=index / "data.json",
        split=split / "split.parquet",
        teacher=teacher / "teacher.safetensors",
        params=params,
    )
    found = predict.pseudo_labels(
        detector, wanted, data.root, input=header["detector"].input, params=params, device=device(), keep=keep
    )
    found.to_parquet(out / "pseudo.parquet", index=False)
    grid = [round(float(t), 2) for t in np.arange(0.1, 1.0, 0.1)]
    summary = pseudo.summarize(found, len(wanted), data.classes, grid)
    (out / "summary.json").write_text(json.dumps(summary, indent=1))
    work.finished(keep)


if __name__ == "__main__":
    run(pseudo_label)
