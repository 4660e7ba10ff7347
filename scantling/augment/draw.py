"""Draw the plan of a view: size, flips, zoom, geometry and their exact matrix; color and erasing from their modules."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from scantling import boxes as box_ops
from scantling.augment import coloring, erasing, geometry
from scantling.augment.plan import Plan, Size, Step, Steps
from scantling.augment.settings import Geometric, View, Zoom


def draw(
    view: View, size: Size, rng: np.random.Generator, boxes: Tensor | None = None, weak: Plan | None = None
) -> Plan:
    """A plan for an image of (height, width) `size`; of its `boxes` (N, 4) in original pixels one may be erased.

    `weak` is the plan that a view with `same_geometry` builds on.
    """
    boxes = torch.zeros((0, 4)) if boxes is None else boxes
    colors = coloring.draw(view, rng)
    if view.same_geometry:
        assert weak is not None, "a view with same_geometry needs the weak view's plan"
        base, antialias = weak, weak.antialias
    else:
        base, antialias = _place(view, size, rng), view.antialias
    moves, moved = _geometry(view, base.size, rng)
    matrix = moved @ base.matrix
    if view.before_resize:
        before = base.before + colors + erasing.draw(view, size, boxes, rng)
        return Plan(base.size, matrix, before, base.steps + moves, antialias=antialias)
    first_moves = view.random_order and rng.random() < 0.5
    erased = erasing.draw(view, base.size, box_ops.transform(boxes, matrix, base.size), rng)
    steps = (moves + colors if first_moves else colors + moves) + erased
    if view.same_geometry:
        return Plan(base.size, matrix, (), steps, on_weak=True, antialias=antialias)
    return Plan(base.size, matrix, (), base.steps + steps, antialias=antialias)


def _place(view: View, original: Size, rng: np.random.Generator) -> Plan:
    """Size, flips and zoom."""
    size = _size(view, original, rng)
    matrix = geometry.scale(size[1] / original[1], size[0] / original[0])
    steps: list[Step] = []
    if rng.random() < view.flip_horizontal:
        steps.append(Step("flip_horizontal"))
        matrix = geometry.flip_horizontal(size[1]) @ matrix
    if rng.random() < view.flip_vertical:
        steps.append(Step("flip_vertical"))
        matrix = geometry.flip_vertical(size[0]) @ matrix
    if view.zoom is not None and rng.random() < view.zoom.probability:
        move = _zoom(view.zoom, size, rng)
        steps.append(_warp(move, view.fill))
        matrix = move @ matrix
    return Plan(size, matrix, (), tuple(steps))


def _size(view: View, original: Size, rng: np.random.Generator) -> Size:
    if view.exact_px is not None:
        return view.exact_px
    assert view.long_px is not None, "checked by View"
    if view.short_px_choices:
        short = int(rng.choice(view.short_px_choices))
    else:
        assert view.short_px is not None, "checked by View"
        short = int(rng.integers(view.short_px[0], view.short_px[1] + 1))
    return geometry.resized(original, short, view.long_px)


def _zoom(zoom: Zoom, size: Size, rng: np.random.Generator) -> Tensor:
    height, width = size
    factor = rng.uniform(*zoom.factor)
    dx, dy = rng.random(2) * (width * (1 - factor), height * (1 - factor))
    return geometry.translate(dx, dy) @ geometry.scale(factor, factor)


def _warp(matrix: Tensor, fill: int) -> Step:
    return Step("warp", (*matrix[:2].flatten().tolist(), fill))


def _geometry(view: View, size: Size, rng: np.random.Generator) -> tuple[Steps, Tensor]:
    if view.geometric is None or rng.random() >= view.geometric.probability:
        return (), geometry.identity()
    move = _move(view.geometric, size, rng)
    return (_warp(move, view.fill),), move


def _move(g: Geometric, size: Size, rng: np.random.Generator) -> Tensor:
    height, width = size
    match g.operations[rng.integers(len(g.operations))]:
        case "translate_x":
            return geometry.translate(rng.uniform(-g.translate, g.translate) * width, 0)
        case "translate_y":
            return geometry.translate(0, rng.uniform(-g.translate, g.translate) * height)
        case "rotate":
            return geometry.rotate(rng.uniform(-g.rotate_degrees, g.rotate_degrees), size)
        case "shear_x":
            return geometry.shear_x(rng.uniform(-g.shear_degrees, g.shear_degrees))
        case "shear_y":
            return geometry.shear_y(rng.uniform(-g.shear_degrees, g.shear_degrees))
        case "shear":
            x, y = rng.uniform(-g.shear_degrees, g.shear_degrees, 2)
            return geometry.shear_y(y) @ geometry.shear_x(x)
