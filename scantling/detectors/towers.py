"""Convolution towers of one-stage heads, run so that nothing beyond an image is seen."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial

import torch
from torch import Tensor, nn

from scantling.params import ParamsError


def norm_of(groups: int, channels: int) -> Callable[[int], nn.Module] | None:
    """GroupNorm for the towers' convolutions of `channels`, None = no norm."""
    if groups == 0:
        return None
    if channels % groups:
        raise ParamsError(f"`head.norm_groups` = {groups}: use a divisor of `neck.channels` = {channels}, or 0 = none")
    return partial(nn.GroupNorm, groups)


def run_tower(tower: nn.Module, x: Tensor, valid: Tensor | None) -> Tensor:
    """The layers of `tower` one after the other on (B, channels, h, w); `valid` (B, 1, h, w) as `padding.valid_cells`,
    None = everywhere. Neither convolutions nor norms see what lies beyond an image; the result is zero there.
    """
    for layer in _leaves(tower):
        if valid is not None and isinstance(layer, nn.Conv2d):
            x = layer(x * valid)
        elif valid is not None and isinstance(layer, nn.GroupNorm):
            x = _group_norm(layer, x, valid)
        else:
            x = layer(x)
    return x if valid is None else x * valid


def _leaves(module: nn.Module) -> Iterator[nn.Module]:
    parts = list(module.children())
    if not parts:
        yield module
    for part in parts:
        yield from _leaves(part)


def _group_norm(layer: nn.GroupNorm, x: Tensor, valid: Tensor) -> Tensor:
    """GroupNorm with the mean and variance of the valid cells."""
    with torch.autocast(x.device.type, enabled=False):
        groups, valid = x.float().unflatten(1, (layer.num_groups, -1)), valid.float()[:, None]
        count = valid.sum(dim=(2, 3, 4), keepdim=True) * groups.shape[2]
        centered = groups - (groups * valid).sum(dim=(2, 3, 4), keepdim=True) / count
        variance = (centered.square() * valid).sum(dim=(2, 3, 4), keepdim=True) / count
        normed = (centered * (variance + layer.eps).rsqrt()).flatten(1, 2)
        return normed * layer.weight[:, None, None] + layer.bias[:, None, None]


def by_place(x: Tensor, columns: int) -> Tensor:
    """(B, h * w * A, columns) float32 of a head's output (B, A * columns, h, w)."""
    return x.unflatten(1, (-1, columns)).permute(0, 3, 4, 1, 2).flatten(1, 3).float()
