"""Geometry of boxes: float32 (N, 4) xyxy in absolute pixels. Empty is legal everywhere."""

from __future__ import annotations

import torch
from torch import Tensor
from torchvision.ops import box_iou


def iou(a: Tensor, b: Tensor) -> Tensor:
    """Intersection over union, (N, M), of (N, 4) and (M, 4) boxes; boxes without area overlap nothing."""
    return torch.nan_to_num(box_iou(a, b))


def sides(boxes: Tensor) -> tuple[Tensor, Tensor]:
    """Widths and heights, each (N,)."""
    return boxes[:, 2] - boxes[:, 0], boxes[:, 3] - boxes[:, 1]


def area(boxes: Tensor) -> Tensor:
    """Areas (N,) in square pixels."""
    width, height = sides(boxes)
    return width * height


def has_area(boxes: Tensor, min_side_px: float = 0.0) -> Tensor:
    """(N,) bool: width and height strictly above `min_side_px` (Soft Teacher code: strict)."""
    width, height = sides(boxes)
    return (width > min_side_px) & (height > min_side_px)


def clip(boxes: Tensor, size: tuple[int, int] | Tensor) -> Tensor:
    """Boxes clamped to an image of `size` = (height, width); a tensor where only the running graph knows it."""
    if isinstance(size, Tensor):
        limits = size.flip(0).repeat(2).to(boxes)
    else:
        limits = boxes.new_tensor([size[1], size[0], size[1], size[0]])
    return torch.minimum(boxes.clamp(min=0), limits)


def transform(boxes: Tensor, matrix: Tensor, size: tuple[int, int] | None = None) -> Tensor:
    """Axis-aligned hulls of the boxes' corners mapped by a (3, 3) matrix, clamped to `size` if given.

    Rotation and shear inflate boxes: the hull of a hull, as in Soft Teacher section 5.1.
    """
    if len(boxes) == 0:
        return boxes.reshape(0, 4)
    x1, y1, x2, y2 = boxes.double().unbind(1)
    x, y = torch.stack([x1, x2, x2, x1], 1), torch.stack([y1, y1, y2, y2], 1)
    corners = torch.stack([x, y, torch.ones_like(x)], 2) @ matrix.double().to(boxes.device).T  # (N, 4, 3)
    points = corners[..., :2] / corners[..., 2:]
    hull = torch.cat([points.amin(1), points.amax(1)], 1).to(boxes.dtype)
    return hull if size is None else clip(hull, size)


def jitter(boxes: Tensor, noise: Tensor, fraction: float) -> Tensor:
    """(T, N, 4) copies of the boxes, displaced by standard normal `noise` (T, N, 4) times `fraction` of their sides.

    Not clipped; sides below one pixel count as one. Soft Teacher code, section 6.4 (Gaussian, not uniform).
    """
    width, height = (side.clamp(min=1) for side in sides(boxes))
    return boxes + fraction * torch.stack([width, height, width, height], 1) * noise


def spread(refined: Tensor) -> Tensor:
    """(N, 4) sample standard deviation of refined boxes (T, N, 4), over the sides of their mean box (at least 1 px).

    The regression uncertainty of Soft Teacher, section 6.6 (code: per axis, of the mean refined box).
    """
    if refined.shape[1] == 0:
        return refined.new_zeros((0, 4))
    mean = refined.mean(0)
    width, height = (side.clamp(min=1) for side in sides(mean))
    return refined.std(0, correction=1) / torch.stack([width, height, width, height], 1)
