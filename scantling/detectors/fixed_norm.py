"""Batch norm with fixed statistics (Ioffe & Szegedy 2015, as a trained network applies it)."""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class FixedNorm(nn.Module):
    """(x - running_mean) / sqrt(running_var + epsilon) * weight + bias per channel, with torch's names.

    The statistics are buffers and never change. So are weight and bias, unless `learned`: then they are parameters.
    A moving average of a student therefore finds the same buffers on both sides, however it treats buffers.
    """

    epsilon: ClassVar[float] = 1e-5
    weight: Tensor
    bias: Tensor
    running_mean: Tensor
    running_var: Tensor

    def __init__(self, channels: int, *, learned: bool):
        super().__init__()
        for name, value in (("weight", torch.ones(channels)), ("bias", torch.zeros(channels))):
            if learned:
                self.register_parameter(name, nn.Parameter(value))
            else:
                self.register_buffer(name, value)
        self.register_buffer("running_mean", torch.zeros(channels))
        self.register_buffer("running_var", torch.ones(channels))

    def scale_and_shift(self) -> tuple[Tensor, Tensor]:
        """(channels,) factor and summand of each channel."""
        scale = self.weight * (self.running_var + self.epsilon).rsqrt()
        return scale, self.bias - self.running_mean * scale


def conv_norm(conv: nn.Conv2d, norm: FixedNorm | nn.BatchNorm2d, x: Tensor) -> Tensor:
    """norm(conv(x)); a fixed norm is folded into the convolution, which has no bias of its own."""
    if not isinstance(norm, FixedNorm):
        return norm(conv(x))
    scale, shift = norm.scale_and_shift()
    weight = conv.weight * scale[:, None, None, None]
    return F.conv2d(x, weight, shift, conv.stride, conv.padding, conv.dilation, conv.groups)
