"""Weak and strong views: a parameter section per view, and the function that makes one with its exact matrix.

Order (Soft Teacher section 5): resize, flips, zoom, then color and geometry in random order, then erasing.
"""

from __future__ import annotations

from typing import Literal

import numpy as np
import torch
from pydantic import Field
from torch import Tensor
from torchvision.transforms.v2 import functional as tv

from scantling.augment import geometry, photometry
from scantling.params import Params

Probability = Field(ge=0, le=1)
Interval = tuple[float, float]


class Zoom(Params):
    """The image scaled on its canvas and put at a random place: smaller with a border, larger as a crop."""

    probability: float = Field(ge=0, le=1)
    factor: Interval = Field(description="uniform; below 1 shrinks")


class Geometric(Params):
    """One of translate x, translate y, rotate, shear, each 1/4."""

    probability: float = Field(ge=0, le=1)
    translate: float = Field(ge=0, le=1, description="fraction of the side, either direction")
    rotate_degrees: float = Field(ge=0, le=180)
    shear_degrees: float = Field(ge=0, le=89)


class Jitter(Params):
    probability: float = Field(ge=0, le=1)
    brightness: float = Field(0.0, ge=0)
    contrast: float = Field(0.0, ge=0)
    saturation: float = Field(0.0, ge=0)
    hue: float = Field(0.0, ge=0, le=0.5, description="fraction of a turn")


class Blur(Params):
    probability: float = Field(ge=0, le=1)
    sigma_px: Interval


class Erase(Params):
    count: tuple[int, int] = Field(description="rectangles, uniform, both ends included")
    side: Interval = Field(description="fraction of the image's side, uniform")


class View(Params):
    """One view. `same_geometry` (strong only): take size, flips, zoom and geometry of the weak view."""

    short_px: tuple[int, int] | None = Field(None, description="short side, uniform integer, both ends included")
    long_px: int | None = Field(None, description="cap of the long side")
    flip_horizontal: float = Field(0.0, ge=0, le=1)
    flip_vertical: float = Field(0.0, ge=0, le=1)
    zoom: Zoom | None = None
    color: Literal["none", "one_of"] = "none"
    jitter: Jitter | None = None
    blur: Blur | None = None
    gray: float = Field(0.0, ge=0, le=1)
    geometric: Geometric | None = None
    erase: Erase | None = None
    fill: int = Field(125, ge=0, le=255, description="gray level of uncovered and erased pixels")
    same_geometry: bool = False

    def model_post_init(self, context: object) -> None:
        if not self.same_geometry and (self.short_px is None or self.long_px is None):
            raise ValueError("give short_px and long_px, or same_geometry: true")


class ViewParams(Params):
    """The views of a training: `labeled` for labeled images, `weak` for the teacher, `strong` for the student."""

    labeled: View
    weak: View
    strong: View


def make(image: Tensor, view: View, rng: np.random.Generator) -> tuple[Tensor, Tensor]:
    """A view of a decoded (3, H, W) uint8 image and its (3, 3) matrix, original pixels -> view pixels."""
    placed, matrix = place(image, view, rng)
    return paint(placed, matrix, view, rng)


def place(image: Tensor, view: View, rng: np.random.Generator) -> tuple[Tensor, Tensor]:
    """Resize, flips and zoom."""
    assert view.short_px is not None and view.long_px is not None
    _, height, width = image.shape
    short = int(rng.integers(view.short_px[0], view.short_px[1] + 1))
    size = geometry.resized((height, width), short, view.long_px)
    if size != (height, width):
        image = tv.resize(image, list(size), antialias=True)
    matrix = geometry.scale(size[1] / width, size[0] / height)
    if rng.random() < view.flip_horizontal:
        image, matrix = image.flip(2), geometry.flip_horizontal(size[1]) @ matrix
    if rng.random() < view.flip_vertical:
        image, matrix = image.flip(1), geometry.flip_vertical(size[0]) @ matrix
    if view.zoom is not None and rng.random() < view.zoom.probability:
        move = _zoom(view.zoom, size, rng)
        image, matrix = geometry.warp(image, move, view.fill), move @ matrix
    return image, matrix


def paint(image: Tensor, matrix: Tensor, view: View, rng: np.random.Generator) -> tuple[Tensor, Tensor]:
    """Color and geometry in random order, then blur, gray and erasing."""
    move = geometry.identity()
    steps = [_color, _geometry] if rng.random() < 0.5 else [_geometry, _color]
    for step in steps:
        image, moved = step(image, view, rng)
        move = moved @ move
    if view.blur is not None and rng.random() < view.blur.probability:
        image = photometry.blur(image, float(rng.uniform(*view.blur.sigma_px)))
    if rng.random() < view.gray:
        image = photometry.gray(image)
    if view.erase is not None:
        count = int(rng.integers(view.erase.count[0], view.erase.count[1] + 1))
        image = photometry.erase(image, rng, count, view.erase.side, view.fill)
    return image.contiguous(), move @ matrix


def _color(image: Tensor, view: View, rng: np.random.Generator) -> tuple[Tensor, Tensor]:
    if view.color == "one_of":
        image = photometry.one_of(image, rng)
    if view.jitter is not None and rng.random() < view.jitter.probability:
        j = view.jitter
        image = photometry.jitter(image, rng, j.brightness, j.contrast, j.saturation, j.hue)
    return image, geometry.identity()


def _geometry(image: Tensor, view: View, rng: np.random.Generator) -> tuple[Tensor, Tensor]:
    g = view.geometric
    if g is None or rng.random() >= g.probability:
        return image, geometry.identity()
    height, width = image.shape[1:]
    match int(rng.integers(4)):
        case 0:
            move = geometry.translate(rng.uniform(-g.translate, g.translate) * width, 0)
        case 1:
            move = geometry.translate(0, rng.uniform(-g.translate, g.translate) * height)
        case 2:
            move = geometry.rotate(rng.uniform(-g.rotate_degrees, g.rotate_degrees), (height, width))
        case _:
            x, y = rng.uniform(-g.shear_degrees, g.shear_degrees, 2)
            move = geometry.shear_y(y) @ geometry.shear_x(x)
    return geometry.warp(image, move, view.fill), move


def _zoom(zoom: Zoom, size: tuple[int, int], rng: np.random.Generator) -> Tensor:
    height, width = size
    factor = rng.uniform(*zoom.factor)
    dx, dy = rng.random(2) * (width * (1 - factor), height * (1 - factor))
    return geometry.translate(dx, dy) @ geometry.scale(factor, factor)


def torch_seed(*parts: int) -> int:
    """A 63-bit seed from any integers: independent of how many random numbers were drawn before."""
    return int(np.random.SeedSequence([abs(p) for p in parts]).generate_state(1, np.uint64)[0] >> 1)


def seeded(*parts: int) -> np.random.Generator:
    """A generator of its own for each combination of integers (seed, step, image, ...)."""
    return np.random.default_rng(np.random.SeedSequence([abs(p) for p in parts]))


def torch_generator(*parts: int) -> torch.Generator:
    return torch.Generator().manual_seed(torch_seed(*parts))
