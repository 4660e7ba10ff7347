"""Draw and erase rectangles. Boxes are never removed by it."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from scantling.augment.plan import Size, Step, Steps
from scantling.augment.settings import Erase, EraseArea, EraseBox, Fill, View


def draw(view: View, size: Size, boxes: Tensor, rng: np.random.Generator) -> Steps:
    """The rectangles erased from a view of (height, width) `size`; `boxes` (N, 4) are its labeled ones."""
    steps: list[Step] = []
    if view.erase is not None and rng.random() < view.erase.probability:
        fill = view.fill if view.erase.fill is None else view.erase.fill
        steps += [_filled(*r, fill, rng) for r in _rectangles(view.erase, size, rng)]
    for area in view.erase_areas:
        if rng.random() < area.probability:
            steps += _by_area(area, size, rng)
    if view.erase_box is not None and len(boxes) and rng.random() < view.erase_box.probability:
        steps += _in_box(view.erase_box, boxes[rng.integers(len(boxes))].tolist(), rng)
    return tuple(steps)


def _filled(x: int, y: int, width: int, height: int, fill: Fill, rng: np.random.Generator) -> Step:
    if fill == "noise":
        return Step("noise", (x, y, width, height, int(rng.integers(2**31))))
    return Step("erase", (x, y, width, height, fill))


def _rectangles(erase: Erase, size: Size, rng: np.random.Generator) -> list[tuple[int, int, int, int]]:
    height, width = size
    found = []
    for _ in range(rng.integers(erase.count[0], erase.count[1] + 1)):
        across, down = rng.uniform(*erase.side, 2)
        w, h = int(across * width), int((across if erase.same_share else down) * height)
        found.append((int(rng.integers(width - w + 1)), int(rng.integers(height - h + 1)), w, h))
    return found


def _by_area(erase: EraseArea, size: Size, rng: np.random.Generator) -> list[Step]:
    height, width = size
    for _ in range(erase.trials):
        area = height * width * rng.uniform(*erase.area)
        aspect = np.exp(rng.uniform(*np.log(erase.aspect)))
        h, w = round(float(np.sqrt(area * aspect))), round(float(np.sqrt(area / aspect)))
        if h < height and w < width:
            x, y = int(rng.integers(width - w + 1)), int(rng.integers(height - h + 1))
            return [_filled(x, y, w, h, erase.fill, rng)]
    return []


def _in_box(erase: EraseBox, box: list[float], rng: np.random.Generator) -> list[Step]:
    x1, y1, x2, y2 = box
    for _ in range(erase.trials):
        area = (x2 - x1) * (y2 - y1) * rng.uniform(*erase.area)
        aspect = rng.uniform(*erase.aspect)
        h, w = round(float(np.sqrt(area * aspect))), round(float(np.sqrt(area / aspect)))
        if h < y2 - y1 and w < x2 - x1:
            x, y = int(rng.uniform(x1, x2 - w)), int(rng.uniform(y1, y2 - h))
            return [_filled(x, y, w, h, erase.fill, rng)]
    return []


def erase(image: Tensor, step: Step) -> None:
    """Fill the rectangle of an `erase` or `noise` step of a (3, H, W) uint8 image, in place."""
    x, y, width, height, value = (int(v) for v in step.values)
    patch = noise(height, width, value).to(image.device) if step.name == "noise" else value
    image[:, y : y + height, x : x + width] = patch


def noise(height: int, width: int, seed: int) -> Tensor:
    """(3, height, width) uint8, uniform.

    The reference's normal noise on 0..1, turned to bytes without a clamp (unbiased_teacher.md section 4), wraps around
    so often that it is nearly uniform; uniform noise is the declared replacement.
    """
    made = np.random.default_rng(seed).integers(0, 256, (3, height, width), dtype=np.uint8)
    return torch.from_numpy(made)
