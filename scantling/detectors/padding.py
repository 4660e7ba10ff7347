"""Which cells of a feature map belong to the images of a padded batch.

What a detector finds in an image must not depend on the other images of its batch, so cells beyond an image are zero
before every convolution with neighbors, take no part in norms, and are no anchors.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional as F


def is_ragged(images: Tensor, sizes: Sequence[tuple[int, int]] | Tensor) -> bool:
    """True if any of the B `sizes` (height, width) leaves padding in `images` (B, channels, H, W).

    So it is for sizes that are a tensor (B, 2): what it holds is known only when the exported graph runs.
    """
    return isinstance(sizes, Tensor) or any(tuple(size) != tuple(images.shape[-2:]) for size in sizes)


def valid_cells(feature: Tensor, sizes: Tensor | Sequence[tuple[int, int]], stride: int) -> Tensor:
    """(B, 1, h, w), as `feature` (B, channels, h, w): 1 in cells that hold a part of the image, else 0.

    sizes: B pairs (height, width) in pixels; stride: pixels per cell.
    """
    limits = torch.as_tensor(sizes, device=feature.device).reshape(-1, 2)
    rows = torch.arange(feature.shape[-2], device=feature.device) * stride < limits[:, :1]
    columns = torch.arange(feature.shape[-1], device=feature.device) * stride < limits[:, 1:]
    return (rows[:, None, :, None] & columns[:, None, None, :]).to(feature.dtype)


def inside(
    features: Sequence[Tensor], sizes: Sequence[tuple[int, int]] | Tensor, strides: Sequence[int]
) -> list[Tensor] | None:
    """`valid_cells` of every level, or None if no level has a cell without image."""
    if not isinstance(sizes, Tensor) and all(
        -(-height // stride) >= feature.shape[-2] and -(-width // stride) >= feature.shape[-1]
        for feature, stride in zip(features, strides, strict=True)
        for height, width in sizes
    ):
        return None
    limits = torch.as_tensor(sizes, device=features[0].device)  # copied to the device once
    return [valid_cells(feature, limits, stride) for feature, stride in zip(features, strides, strict=True)]


def hold_edge(feature: Tensor, valid: Tensor) -> Tensor:
    """`feature`, zero where `valid` (B, 1, h, w) is, with the last valid row and column repeated once beyond.

    RoIAlign repeats the border of the whole map; this makes it do so at the border of each image.
    """
    for pad in ((0, 0, 1, 0), (1, 0, 0, 0)):  # one cell down, then one to the right
        height, width = feature.shape[-2:]
        moved, moved_valid = F.pad(feature, pad)[..., :height, :width], F.pad(valid, pad)[..., :height, :width]
        feature = feature + moved * (1 - valid)
        valid = torch.maximum(valid, moved_valid)
    return feature
