"""Take the detections of a foreign model as the pseudo labels of a split, in place of pseudo_label.

reads   --index, --split   images.parquet, data.json, split.parquet
        --foreign          which file of detections, and what its classes and images are here
        --params           the same score floor, boxes an image and held-out subset as for a teacher of our own
writes  pseudo.parquet     its boxes on the images of the split, in original pixels
        held_out.parquet   those on a labeled subset: to estimate how good the labels are
        summary.json       boxes an image and class over a grid of thresholds; what was dropped of the file
"""

from pathlib import Path

from scantling import log, pseudo, pseudo_files
from scantling.data import foreign as foreign_labels
from scantling.data import index as tables
from scantling.data import split as splits
from scantling.stage import run


def adopt(
    index: Path, split: Path, foreign: foreign_labels.ForeignParams, params: pseudo.PseudoLabelParams, out: Path
) -> None:
    data = tables.load(index, truth=False)
    found, facts = foreign_labels.read(foreign, data)
    found = pseudo.best(found, params.score_floor, params.limit)
    wanted = splits.load(split)["image_id"].unique()
    held_out = data.images.loc[data.images["subset"] == params.held_out, "image_id"]
    here, seen = (found[found["image_id"].isin(ids)].reset_index(drop=True) for ids in (wanted, held_out))
    # a file without any detection there says nothing of these images: the model was not run on them
    subset, images = (params.held_out, len(held_out)) if len(seen) else (None, 0)
    pseudo_files.save(out, [here], len(wanted), data.classes, [seen], subset, images, {"foreign": facts})
    dropped = ", ".join(f"{facts[k]} {k}" for k in ("other_images", "other_classes", "without_area") if facts[k])
    log.line(
        f"{foreign.file}: {facts['detections']} detections, {len(here)} kept on {here['image_id'].nunique()} of "
        f"{len(wanted)} images of the split, {len(seen)} on held-out images{'; dropped: ' + dropped if dropped else ''}"
    )


if __name__ == "__main__":
    run(adopt)
