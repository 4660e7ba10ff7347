"""3x3 matrices (original pixels -> view pixels, float64) and the warp that applies them. Soft Teacher section 5.1."""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional


def identity() -> Tensor:
    return torch.eye(3, dtype=torch.float64)


def _matrix(*rows: tuple[float, float, float]) -> Tensor:
    return torch.tensor([*rows, (0.0, 0.0, 1.0)], dtype=torch.float64)


def scale(sx: float, sy: float) -> Tensor:
    return _matrix((sx, 0, 0), (0, sy, 0))


def flip_horizontal(width: int) -> Tensor:
    return _matrix((-1, 0, width), (0, 1, 0))


def flip_vertical(height: int) -> Tensor:
    """The reference scales y here by mistake (soft_teacher.md section 5.1); this is the right matrix."""
    return _matrix((1, 0, 0), (0, -1, height))


def translate(dx: float, dy: float) -> Tensor:
    return _matrix((1, 0, dx), (0, 1, dy))


def rotate(degrees: float, size: tuple[int, int]) -> Tensor:
    """Rotation about the centre ((w-1)/2, (h-1)/2) of a (height, width) canvas."""
    height, width = size
    x, y = (width - 1) / 2, (height - 1) / 2
    c, s = math.cos(math.radians(degrees)), math.sin(math.radians(degrees))
    return _matrix((c, -s, x - c * x + s * y), (s, c, y - c * y - s * x))


def shear_x(degrees: float) -> Tensor:
    """The reference takes tanh where one expects tan, so the coefficient stays below 0.4805 at 30 degrees."""
    return _matrix((1, math.tanh(-math.radians(degrees)), 0), (0, 1, 0))


def shear_y(degrees: float) -> Tensor:
    return _matrix((1, 0, 0), (math.tanh(math.radians(degrees)), 1, 0))


def resized(size: tuple[int, int], short_px: int, long_px: int) -> tuple[int, int]:
    """(height, width) with the short side at `short_px` unless the long side would pass `long_px`; ratio kept."""
    height, width = size
    factor = min(long_px / max(size), short_px / min(size))
    return max(1, int(height * factor + 0.5)), max(1, int(width * factor + 0.5))


def warp(image: Tensor, matrix: Tensor, fill: float) -> Tensor:
    """A (3, H, W) uint8 image moved by `matrix` on its own canvas, bilinear, `fill` where nothing lands.

    Pixel centres lie at half-integer coordinates, as boxes count them: a box moves with its pixels exactly.
    """
    _, height, width = image.shape
    # grid_sample asks, for each output pixel in -1..1, for the input position in -1..1
    to_pixels = _matrix((width / 2, 0, width / 2), (0, height / 2, height / 2))
    theta = torch.linalg.inv(to_pixels) @ torch.linalg.inv(matrix) @ to_pixels
    grid = functional.affine_grid(theta[None, :2].float(), [1, 3, height, width], align_corners=False)
    moved = functional.grid_sample(image[None].float() - fill, grid, align_corners=False)[0] + fill
    return moved.round_().clamp_(0, 255).to(torch.uint8)
