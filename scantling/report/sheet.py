"""Images of a split with the labels that were kept, hidden, used and left aside."""

from __future__ import annotations

import base64
import io
import re
from collections.abc import Mapping
from dataclasses import dataclass
from html import escape
from pathlib import Path

import numpy as np
import pandas as pd
from PIL import Image

from scantling.data import images
from scantling.data.index import XYXY, Index
from scantling.evaluate.label_quality import Truth, truth_of
from scantling.report.params import SheetParams
from scantling.stage import BadInput

# In drawing order: what matters most lies on top.
KINDS = {
    "hidden": "true box that the split hid",
    "rejected": "pseudo label not used",
    "used": "pseudo label used",
    "kept": "true label that was kept",
}


@dataclass(frozen=True)
class Photo:
    """An image once, however often it is shown. uri: JPEG as data URI, None if the file cannot be read."""

    image_id: int
    name: str
    width: int  # original pixels, as are all boxes
    height: int
    uri: str | None


@dataclass(frozen=True)
class Panel:
    """One image under one method: the boxes as SVG, and how many of each kind."""

    photo: Photo
    method: str
    boxes: str
    counts: dict[str, int]


def make(
    index: Index, split: pd.DataFrame, refined: Mapping[str, pd.DataFrame], params: SheetParams
) -> tuple[list[Photo], dict[str, list[Panel]]]:
    """Photos, and the panels of each method (a row of `refined`), the same images in the same order for all."""
    truth = truth_of(index, split)
    table = index.images.set_index("image_id")
    name = re.sub(r"\W", "-", index.name)
    photos = [
        _photo(int(i), f"photo-{name}-{i}", table.loc[i], index.root, params)
        for i in _spread(truth.images, params.images)
    ]
    return photos, {
        method: [_panel(photo, method, truth, rows, index.classes, params) for photo in photos]
        for method, rows in refined.items()
    }


def picture(panel: Panel, *, standalone: bool = False) -> str:
    """A panel as SVG text; within the page the photo is referred to, in a file of its own it is included."""
    photo = panel.photo
    if photo.uri is None:
        middle = f'x="50%" y="50%" font-size="{photo.width / 18:g}" text-anchor="middle"'
        ground = f'<rect class="blank" width="100%" height="100%"/><text {middle}>file not found</text>'
    else:
        size = f'width="{photo.width}" height="{photo.height}"'
        ground = f'<image href="{photo.uri}" {size}/>' if standalone else f'<use href="#{photo.name}"/>'
    label = f"image {photo.image_id}: " + ", ".join(f"{n} {kind}" for kind, n in panel.counts.items())
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" class="photo" viewBox="0 0 {photo.width} {photo.height}" role="img" '
        f'aria-label="{escape(label)}">{ground}{panel.boxes}</svg>'
    )


def _spread(ids: np.ndarray, n: int) -> np.ndarray:
    """n of the ids at even distances: not chosen for their looks, the same every time."""
    n = min(n, len(ids))
    return ids[np.linspace(0, len(ids) - 1, n).round().astype(int)] if n else ids[:0]


def _photo(image_id: int, name: str, row: pd.Series, root: Path, params: SheetParams) -> Photo:
    width, height = int(row["width"]), int(row["height"])
    try:
        picture = Image.fromarray(images.decode(root / row["file_name"]).permute(1, 2, 0).numpy())
    except BadInput:  # the results may have traveled without the images; the numbers stand all the same
        return Photo(image_id, name, width, height, None)
    picture.thumbnail((params.long_side_px, params.long_side_px), Image.Resampling.LANCZOS)
    stream = io.BytesIO()
    picture.save(stream, "JPEG", quality=params.jpeg_quality)
    uri = "data:image/jpeg;base64," + base64.b64encode(stream.getvalue()).decode()
    return Photo(image_id, name, width, height, uri)


def _panel(
    photo: Photo, method: str, truth: Truth, refined: pd.DataFrame, classes: tuple[str, ...], params: SheetParams
) -> Panel:
    own = refined[(refined["image_id"] == photo.image_id) & (refined["source"] != "label")]
    seen = own[["for_objectness", "for_class", "for_box"]].any(axis=1) & ~own["ignore"] & (own["weight"] > 0)
    weak = own["score"] < params.score_floor
    tables = {
        "hidden": truth.hidden[truth.hidden["image_id"] == photo.image_id],
        "rejected": own[~seen & ~weak],
        "used": own[seen],
        "kept": truth.kept[truth.kept["image_id"] == photo.image_id],
    }
    layers = (f'<g class="boxes {kind}">{_rectangles(rows, kind, classes)}</g>' for kind, rows in tables.items())
    return Panel(photo, method, "".join(layers), {kind: len(rows) for kind, rows in tables.items()})


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
        parts = [part for part in ("objectness", "class", "box") if row[f"for_{part}"]]
        return f"{name} {row['score']:.2f}: used for {', '.join(parts)}"
    return f"{name} {row['score']:.2f}: {'ignored region' if row['ignore'] else KINDS[kind]}"
