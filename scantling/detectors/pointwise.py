"""Fully connected layers and 1x1 convolutions, by the faster of torch's two ways on one CPU thread.

There torch computes both by the matrix products of its BLAS; as convolutions of many small images oneDNN takes them,
which needs about two thirds of the time (docs/results/speed.md). The results are equal up to rounding.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

ONEDNN_FROM = 16  # images of a batch from which on torch leaves a 1x1 convolution to oneDNN on one thread


def conv1x1(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """(B, C, H, W) by (D, C, 1, 1) and (D,): (B, D, H, W). A row of an image has no neighbors here: it is an image."""
    n, c, h, w = x.shape
    as_rows = n < ONEDNN_FROM <= n * h and x.is_contiguous(memory_format=torch.channels_last)
    if not as_rows or not _asks_blas(x):
        return F.conv2d(x, weight, bias)
    y = F.conv2d(x.permute(0, 2, 3, 1).view(n * h, 1, w, c).permute(0, 3, 1, 2), weight, bias)
    return y.permute(0, 2, 3, 1).reshape(n, h, w, -1).permute(0, 3, 1, 2)


def linear(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """(N, C) by (D, C) and (D,): (N, D). Rows are dealt to `ONEDNN_FROM` images; zeros fill the last one."""
    n, c = x.shape
    if n < ONEDNN_FROM or not _asks_blas(x):
        return F.linear(x, weight, bias)
    images = F.pad(x, (0, 0, 0, -n % ONEDNN_FROM)).view(ONEDNN_FROM, 1, -1, c).permute(0, 3, 1, 2)
    y = F.conv2d(images, weight[:, :, None, None], bias)
    return y.permute(0, 2, 3, 1).reshape(-1, len(weight))[:n]


def _asks_blas(x: Tensor) -> bool:
    alone = x.device.type == "cpu" and torch.get_num_threads() == 1 and not torch.compiler.is_compiling()
    return alone and x.dtype == torch.float32 and not torch.is_autocast_enabled("cpu")
