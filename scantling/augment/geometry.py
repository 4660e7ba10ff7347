"""3x3 matrices (original pixels -> view pixels, float64) and the warp that applies them. Soft Teacher section 5.1.

Coordinates are those of boxes: a pixel covers [x, x + 1), its center lies at x + 0.5, an image spans 0..width.
Resizing, flipping and warping all keep to it, so a box under a step's matrix moves with its pixels exactly.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional
from torchvision.transforms.v2 import functional as tv


def identity() -> Tensor:
    return torch.eye(3, dtype=torch.float64)


def _matrix(*rows: tuple[float, float, float]) -> Tensor:
    return torch.tensor([*rows, (0.0, 0.0, 1.0)], dtype=torch.float64)


def from_rows(rows: Sequence[Sequence[float]]) -> Tensor:
    """(B, 3, 3) matrices from their upper two rows, six numbers each."""
    upper = torch.tensor(rows, dtype=torch.float64).reshape(-1, 2, 3)
    return torch.cat([upper, upper.new_tensor([0, 0, 1]).expand(len(upper), 1, 3)], 1)


def between(source: Tensor, target: Tensor) -> Tensor:
    """The matrix that takes pixels of view `source` to pixels of view `target`: back to the image, then on."""
    return target @ torch.linalg.inv(source)


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
    """Rotation about ((w-1)/2, (h-1)/2) of a (height, width) canvas, as published: half a pixel off the center."""
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


def resize(image: Tensor, size: tuple[int, int], antialias: bool) -> Tensor:
    """A (3, H, W) uint8 image at (height, width) `size`, bilinear; `antialias` averages when shrinking, as Pillow."""
    if size == (image.shape[1], image.shape[2]):
        return image
    return tv.resize(image, list(size), antialias=antialias)


def warp(images: Tensor, matrices: Tensor, fill: Tensor | float) -> Tensor:
    """(B, 3, H, W) uint8 images moved by (B, 3, 3) matrices on their canvas, bilinear, rounded.

    What lies outside the canvas counts as `fill`, one gray level or (B, 1, 1, 1) of them.
    """
    _, _, height, width = images.shape
    grid = _source_grid(torch.linalg.inv(matrices.double().cpu()), height, width, images.device)
    # zero is what grid_sample sees outside, and a bilinear mix of gray levels is never outside of 0..255
    moved = functional.grid_sample(images.float() - fill, grid, align_corners=False)
    return moved.add_(fill).add_(0.5).to(torch.uint8)


def _source_grid(inverse: Tensor, height: int, width: int, device: torch.device) -> Tensor:
    """(B, H, W, 2) positions of grid_sample, -1..1 across the canvas: where each output pixel comes from."""
    x = torch.arange(width, dtype=torch.float64) + 0.5
    y = torch.arange(height, dtype=torch.float64) + 0.5
    grid = torch.empty((len(inverse), height, width, 2), device=device)
    for position, half in ((0, width / 2), (1, height / 2)):
        row = inverse[:, position] / half
        along = (row[:, 0, None] * x + row[:, 2, None] - 1).float().to(device)
        down = (row[:, 1, None] * y).float().to(device)
        torch.add(along[:, None, :], down[:, :, None], out=grid[..., position])
    return grid
