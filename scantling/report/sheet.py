"""Images of a split with the labels that were kept, hidden, used and left aside, as SVG over a photo."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from html import escape
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
from pyarrow import parquet

from scantling.data.index import XYXY, Index
from scantling.evaluate.truth import Truth, truth_of
from scantling.report import disagreement
from scantling.report.params import SheetParams
from scantling.report.photos import Album, Photo

TARGETS = ("objectness", "class", "box")
# In drawing order: what matters most lies on top.
KINDS = {
    "hidden": "true box that the split hid",
    "rejected": "pseudo label not used",
    "used": "pseudo label used",
    "kept": "true label that was kept",
}
COLUMNS = ["image_id", "label", "score", *XYXY, "source", "weight", *(f"for_{t}" for t in TARGETS), "ignore"]


@dataclass(frozen=True)
class Panel:
    """One image under one method.

    place   in the ranking by disagreement, from 1
    boxes   as SVG; counts: how many of each of KINDS
    wrong, missed  labels without a hidden box, hidden boxes without a label
    unsure  without truth: boxes that the teacher saw and was not sure enough of; else None
    """

    photo: Photo
    place: int
    boxes: str
    counts: dict[str, int]
    wrong: int
    missed: int
    unsure: int | None


@dataclass(frozen=True)
class Sheet:
    """The images of a comparison, the most disagreeing first: method -> one panel an image.

    ranked  how many images were compared with the truth; all  how many miss labels
    known   whether their truth is known; if it is of none, images are ranked by the teacher's doubt
    """

    ranked: int
    all: int
    known: bool
    panels: dict[str, list[Panel]]


def make(
    index: Index,
    split: pd.DataFrame,
    refined: Mapping[str, Path],
    album: Album,
    params: SheetParams,
    *,
    floor: float,
    iou_threshold: float,
) -> Sheet:
    """The sheet of each method, the same images in the same order for all.

    refined  method -> refined.parquet; of a large one only the rows of the images looked at are held
    floor    score of the labels to compare with the truth for a method that uses none of the table
    """
    truth = truth_of(index, split)
    known = len(truth.images) > 0
    every = truth.images if known else truth.unknown
    ids = disagreement.spread(every, params.ranked)
    tables = {method: _read(path, ids) for method, path in refined.items()}
    counts = {
        method: disagreement.disagreement(truth, ids, disagreement.used(rows, floor), iou_threshold)
        if known
        else disagreement.doubt(ids, rows, floor, params.score_floor)
        for method, rows in tables.items()
    }
    places = disagreement.chosen(disagreement.ranked(list(counts.values())), params.images)
    photos = {image_id: album.photo(index, image_id) for image_id in places}
    errors = {method: table.set_index("image_id") for method, table in counts.items()}
    panels = {
        method: [
            _panel(photo, places[i], truth, rows, index.classes, params, errors[method].loc[i])
            for i, photo in photos.items()
            if photo is not None
        ]
        for method, rows in tables.items()
    }
    return Sheet(ranked=len(ids), all=len(every), known=known, panels=panels)


def _read(path: Path, ids: np.ndarray) -> pd.DataFrame:
    wanted = pc.field("image_id").isin(pa.array(ids))
    return parquet.read_table(path, columns=COLUMNS, filters=wanted).to_pandas()


def picture(panel: Panel) -> str:
    """A panel as SVG text; it refers to the file of the photo."""
    photo = panel.photo
    if photo.file is None:
        middle = f'x="50%" y="50%" font-size="{photo.width / 18:g}" text-anchor="middle"'
        ground = f'<rect class="blank" width="100%" height="100%"/><text {middle}>file not found</text>'
    else:
        size = f'width="{photo.width}" height="{photo.height}"'
        ground = f'<image href="{escape(photo.file)}" {size} preserveAspectRatio="none"/>'
    label = f"image {photo.image_id}: " + ", ".join(f"{n} {kind}" for kind, n in panel.counts.items())
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" class="photo" viewBox="0 0 {photo.width} {photo.height}" role="img" '
        f'aria-label="{escape(label)}">{ground}{panel.boxes}</svg>'
    )


def _panel(
    photo: Photo,
    place: int,
    truth: Truth,
    refined: pd.DataFrame,
    classes: tuple[str, ...],
    params: SheetParams,
    errors: pd.Series,
) -> Panel:
    own = refined[(refined["image_id"] == photo.image_id) & (refined["source"] != "label")]
    own = own.sort_values("score", ascending=False, kind="stable")
    seen = own[[f"for_{target}" for target in TARGETS]].any(axis=1) & ~own["ignore"] & (own["weight"] > 0)
    weak = own["score"] < params.score_floor
    tables = {
        "hidden": truth.hidden[truth.hidden["image_id"] == photo.image_id],
        "rejected": own[~seen & ~weak],
        "used": own[seen],
        "kept": truth.kept[truth.kept["image_id"] == photo.image_id],
    }
    layers = (
        f'<g class="boxes {kind}">{_rectangles(rows[: params.boxes], kind, classes)}</g>'
        for kind, rows in tables.items()
    )
    counts = {kind: len(rows) for kind, rows in tables.items()}
    unsure = int(errors["unsure"]) if "unsure" in errors else None
    return Panel(photo, place, "".join(layers), counts, int(errors["wrong"]), int(errors["missed"]), unsure)


def _rectangles(rows: pd.DataFrame, kind: str, classes: tuple[str, ...]) -> str:
    return "".join(
        f'<rect x="{x1:.1f}" y="{y1:.1f}" width="{max(x2 - x1, 0):.1f}" height="{max(y2 - y1, 0):.1f}">'
        f"<title>{escape(_title(row, kind, classes))}</title></rect>"
        for (x1, y1, x2, y2), row in zip(rows[XYXY].to_numpy(float), rows.to_dict("records"), strict=True)
    )


def _title(row: dict[str, object], kind: str, classes: tuple[str, ...]) -> str:
    name = classes[int(row["label"])]  # type: ignore[call-overload]
    if "score" not in row:
        return f"{name}: {KINDS[kind]}"
    if kind == "used":
        parts = [part for part in TARGETS if row[f"for_{part}"]]
        return f"{name} {row['score']:.2f}: used for {', '.join(parts)}"
    return f"{name} {row['score']:.2f}: {'ignored region' if row['ignore'] else KINDS[kind]}"
