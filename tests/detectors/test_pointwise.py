"""Layers without neighbors, computed as convolutions of many small images: the same numbers and gradients."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from scantling.detectors.pointwise import conv1x1, linear


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def gradients(y: Tensor, *inputs: Tensor) -> tuple[Tensor, ...]:
    return torch.autograd.grad((y * torch.arange(y.numel()).reshape(y.shape).sin()).sum(), inputs)


@pytest.mark.parametrize("shape", [(4, 24, 10, 14), (1, 24, 16, 3), (1, 24, 2, 2), (16, 24, 3, 3), (0, 24, 4, 4)])
@pytest.mark.parametrize("memory_format", [torch.channels_last, torch.contiguous_format])
def test_a_convolution(shape: tuple[int, ...], memory_format: torch.memory_format) -> None:
    torch.manual_seed(0)
    x = torch.randn(shape).to(memory_format=memory_format).requires_grad_()
    weight, bias = torch.randn(40, shape[1], 1, 1, requires_grad=True), torch.randn(40, requires_grad=True)
    ours, plain = conv1x1(x, weight, bias), F.conv2d(x, weight, bias)
    torch.testing.assert_close(ours, plain)
    for mine, theirs in zip(gradients(ours, x, weight, bias), gradients(plain, x, weight, bias), strict=True):
        torch.testing.assert_close(mine, theirs, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("rows", [0, 1, 15, 16, 17, 96, 385])
def test_a_layer(rows: int) -> None:
    torch.manual_seed(0)
    x = torch.randn(rows, 50, requires_grad=True)
    weight, bias = torch.randn(30, 50, requires_grad=True), torch.randn(30, requires_grad=True)
    ours, plain = linear(x, weight, bias), F.linear(x, weight, bias)
    assert ours.shape == (rows, 30)
    torch.testing.assert_close(ours, plain)
    for mine, theirs in zip(gradients(ours, x, weight, bias), gradients(plain, x, weight, bias), strict=True):
        torch.testing.assert_close(mine, theirs, rtol=1e-4, atol=1e-4)


def test_the_same_bits_again() -> None:
    torch.manual_seed(0)
    x, weight = torch.randn(100, 64), torch.randn(32, 64)
    assert torch.equal(linear(x, weight, None), linear(x, weight, None))
