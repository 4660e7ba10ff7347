"""1x1 convolutions and fully connected layers on one CPU thread: torch's own way against scantling's, both passes.

    python benchmarks/pointwise.py [--repeats 5] [--calls 20]

Shapes are those of the small Faster R-CNN on four images of 160 x 224. Processor seconds, alternating in one process;
the ratio is torch's time over ours, the median of the pairs. What it is worth depends on the processor: torch's own way
is the matrix product of its BLAS.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional as F

from scantling.detectors.pointwise import conv1x1, linear

CONVOLUTIONS = [(40, 240, 20, 28), (240, 40, 20, 28), (672, 112, 10, 14), (112, 672, 10, 14), (192, 1152, 5, 7)]
LAYERS = [(384, 4704, 256), (384, 256, 256)]  # rows, inputs, outputs


def seconds(layer: Callable[..., Tensor], inputs: tuple[Tensor, ...], calls: int) -> float:
    """Processor seconds of a call and its backward pass."""
    gradient = torch.ones_like(layer(*inputs))
    start = time.process_time()
    for _ in range(calls):
        layer(*inputs).backward(gradient)
    return (time.process_time() - start) / calls


def compare(
    name: str,
    plain: Callable[..., Tensor],
    ours: Callable[..., Tensor],
    x: Tensor,
    weight: Tensor,
    options: argparse.Namespace,
) -> None:
    bias = torch.zeros(len(weight))
    inputs = tuple(t.requires_grad_() for t in (x, weight, bias))
    pairs = []
    for repeat in range(options.repeats + 1):
        pair = [seconds(layer, inputs, options.calls) for layer in ((plain, ours) if repeat % 2 else (ours, plain))]
        pairs.append(pair if repeat % 2 else pair[::-1])
    ratio = statistics.median(a / b for a, b in pairs[1:])  # the first warms up
    print(f"{name}: torch {1000 * pairs[-1][0]:.2f} ms, scantling {1000 * pairs[-1][1]:.2f} ms, ratio {ratio:.2f}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--calls", type=int, default=20)
    options = parser.parse_args()
    torch.set_num_threads(1)
    torch.manual_seed(0)
    for inputs, outputs, h, w in CONVOLUTIONS:
        x = torch.randn(4, inputs, h, w).to(memory_format=torch.channels_last)
        name = f"1x1 convolution, {inputs} to {outputs} channels, {h} x {w}"
        compare(name, F.conv2d, conv1x1, x, torch.randn(outputs, inputs, 1, 1), options)
    for rows, inputs, outputs in LAYERS:
        x, weight = torch.randn(rows, inputs), torch.randn(outputs, inputs)
        compare(f"layer, {rows} rows, {inputs} to {outputs}", F.linear, linear, x, weight, options)


if __name__ == "__main__":
    main()
