"""Label the images a split left without (all) labels, with a frozen teacher.

reads   --index, --split   images.parquet, data.json, split.parquet
        --teacher          teacher.safetensors of burn_in
writes  pseudo.parquet     every box above a low floor, original pixels, with score, class probability, box spread
        held_out.parquet   the same, without spread, of a labeled subset: to estimate how good the labels are
        summary.json       boxes an image and class over a grid of thresholds; which subset was held out
Thresholds of use belong to the methods: changing one never runs the teacher again. A killed run goes on where it was;
of several processes each labels its share, and the first one writes.
"""

from pathlib import Path

from scantling import checkpoint, log, predict, pseudo, pseudo_files, work
from scantling.data import index as tables
from scantling.data import split as splits
from scantling.distributed import is_first
from scantling.stage import device, run


def pseudo_label(index: Path, split: Path, teacher: Path, params: pseudo.PseudoLabelParams, out: Path) -> None:
    data = tables.load(index, truth=False)
    splits.refuse_foreign(ids := splits.image_ids(split), data.images)
    wanted = data.images[data.images["image_id"].isin(ids)]
    detector, header = checkpoint.load_weights(teacher / "teacher.safetensors", classes=data.classes)
    keep = work.folder(
        "pseudo_label",
        out=out.name,
        images=index / "images.parquet",
        data=index / "data.json",
        split=split / "split.parquet",
        teacher=teacher / "teacher.safetensors",
        params=params,
    )
    size, at = header["detector"].input, device()
    found = predict.pseudo_parts(detector, wanted, data.root, input=size, params=params, device=at, keep=keep / "split")
    held_out = data.images[data.images["subset"] == params.held_out]
    there = sorted(data.images["subset"].unique())
    if params.held_out not in (None, "val", *there):  # no `val` is no mistake: no share was asked for
        log.warn(
            f"`held_out: {params.held_out}`: {data.name} only has {', '.join(there)}; nothing will tell "
            "how many labels are right"
        )
    plain = params.model_copy(update={"jitter_times": 0})
    seen = predict.pseudo_parts(
        detector, held_out, data.root, input=size, params=plain, device=at, keep=keep / "held_out"
    )
    if is_first():  # the others have made their parts
        pseudo_files.save(out, found, len(wanted), data.classes, seen, params.held_out, len(held_out))
    work.finished(keep)


if __name__ == "__main__":
    run(pseudo_label)
