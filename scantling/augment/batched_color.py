"""The color operations of `photometry` on canvases (N, 3, H, W) uint8, each image within its own (height, width).

Tables are photometry's own; what mixes pixels or channels is Pillow's definition written with tensors.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from scantling.augment import photometry
from scantling.augment.plan import Size

Values = tuple[float, ...]
Operation = Callable[[Tensor, list[Values], list[Size]], Tensor]


def operation(name: str) -> Operation:
    """The batched form of a color operation; tables need no code of their own."""
    if name in photometry.TABLES:
        return lambda images, values, sizes: _looked_up(images, _tables(name, images, values, sizes))
    return _MIXING[name]


def inside(canvas: Tensor, sizes: Sequence[Size]) -> Tensor:
    """(N, 1, H, W) bool: the pixels of each image, not its padding."""
    limits = torch.tensor(sizes, device=canvas.device)
    y = torch.arange(canvas.shape[2], device=canvas.device) < limits[:, :1]
    x = torch.arange(canvas.shape[3], device=canvas.device) < limits[:, 1:]
    return (y[:, :, None] & x[:, None, :])[:, None]


def _tables(name: str, images: Tensor, values: list[Values], sizes: list[Size]) -> Tensor:
    histograms = _histograms(images, sizes) if name in photometry.NEEDS_HISTOGRAM else [None] * len(values)
    made = [photometry.TABLES[name](h, *v) for h, v in zip(histograms, values, strict=True)]
    return torch.from_numpy(np.stack(made)).to(images.device)


def _looked_up(images: Tensor, tables: Tensor) -> Tensor:
    return tables.gather(2, images.flatten(2).long()).view_as(images)


def _histograms(images: Tensor, sizes: list[Size]) -> list[photometry.Histogram]:
    levels = torch.cat([images.long(), _luma(images)[:, None].long()], 1)
    bins = levels + 256 * torch.arange(4 * len(images), device=images.device).view(-1, 4, 1, 1)
    unused = 1024 * len(images)
    counted = torch.bincount(torch.where(inside(images, sizes), bins, unused).flatten(), minlength=unused + 1)
    return list(counted[:unused].view(-1, 4, 256).cpu().numpy())


def _luma(images: Tensor) -> Tensor:
    """(N, H, W) int32: Pillow's fixed-point ITU-R 601 luma."""
    red, green, blue = images.int().unbind(1)
    return (19595 * red + 38470 * green + 7471 * blue + 0x8000) >> 16


def _column(values: list[Values], images: Tensor) -> Tensor:
    return torch.tensor([v[0] for v in values], device=images.device).view(-1, 1, 1, 1)


def _blend(low: Tensor, images: Tensor, factor: Tensor) -> Tensor:
    low = low.float()
    return (low + factor * (images.float() - low)).clamp_(0, 255).to(torch.uint8)


def _gray(images: Tensor, values: list[Values], sizes: list[Size]) -> Tensor:
    return _luma(images).to(torch.uint8)[:, None].expand(images.shape)


def _color(images: Tensor, values: list[Values], sizes: list[Size]) -> Tensor:
    return _blend(_luma(images)[:, None], images, _column(values, images))


def _sharpness(images: Tensor, values: list[Values], sizes: list[Size]) -> Tensor:
    """Away from or towards a 3x3 mean with five times the weight in its center; the outermost pixels stay."""
    kernel = torch.ones((3, 1, 3, 3), device=images.device)
    kernel[:, :, 1, 1] = 5
    total = functional.conv2d(images.float(), kernel, padding=1, groups=3)  # whole numbers, exact in any precision
    smooth = (total / 13 + 0.5).floor()
    inner = inside(images, [(h - 1, w - 1) for h, w in sizes]).clone()
    inner[:, :, 0], inner[:, :, :, 0] = False, False
    return torch.where(inner, _blend(smooth, images, _column(values, images)), images)


