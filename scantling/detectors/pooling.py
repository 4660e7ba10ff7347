"""RoIAlign (He 2017): a square of features for each region.

torchvision's CPU kernel is slow, backward above all (0.09 s of a 0.35 s training step of the small detector). Its
bilinear weights are products of one factor per axis, so two matrix products do the same; they are used on small maps.

Shapes: R RoIs, B images, H x W cells of a level, K cells of a side of the pooled square, S sampling points per cell.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torchvision.ops import roi_align

# cells; above, the products (which touch the whole map for each RoI) cost more than the kernel: with a backward pass,
# and without (there a 20 x 20 map costs about half of the kernel's time, a 24 x 24 one as much)
SMALL_MAP, SMALL_MAP_FORWARD = 2048, 400


def pool(
    features: Sequence[Tensor],
    rois: Sequence[Tensor],
    strides: Sequence[int],
    *,
    cells: int,
    sampling_ratio: int,
    aligned: bool,
    level_size: float,
) -> Tensor:
    """(R, channels, cells, cells) float32, each RoI from one level of `features` (finest first, one per stride).

    rois: per image (., 4) in pixels. Level = floor(log2(side / level_size)) held inside the pyramid, side = sqrt(w * h)
    (Lin 2017, eq. 1, where level_size is 56 at stride 4). sampling_ratio 0: as many points as the region has cells.
    """
    boxes = torch.cat(list(rois))
    images = torch.cat([torch.full_like(r[:, 0], i, dtype=torch.int64) for i, r in enumerate(rois)])
    sides = ((boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])).clamp(min=0).sqrt()
    levels = (sides / level_size + 1e-6).log2().floor().clamp(0, len(strides) - 1)
    pooled = boxes.new_zeros((boxes.shape[0], features[0].shape[1], cells, cells))
    for i, stride in enumerate(strides):
        rows = torch.where(levels == i)[0]
        learning = torch.is_grad_enabled() and features[i].requires_grad
        limit = SMALL_MAP if learning else SMALL_MAP_FORWARD
        small = features[i].shape[-2] * features[i].shape[-1] <= limit and not torch.onnx.is_in_onnx_export()
        if small and sampling_ratio > 0 and features[i].device.type == "cpu":
            part = align_small(
                features[i], boxes[rows], images[rows], 1 / stride, cells=cells, points=sampling_ratio, aligned=aligned
            )
        else:
            indexed = torch.cat([images[rows, None].to(boxes), boxes[rows]], dim=1)
            part = roi_align(features[i].float(), indexed, cells, 1 / stride, sampling_ratio, aligned)
        pooled[rows] = part.to(pooled)  # under autocast the products are half precision
    return pooled


def align_small(
    feature: Tensor, boxes: Tensor, images: Tensor, scale: float, *, cells: int, points: int, aligned: bool
) -> Tensor:
    """What torchvision's roi_align gives, by matrix products: (R, channels, cells, cells).

    feature (B, channels, H, W); boxes (R, 4) pixels; images (R,) ascending positions in the batch; scale = cells/pixel.
    """
    b, channels, height, width = feature.shape
    boxes = boxes.detach()
    shift = 0.5 if aligned else 0.0
    start, extent = boxes[:, :2] * scale - shift, (boxes[:, 2:] - boxes[:, :2]) * scale
    if not aligned:
        extent = extent.clamp(min=1)
    across = _axis_weights(start[:, 0], extent[:, 0], width, cells, points)
    down = _axis_weights(start[:, 1], extent[:, 1], height, cells, points)
    counts = images.bincount(minlength=b).tolist()
    rows_first = feature.float().permute(0, 2, 3, 1)  # no copy in channels_last
    parts = []
    for one, wx, wy in zip(rows_first, across.split(counts), down.split(counts), strict=True):
        lines = (wy.reshape(-1, height) @ one.reshape(height, -1)).reshape(-1, cells, width, channels)
        parts.append(wx[:, None] @ lines)  # (., cells, cells, channels)
    return torch.cat(parts).permute(0, 3, 1, 2)


def _axis_weights(start: Tensor, extent: Tensor, size: int, cells: int, points: int) -> Tensor:
    """(R, cells, size): share of each of the `size` grid lines in each pooled cell, mean over the sampling points.

    As in RoIAlign a point up to one cell outside takes the border's value, and one farther out counts as zero.
    """
    steps = (torch.arange(cells * points, dtype=start.dtype, device=start.device) + 0.5) / (points * cells)
    position = start[:, None] + extent[:, None] * steps
    inside = (position >= -1) & (position <= size)
    lines = torch.arange(size, dtype=start.dtype, device=start.device)
    share = (1 - (position.clamp(0, size - 1)[:, :, None] - lines).abs()).clamp(min=0) * inside[:, :, None]
    return share.unflatten(1, (cells, points)).mean(dim=2)
