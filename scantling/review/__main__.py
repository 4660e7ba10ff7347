"""Rank the images of a split by how much there is to correct in them, and write a page to look at them.

    python -m scantling.review --run results/retrain/KEY

writes results/review/KEY: index.html and pictures/ (the first images), review.csv (their findings), review.parquet (all
findings), images.csv, images.parquet (scores, a column a reason), boxes.parquet, detections.parquet. The model of the
run labels the images first, and a killed command goes on where it was; with --detections no model runs.
"""

from __future__ import annotations

import argparse
import os
import shutil
import sys
from pathlib import Path

import pandas as pd

from scantling import log
from scantling.data.index import Index
from scantling.params import ParamsError, check
from scantling.review import folder, sources
from scantling.review.params import ReviewParams
from scantling.review.ranking import rank
from scantling.review.sources import Sources
from scantling.stage import BadInput, publish


def review(given: argparse.Namespace) -> None:
    named = Sources(**{name: getattr(given, name) for name in vars(Sources())})
    chosen = named if given.run is None else sources.of_run(given.run, named)
    out = given.out
    if out is None:
        if given.run is None:
            raise BadInput("name the folder to write with --out")
        out = Path("results/review") / given.run.name
    if out.exists() and not (out / folder.MARK).is_file() and (not out.is_dir() or any(out.iterdir())):
        raise BadInput(f"--out {out}: is there and was not written by this command; name a new folder")
    params = ReviewParams.load(given.params)
    if given.score_threshold is not None:
        lower = min(params.found_score, given.score_threshold)
        changed = {"score_threshold": given.score_threshold, "found_score": lower}
        params = check(ReviewParams, params.resolved() | changed, "--score-threshold")
    index, split = sources.load(chosen)
    teacher = sources.pseudo(chosen, index)
    model, keep = _boxes_of_model(chosen, given.labeling, index, split, out)
    if model is None:
        model, teacher = teacher, None
    if model is None:
        raise BadInput("there are no boxes to look at; name --pseudo, --detections or --model")
    log.line(f"{split['image_id'].nunique():,} images, {len(model):,} boxes")
    found = rank(split, model, teacher, params)

    fresh = out.with_name(f".{out.name}.part")
    shutil.rmtree(fresh, ignore_errors=True)
    fresh.mkdir(parents=True)
    facts = {
        "sources": {name: str(path) for name, path in vars(chosen).items() if path},
        "detections": keep and keep.name,
    }
    if keep is not None:
        model.to_parquet(fresh / folder.DETECTIONS, index=False)
    folder.write(fresh, index, split, found, params, facts)
    publish(fresh, out)
    if keep is not None:
        shutil.rmtree(keep, ignore_errors=True)  # what a killed run would have gone on from
    shown = min(len(found.images), params.images)
    log.line(f"{len(found.images):,} images with findings; {out / 'index.html'} shows the first {shown:,}")


def _boxes_of_model(
    chosen: Sources, labeling: Path, index: Index, split: pd.DataFrame, out: Path
) -> tuple[pd.DataFrame | None, Path | None]:
    """The boxes of the model, read, kept from the last time or made; and the folder that making them goes on from."""
    if chosen.detections is not None:
        return sources.boxes(chosen.detections, "detections", index), None
    if chosen.model is None:
        return None, None
    import torch  # which a table of boxes does without

    from scantling import checkpoint, predict, work
    from scantling.pseudo import PseudoLabelParams
    from scantling.stage import device

    assert chosen.index is not None and chosen.split is not None
    torch.set_num_threads(int(os.environ.get("SCANTLING_THREADS", "1")))
    params = PseudoLabelParams.load(labeling)
    weights = chosen.model / "teacher.safetensors"
    detector, header = checkpoint.load_weights(weights, classes=index.classes)
    keep = work.folder(
        "review",
        images=chosen.index / "images.parquet",
        data=chosen.index / "data.json",
        split=chosen.split / "split.parquet",
        model=weights,
        params=params,
    )
    if folder.made_with(out) == keep.name and (out / folder.DETECTIONS).is_file():
        return sources.boxes(out / folder.DETECTIONS, "out", index), keep
    wanted = index.images[index.images["image_id"].isin(split["image_id"])]
    size = header["detector"].input
    found = predict.pseudo_labels(detector, wanted, index.root, input=size, params=params, device=device(), keep=keep)
    return found[sources.BOXES], keep


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        prog="python -m scantling.review", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--run", type=Path, help="results/retrain/KEY; its record says what it was made from")
    parser.add_argument("--index", type=Path, help="results/prepare/NAME")
    parser.add_argument("--split", type=Path, help="results/split/KEY")
    parser.add_argument("--pseudo", type=Path, help="results/pseudo_label/KEY: the boxes of the teacher")
    parser.add_argument("--refined", type=Path, help="results/polish/KEY: for what was corrected already")
    parser.add_argument("--model", type=Path, help="folder of teacher.safetensors: the model that labels the images")
    parser.add_argument("--detections", type=Path, metavar="FILE", help="a table of boxes in place of the model")
    parser.add_argument("--out", type=Path, help="folder to write (results/review/KEY); one written before is replaced")
    parser.add_argument(
        "--params", type=Path, default=Path("params/review.yaml"), help="what counts (params/review.yaml)"
    )
    parser.add_argument("--labeling", type=Path, default=Path("params/pseudo_label.yaml"), help="how the model labels")
    parser.add_argument("--score-threshold", type=float, help="in place of that of --params")
    try:
        review(parser.parse_args(argv))
    except (BadInput, ParamsError) as error:
        sys.exit(f"review: {error}")


if __name__ == "__main__":
    main()
