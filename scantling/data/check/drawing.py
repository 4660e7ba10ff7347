"""One image with its boxes, as SVG text that holds the picture itself."""

from __future__ import annotations

import base64
import io
from dataclasses import dataclass
from html import escape
from pathlib import Path

import numpy as np
import pandas as pd

from scantling.data.images import thumbnail
from scantling.data.index import XYXY
from scantling.data.problems import one_line
from scantling.stage import BadInput

LONGEST_PX = 480  # of a drawn image: sharp at the width of a phone, about 25 kB each
MOST_BOXES = 300  # drawn on one image
MOST_NAMES = 40  # on one image; with more boxes names would hide it, and are shown under the pointer only
NAME_LENGTH = 30  # characters of a class on the picture
# Okabe and Ito's palette, told apart by the color-blind too; with more classes the boxes carry names
COLORS = ("#e69f00", "#56b4e9", "#009e73", "#f0e442", "#d55e00", "#cc79a7", "#4f7cff", "#ffffff")


@dataclass(frozen=True)
class Drawing:
    """`svg` is empty where the picture could not be read; `why` says so then."""

    name: str
    subset: str
    boxes: str
    svg: str
    why: str = ""


def draw(root: Path, image: pd.Series, boxes: pd.DataFrame, classes: tuple[str, ...]) -> Drawing:
    """`image`: a row of the index; `boxes`: its boxes."""
    word = f"{len(boxes):,} {'box' if len(boxes) == 1 else 'boxes'}"
    if len(boxes) > MOST_BOXES:
        word += f", {MOST_BOXES} of them drawn"
    name, subset = one_line(image.file_name), one_line(image.subset)
    try:
        picture = thumbnail(root / image.file_name, LONGEST_PX)
    except BadInput as error:  # possible where the images were not looked at
        return Drawing(name, subset, word, "", one_line(str(error).rpartition("; ")[0]))
    stream = io.BytesIO()
    picture.save(stream, "JPEG", quality=80)
    data = base64.b64encode(stream.getvalue()).decode()
    width, height = int(image.width), int(image.height)
    unit = max(width, height) / 100  # so that lines and letters are as large on every drawing
    named = len(classes) > len(COLORS) and len(boxes) <= MOST_NAMES
    shapes = [_shape(box, classes, unit, named) for box in boxes[:MOST_BOXES].itertuples()]
    svg = (
        f'<svg viewBox="0 0 {width} {height}" role="img" aria-label="{escape(name)}">'
        f'<image href="data:image/jpeg;base64,{data}" width="{width}" height="{height}" preserveAspectRatio="none"/>'
        f"{''.join(shapes)}</svg>"
    )
    return Drawing(name, subset, word, svg)


def _shape(box: tuple, classes: tuple[str, ...], unit: float, named: bool) -> str:
    x1, y1, x2, y2 = (float(getattr(box, c)) for c in XYXY)
    label, crowd = int(box.label), bool(box.crowd)  # type: ignore[attr-defined]
    line = np.clip(
        min(x2 - x1, y2 - y1) / 12, 0.25 * unit, 0.6 * unit
    )  # thin on small boxes, or nothing of them is seen
    frame = f'x="{x1:g}" y="{y1:g}" width="{x2 - x1:g}" height="{y2 - y1:g}"'
    dash = f' stroke-dasharray="{3 * line:.3g}"' if crowd else ""
    title = escape(one_line(classes[label], NAME_LENGTH)) + (" (crowd)" if crowd else "")
    shape = (
        f'<rect {frame} fill="none" stroke="#0007" stroke-width="{1.5 * line:.3g}"/>'
        f'<rect {frame} fill="transparent" stroke="{COLORS[label % len(COLORS)]}" stroke-width="{line:.3g}"{dash}>'
        f"<title>{title}</title></rect>"
    )
    if not named:
        return shape
    size = 4 * unit
    return shape + (
        f'<text x="{x1 + unit / 2:.4g}" y="{max(y1 - unit / 2, size):.4g}" font-size="{size:.3g}" '
        f'font-family="system-ui, sans-serif" fill="#fff" stroke="#000" stroke-width="{size / 5:.3g}" '
        f'stroke-linejoin="round" paint-order="stroke">{title}</text>'
    )
