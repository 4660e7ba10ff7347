"""A picture of what a recipe makes of some images: each image and its views, with the boxes as their matrix moves them.

Rows are draws, columns are views. A box that leaves its object shows at a glance.
"""

from __future__ import annotations

import numpy as np
import torch
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

from scantling import boxes as box_ops
from scantling.augment import geometry, views
from scantling.augment.settings import ViewParams
from scantling.data import images
from scantling.data.index import XYXY, Index
from scantling.stage import BadInput

# Okabe and Ito's palette, told apart by the color-blind too
COLORS = ("#e69f00", "#56b4e9", "#009e73", "#f0e442", "#d55e00", "#cc79a7", "#4f7cff", "#ffffff")
_CELL = (240, 320)  # height, width in pixels of one picture, which keeps its ratio in it
_GAP, _HEAD = 8, 28
_PAPER, _INK = "#ffffff", "#1d2430"


def draw(index: Index, params: ViewParams, *, count: int, draws: int, seed: int) -> Image.Image:
    """`count` images that have boxes, chosen by `seed`, in `draws` rows of views each. BadInput if no image has any."""
    names = [name for name in ("labeled", "raw", "weak", "strong") if getattr(params, name) is not None]
    height, width = _CELL[0] + _GAP, _CELL[1] + _GAP
    chosen = _chosen(index, count, seed)
    sheet = Image.new("RGB", (width * (1 + len(names)) + _GAP, _HEAD + height * draws * len(chosen) + _GAP), _PAPER)
    pen, font = ImageDraw.Draw(sheet), ImageFont.load_default(15)
    for column, name in enumerate(["image", *names]):
        pen.text((_GAP + column * width, _GAP), name, _INK, font)
    for row, (image_id, file_name) in enumerate(chosen):
        image = images.decode(index.root / file_name)
        size = (image.shape[1], image.shape[2])
        boxes, labels = _truth(index, image_id)
        for turn in range(draws):
            plans = views.plans(params, names, size, (seed, turn, row, image_id), boxes)
            seen = views.apply_all(image, plans)
            cells = [(image, geometry.identity()), *((seen[name], plans[name].matrix) for name in names)]
            for column, (pixels, matrix) in enumerate(cells):
                if column or not turn:
                    place = (_GAP + column * width, _HEAD + (row * draws + turn) * height)
                    sheet.paste(_cell(pixels, box_ops.transform(boxes, matrix), labels), place)
    return sheet


def _chosen(index: Index, count: int, seed: int) -> list[tuple[int, str]]:
    assert index.boxes is not None
    table = index.images[index.images["image_id"].isin(index.boxes["image_id"])]
    if table.empty:
        raise BadInput(f"{index.name}: no image has a box; views can be shown of labeled images only")
    picked = np.random.default_rng(seed).permutation(len(table))[:count]
    return [(int(i), name) for i, name in table.iloc[sorted(picked)][["image_id", "file_name"]].itertuples(index=False)]


def _truth(index: Index, image_id: int) -> tuple[Tensor, list[int]]:
    assert index.boxes is not None
    rows = index.boxes[index.boxes["image_id"] == image_id]
    return torch.from_numpy(rows[XYXY].to_numpy(np.float32, copy=True)), rows["label"].tolist()


def _cell(pixels: Tensor, boxes: Tensor, labels: list[int]) -> Image.Image:
    """A view scaled into its cell, boxes on top."""
    factor = min(_CELL[0] / pixels.shape[1], _CELL[1] / pixels.shape[2])
    size = (max(1, round(pixels.shape[1] * factor)), max(1, round(pixels.shape[2] * factor)))
    small = geometry.resize(pixels, size, antialias=True)
    picture = Image.fromarray(small.permute(1, 2, 0).contiguous().numpy())
    pen = ImageDraw.Draw(picture)
    shown = box_ops.transform(boxes, geometry.scale(size[1] / pixels.shape[2], size[0] / pixels.shape[1]), size)
    for box, label, solid in zip(shown.tolist(), labels, box_ops.has_area(shown, 2).tolist(), strict=True):
        if solid:
            pen.rectangle((box[0], box[1], box[2] - 1, box[3] - 1), outline=COLORS[label % len(COLORS)], width=2)
    return picture
