"""Views of a whole batch on a device: the same plans as on the CPU, the same pixels within rounding.

Loader workers decode and draw, and the pixels travel as they were decoded. On the device images of different sizes lie
in one canvas, zeros at the right and bottom; every operation keeps to each image's own size.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from scantling.augment import batched_color, erasing, geometry
from scantling.augment.batched_color import Values
from scantling.augment.plan import Plan, Size, Step, Steps
from scantling.target import Batch, Target

_AT_ONCE = 8  # images an operation takes together; bounds its memory, at 800x1333 about half a gigabyte


@dataclass
class Pending:
    """A batch of one view that is still to be made; `to(device)` makes it there.

    images     (sum of 3hw,) uint8, the decoded images one after the other as rows of RGB pixels
    decoded    (height, width) of each image
    plans      for each image the plan of the view, behind that of the weak view where it goes on from there
    targets    for each image, in pixels of the view
    """

    images: Tensor
    decoded: list[Size]
    plans: list[tuple[Plan, ...]]
    targets: list[Target]
    image_ids: list[int]

    def __len__(self) -> int:
        return len(self.decoded)

    def to(self, device: torch.device | str) -> Batch:
        parts = self.images.to(device, non_blocking=True).split([3 * h * w for h, w in self.decoded])
        images = [part.view(h, w, 3).permute(2, 0, 1) for part, (h, w) in zip(parts, self.decoded, strict=True)]
        return Batch(
            apply(images, self.plans),
            [plans[-1].size for plans in self.plans],
            [target.to(device) for target in self.targets],
            torch.stack([plans[-1].matrix for plans in self.plans]).to(device),
            self.image_ids,
        )


def collate(samples: Sequence[tuple[Tensor, tuple[Plan, ...], Target]], image_ids: Sequence[int]) -> Pending:
    """Decoded (3, h, w) uint8 images, the plans of one view and its targets, as a batch."""
    images, plans, targets = zip(*samples, strict=True)
    pixels = torch.cat([image.permute(1, 2, 0).reshape(-1) for image in images])
    sizes = [(image.shape[1], image.shape[2]) for image in images]
    return Pending(pixels, sizes, list(plans), list(targets), list(image_ids))


def apply(images: Sequence[Tensor], plans: Sequence[tuple[Plan, ...]]) -> Tensor:
    """The canvas (B, 3, H, W) uint8 of one view of (3, h, w) uint8 images; H, W hold the largest."""
    first = [own[0] for own in plans]
    if any(plan.before for plan in first):
        sizes = [(image.shape[1], image.shape[2]) for image in images]
        canvas = _steps(_padded(images), sizes, [plan.before for plan in first])
        images = [image[:, :h, :w] for image, (h, w) in zip(canvas, sizes, strict=True)]
    sized = [geometry.resize(i, plan.size, plan.antialias) for i, plan in zip(images, first, strict=True)]
    sizes = [plan.size for plan in first]
    canvas = _steps(_padded(sized), sizes, [sum((plan.steps for plan in own), ()) for own in plans])
    return canvas * batched_color.inside(canvas, sizes)


def _padded(images: Sequence[Tensor]) -> Tensor:
    height, width = max(i.shape[1] for i in images), max(i.shape[2] for i in images)
    canvas = images[0].new_zeros((len(images), 3, height, width))
    for row, image in zip(canvas, images, strict=True):
        row[:, : image.shape[1], : image.shape[2]] = image
    return canvas


def _steps(canvas: Tensor, sizes: Sequence[Size], steps: Sequence[Steps]) -> Tensor:
    """Each image's steps in its own order; images whose next step is the same operation take it together."""
    for turn in range(max(len(own) for own in steps)):
        due: dict[str, list[int]] = defaultdict(list)
        for row, own in enumerate(steps):
            if turn < len(own):
                due[own[turn].name].append(row)
        for name, rows in due.items():
            for first in range(0, len(rows), _AT_ONCE):
                some = rows[first : first + _AT_ONCE]
                _step(canvas, name, some, [steps[row][turn].values for row in some], [sizes[row] for row in some])
    return canvas


def _step(canvas: Tensor, name: str, rows: list[int], values: list[Values], sizes: list[Size]) -> None:
    if name in ("erase", "noise"):
        for row, value in zip(rows, values, strict=True):
            erasing.erase(canvas[row], Step(name, value))
        return
    operation = _GEOMETRY.get(name) or batched_color.operation(name)
    index = torch.tensor(rows, device=canvas.device)
    canvas[index] = operation(canvas[index], values, sizes)


def _flip_horizontal(images: Tensor, values: list[Values], sizes: list[Size]) -> Tensor:
    width = images.new_tensor([w for _, w in sizes], dtype=torch.int64)[:, None]
    x = torch.arange(images.shape[3], device=images.device)
    source = torch.where(x < width, width - 1 - x, x)
    return images.gather(3, source[:, None, None].expand(images.shape))


def _flip_vertical(images: Tensor, values: list[Values], sizes: list[Size]) -> Tensor:
    turned = [(w, h) for h, w in sizes]
    return _flip_horizontal(images.transpose(2, 3), values, turned).transpose(2, 3)


def _warp(images: Tensor, values: list[Values], sizes: list[Size]) -> Tensor:
    fill = torch.tensor([v[6] for v in values], device=images.device).view(-1, 1, 1, 1)
    bordered = torch.where(batched_color.inside(images, sizes), images, fill.to(torch.uint8))
    return geometry.warp(bordered, geometry.from_rows([v[:6] for v in values]), fill)


_GEOMETRY = {"flip_horizontal": _flip_horizontal, "flip_vertical": _flip_vertical, "warp": _warp}