def _hue(images: Tensor, values: list[Values], sizes: list[Size]) -> Tensor:
    """Through Pillow's 8-bit HSV: hue and saturation are cut to bytes before the hue is turned."""
    level = images.float()
    high, low = level.amax(1), level.amin(1)
    red, green, blue = ((high[:, None] - level) / (high - low).clamp(min=1)[:, None]).double().unbind(1)
    turn = torch.where(level[:, 1] == high, 2 + red - blue, 4 + green - red)
    turn = torch.where(level[:, 0] == high, blue - green, turn).float().double()  # cut to bytes: every bit counts
    hue = ((turn / 6 + 1).remainder(1).float().double() * 255).floor()
    saturation = (((high - low) / high.clamp(min=1)).double() * 255).floor().float() / 255
    shift = torch.tensor([photometry.hue_shift(v[0]) for v in values], device=images.device).view(-1, 1, 1)
    sixth = torch.where(high == low, shift, hue + shift).remainder(256) * 6 / 255
    sector = sixth.floor()
    part = (sixth - sector).float()
    planes = [high, *(high * (1 - saturation * by) + 0.5 for by in (1, part, 1 - part))]
    mixes = torch.stack(planes, 1).clamp_(0, 255).to(torch.uint8)
    chosen = torch.tensor(_HUE_SECTORS, device=images.device)[sector.long() % 6]  # (N, H, W, 3)
    return mixes.gather(1, chosen.permute(0, 3, 1, 2))


# red, green, blue of each sixth of the hue circle: 0 the highest level, 1 the lowest, 2 falling, 3 rising
_HUE_SECTORS = ((0, 3, 1), (2, 0, 1), (1, 0, 3), (1, 2, 0), (3, 1, 0), (0, 1, 2))


def _blur(images: Tensor, values: list[Values], sizes: list[Size]) -> Tensor:
    """Three running means along x, three along y, each rounded; their last pixel goes on beyond the border."""
    level = images.double()  # holds the sums of Pillow's fixed-point weights exactly
    kernels = _box_kernels([v[0] for v in values]).to(images.device)
    for dim in (3, 3, 3, 2, 2, 2):
        level = _running_mean(level, kernels, [size[dim - 2] for size in sizes], dim)
    return level.to(torch.uint8)


def _running_mean(level: Tensor, kernels: Tensor, lengths: list[int], dim: int) -> Tensor:
    radius = kernels.shape[1] // 2
    last = torch.tensor(lengths, device=level.device)[:, None] - 1
    source = torch.arange(-radius, level.shape[dim] + radius, device=level.device).clamp(min=0).minimum(last)
    source = source[:, None, None] if dim == 3 else source[:, None, :, None]
    wide = level.gather(dim, source.expand(*level.shape[:dim], -1, *level.shape[dim + 1 :]))
    kernel = kernels.repeat_interleave(3, 0)[:, None]
    kernel = kernel[:, :, None] if dim == 3 else kernel[:, :, :, None]
    mixed = functional.conv2d(wide.reshape(1, -1, *wide.shape[2:]), kernel, groups=len(kernel))
    return mixed.view(level.shape).add_(0.5).floor_()


def _box_kernels(sigmas: list[float]) -> Tensor:
    """(N, K) weights of the running means that, three times, have the variances of the Gaussians.

    As Pillow has it (Gwosdek et al. 2011): whole cells and a part of one more at either end.
    """
    boxes = []
    for sigma in sigmas:
        variance = np.float32(sigma) ** 2 / np.float32(3)
        whole = math.floor((np.sqrt(12 * np.float64(variance) + 1) - 1) / 2)
        part = np.float32((2 * whole + 1) * (whole * (whole + 1) - 3 * variance))
        part /= np.float32(6 * (variance - (whole + 1) ** 2))
        inner = int(2**24 / (2 * np.float32(whole + part) + 1))
        outer = (2**24 - (2 * whole + 1) * inner) // 2
        boxes.append(torch.tensor([outer, *[inner] * (2 * whole + 1), outer], dtype=torch.float64) / 2**24)
    widest = max(map(len, boxes))
    return torch.stack([functional.pad(box, [(widest - len(box)) // 2] * 2) for box in boxes])


_MIXING: dict[str, Operation] = {
    "color": _color,
    "sharpness": _sharpness,
    "hue": _hue,
    "gray": _gray,
    "blur": _blur,
}
