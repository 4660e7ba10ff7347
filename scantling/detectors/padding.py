"""Which cells of a feature map belong to the images of a padded batch."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor


def is_ragged(images: Tensor, sizes: Sequence[tuple[int, int]]) -> bool:
    """True if any of the B `sizes` (height, width) leaves padding in `images` (B, channels, H, W)."""
    return any(tuple(size) != tuple(images.shape[-2:]) for size in sizes)


def valid_cells(feature: Tensor, sizes: Sequence[tuple[int, int]], stride: int) -> Tensor:
    """(B, 1, h, w), as `feature` (B, channels, h, w): 1 in cells that hold a part of the image, else 0.

    sizes: B pairs (height, width) in pixels; stride: pixels per cell.
    """
    inside = feature.new_zeros((len(sizes), 1, *feature.shape[-2:]))
    for mask, (height, width) in zip(inside, sizes, strict=True):
        mask[:, : -(-height // stride), : -(-width // stride)] = 1
    return inside
