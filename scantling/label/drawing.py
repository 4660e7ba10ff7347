"""A picture with its boxes, to look at."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from PIL import Image, ImageDraw, ImageFont

from scantling.data import images

LONGEST_PX = 1600  # of the drawn picture: bounded, whatever the original is
JPEG = (".jpg", ".jpeg")
# Okabe and Ito's palette, told apart by the color-blind too
COLORS = ("#e69f00", "#56b4e9", "#009e73", "#f0e442", "#d55e00", "#cc79a7", "#4f7cff", "#ffffff")


def write(file: Path, entry: dict[str, Any], classes: Sequence[str], out: Path) -> None:
    """`out`/NAME.jpg with the boxes of an entry (see label.folder); the least sure ones lie at the bottom."""
    picture = images.thumbnail(file, LONGEST_PX)
    draw(picture, entry, classes)
    target = out / place(entry["file_name"])
    target.parent.mkdir(parents=True, exist_ok=True)
    picture.save(target, "JPEG", quality=85)


def place(name: str) -> str:
    """Where the picture of an image with this file name lies."""
    return name if name.lower().endswith(JPEG) else f"{name}.jpg"


def draw(picture: Image.Image, entry: dict[str, Any], classes: Sequence[str]) -> None:
    """Boxes with class name and score onto a picture, whatever part of its original size it has."""
    pen = ImageDraw.Draw(picture)
    across, down = picture.width / entry["width"], picture.height / entry["height"]
    line = max(2, round(max(picture.size) / 400))
    font = ImageFont.load_default(max(11, max(picture.size) / 60))
    for label, score, x1, y1, x2, y2 in reversed(entry["boxes"]):
        color = COLORS[label % len(COLORS)]
        left, top, right, bottom = x1 * across, y1 * down, x2 * across, y2 * down
        pen.rectangle((left, top, max(left, right - 1), max(top, bottom - 1)), outline=color, width=line)
        text = f"{classes[label]} {score:.2f}"
        box = pen.textbbox((0, 0), text, font)
        width, height = box[2] + 2 * line, box[3] + line
        x = min(max(left, 0), max(picture.width - width, 0))
        y = top - height if top >= height else top
        pen.rectangle((x, y, x + width, y + height), fill=color)
        pen.text((x + line, y), text, "#000000", font)
