"""The folder that a review writes: tables for machines, pictures and a page for people."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pandas as pd

from scantling import log
from scantling.data import images as pixels
from scantling.data.index import XYXY, Index
from scantling.review import page
from scantling.review.params import ReviewParams
from scantling.review.ranking import REASONS, Ranking
from scantling.stage import BadInput

MARK = "review.json"  # says of a folder that this command wrote it
DETECTIONS = "detections.parquet"


def made_with(folder: Path) -> str | None:
    """What decided the detections of a folder written before; None where there are none."""
    try:
        return json.loads((folder / MARK).read_text(encoding="utf-8"))["detections"]
    except (OSError, ValueError, KeyError, TypeError):
        return None


def write(
    out: Path, index: Index, split: pd.DataFrame, found: Ranking, params: ReviewParams, facts: dict[str, Any]
) -> None:
    """All files but the detections, into an empty folder."""
    images = _images(index, split, found)
    findings = _findings(index, images, found)
    first = images[: params.images]
    images.to_parquet(out / "images.parquet", index=False)
    first.to_csv(out / "images.csv", index=False, float_format="%.6g")
    findings.to_parquet(out / "review.parquet", index=False)
    findings[findings["rank"] <= len(first)].to_csv(out / "review.csv", index=False, float_format="%.6g")
    found.boxes.to_parquet(out / "boxes.parquet", index=False)
    facts = {
        "name": index.name,
        "root": str(index.root),
        "classes": list(index.classes),
        "category_ids": list(index.category_ids),
        "params": params.resolved(),
        "counts": {
            "images": int(split["image_id"].nunique()),
            "with_findings": len(images),
            "findings": {name: int((findings["reason"] == name).sum()) for name in REASONS},
        },
        **facts,
    }
    (out / MARK).write_text(json.dumps(facts, indent=1), encoding="utf-8")
    pictures = _pictures(out / "pictures", index.root, first, params)
    (out / "index.html").write_text(page.render(facts, first, found, pictures, params), encoding="utf-8")


def _images(index: Index, split: pd.DataFrame, found: Ranking) -> pd.DataFrame:
    known = index.images[["image_id", "file_name", "subset", "width", "height"]]
    images = found.images.merge(known, on="image_id", how="left", validate="one_to_one")
    labeled = images["image_id"].isin(split["image_id"][split["labeled"]])
    images = images.assign(rank=range(1, len(images) + 1), labeled=labeled)
    return images[["rank", "image_id", "file_name", "subset", "labeled", "width", "height", "score", *REASONS]]


def _findings(index: Index, images: pd.DataFrame, found: Ranking) -> pd.DataFrame:
    """One row a finding, all that is to know of it beside it."""
    boxes = found.boxes.iloc[found.findings["box"]].reset_index(drop=True)
    names = [*index.classes, None]  # -1: nobody says another class
    about = found.findings.assign(
        image_id=boxes["image_id"],
        said=[names[k] for k in found.findings["said"]],
        source=boxes["source"],
        label=boxes["label"],
        box_score=boxes["score"],
        spread=boxes["spread"],
        box_id=boxes["box_id"],
        **{"class": [names[k] for k in boxes["label"]]},
        **{corner: boxes[corner] for corner in XYXY},
    )
    about = about.merge(images[["image_id", "rank", "file_name"]], on="image_id")
    about = about.sort_values(["rank", "score"], ascending=[True, False], kind="stable", ignore_index=True)
    first = [
        "rank",
        "image_id",
        "file_name",
        "reason",
        "score",
        "source",
        "class",
        *XYXY,
        "box_score",
        "said",
        "said_score",
    ]
    return about[[*first, "spread", "label", "box_id", "box"]]


def _pictures(folder: Path, root: Path, images: pd.DataFrame, params: ReviewParams) -> list[str | None]:
    """A JPEG of bounded size for each image, called by its rank; None for one that cannot be read."""
    folder.mkdir()
    progress = log.Progress("pictures", len(images), "images")
    names: list[str | None] = []
    for row in images.itertuples():
        name = f"pictures/{row.rank:04d}.jpg"
        try:
            small = pixels.thumbnail(root / row.file_name, params.long_side_px)
            small.save(folder.parent / name, "JPEG", quality=params.jpeg_quality)
            names.append(name)
        except BadInput as error:  # the tables may have traveled without the images
            log.line(str(error))
            names.append(None)
        progress.advance()
    return names
