"""Draw one image of a run twice: what its teacher found, and what was learned from in the end.

    python -m scantling.report.before_after KEY --out labels.jpg [--results results] [--image ID] [--score 0.3]

White: boxes that the split kept. Green: labels of the machine on a box that the split hid, right in place and class.
Orange: labels that are not. Pink: hidden boxes without a label. Gray: regions that are no background.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from pathlib import Path

import numpy as np
import pandas as pd
from PIL import Image, ImageDraw, ImageFont

from scantling.data import images, index, split
from scantling.data.index import XYXY, Index
from scantling.evaluate import refinement
from scantling.evaluate.counting import judge
from scantling.evaluate.matching import match
from scantling.evaluate.truth import Truth, truth_of
from scantling.stage import BadInput

COLORS = {"kept": "#ffffff", "right": "#17e0ae", "wrong": "#ff8c1a", "missed": "#ff5fae", "ignored": "#b8bcc2"}
SAME_IOU = 0.5  # a label is right from this IoU on, in its class
SIDE_PX = 320  # longest side of each of the two pictures
GAP_PX = 8
INPUTS = {"prepare": "index", "split": "split", "pseudo_label": "pseudo"}  # stage: polish's name of it


def draw(data: Index, image_id: int, sides: dict[str, dict[str, np.ndarray]]) -> Image.Image:
    """The pictures next to each other, each with its name above. sides: name -> kind of COLORS -> boxes (N, 4)."""
    row = data.images[data.images["image_id"] == image_id].iloc[0]
    photo = images.thumbnail(data.root / row["file_name"], SIDE_PX)
    scale = SIDE_PX / max(photo.size)
    photo = photo.resize((round(photo.width * scale), round(photo.height * scale)), Image.Resampling.LANCZOS)
    font = ImageFont.load_default(13)
    top = 20
    canvas = Image.new("RGB", (len(sides) * (photo.width + GAP_PX) - GAP_PX, photo.height + top), "#ffffff")
    for number, (name, kinds) in enumerate(sides.items()):
        left = number * (photo.width + GAP_PX)
        one = photo.copy()
        pen = ImageDraw.Draw(one)
        for kind, boxes in kinds.items():
            for box in boxes * np.tile([photo.width / row["width"], photo.height / row["height"]], 2):
                x1, y1, x2, y2 = (float(v) for v in box)
                corners = (x1, y1, max(x1, x2 - 1), max(y1, y2 - 1))
                if kind != "ignored":
                    pen.rectangle(corners, outline="#000000", width=3)
                pen.rectangle(corners, outline=COLORS[kind], width=1 if kind == "ignored" else 2)
        canvas.paste(one, (left, top))
        ImageDraw.Draw(canvas).text((left, 1), name, "#1d2024", font)
    return canvas


def kinds(truth: Truth, image_id: int, labels: pd.DataFrame, ignored: pd.DataFrame) -> dict[str, np.ndarray]:
    """Boxes of an image by kind of COLORS, what lies on top last. labels: image_id, label, score, x1..y2."""
    here = truth.between(image_id, image_id)
    rows = labels[labels["image_id"] == image_id].sort_values("score", ascending=False, kind="stable")
    judged = judge(here, rows, rows["score"].to_numpy(np.float32), SAME_IOU)
    right = rows[judged.right].reset_index(drop=True)
    taken = match(right, here.hidden, np.arange(len(right)), SAME_IOU)[0]
    found = np.isin(np.arange(len(here.hidden)), taken)
    tables = {
        "ignored": ignored[ignored["image_id"] == image_id],
        "missed": here.hidden[~found],
        "wrong": rows[judged.counted & ~judged.right],
        "right": right,
        "kept": here.kept,
    }
    return {kind: table[XYXY].to_numpy(np.float64) for kind, table in tables.items()}


def of_run(results: Path, key: str, image_id: int | None, score: float) -> Image.Image:
    """score: of the teacher's boxes to draw. Without an image the one with most hidden boxes, the first of several."""
    made = {stage: _folder(results, stage, key) for stage in ("prepare", "split", "pseudo_label")}
    data = index.load(made["prepare"], truth=True)
    truth = truth_of(data, split.load(made["split"]))
    if image_id is None:
        if not len(truth.hidden):
            raise BadInput(f"{key}: the split hides no box, so there is nothing to compare with")
        image_id = int(truth.hidden["image_id"].value_counts(sort=False).sort_index().idxmax())
    elif image_id not in truth.images:
        raise BadInput(f"--image {image_id}: {key} has no such image that misses labels and whose truth is known")
    pseudo = pd.read_parquet(made["pseudo_label"] / "pseudo.parquet")
    refined = pd.read_parquet(results / "polish" / key / "refined.parquet")
    nothing = refined[:0]
    sides = {
        f"found, score {score:g} or more": kinds(truth, image_id, pseudo[pseudo["score"] >= score], nothing),
        "learned": kinds(truth, image_id, refinement.as_learned(refinement.used(refined)), refined[refined["ignore"]]),
    }
    return draw(data, image_id, sides)


def _folder(results: Path, stage: str, key: str) -> Path:
    """Where the run's polish, which its provenance names, had this stage's output from."""
    note = results / "polish" / key / "provenance.json"
    if not note.is_file():
        raise BadInput(f"{note}: there is no such file; run `snakemake --cores all` or `dvc repro`, which make it")
    return results / stage / Path(json.loads(note.read_text())["inputs"][INPUTS[stage]]["path"]).name


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        prog="python -m scantling.report.before_after",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("key", help="of the run, as in results/polish/")
    parser.add_argument("--out", type=Path, required=True, help="the JPEG file to write")
    parser.add_argument("--results", type=Path, default=Path("results"))
    parser.add_argument("--image", type=int, help="image_id; the one with most hidden boxes if not given")
    parser.add_argument("--score", type=float, default=0.3, help="of the teacher's boxes on the left, 0..1; 0.3")
    given = parser.parse_args(argv)
    try:
        picture = of_run(given.results, given.key, given.image, given.score)
    except BadInput as error:
        sys.exit(f"before_after: {error}")
    aside = given.out.with_name(f".{given.out.name}")
    picture.save(aside, "JPEG", quality=75)
    os.replace(aside, given.out)


if __name__ == "__main__":
    main()
