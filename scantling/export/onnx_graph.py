"""A detector as one graph of fixed steps: a decoded picture of any size in, boxes of that picture out.

The picture is resized onto a canvas of fixed size inside the graph, so every map of the network has a fixed size and
whoever runs the file prepares nothing. Resizing is two matrix products whose weights follow from the picture's size.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from scantling.detectors.pyramid import PyramidDetector


class Graph(nn.Module):
    """image (H, W, 3) uint8 RGB, upright -> boxes (N, 4) float32 in its pixels, labels (N,) int64, scores (N,) float32.

    The same as `load_detector(...).predict`: resized as the detector's `input` says; NMS; best first. canvas: (height,
    width) in pixels. A picture that would not fit it, which `canvas_of` the detector knows not, is made smaller.
    """

    def __init__(
        self, detector: PyramidDetector, canvas: tuple[int, int], *, score_threshold: float, nms_iou: float, limit: int
    ):
        super().__init__()
        self.detector = detector
        self.canvas = canvas
        self.rule = {"score_threshold": score_threshold, "nms_iou": nms_iou, "limit": limit}

    def forward(self, image: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        size = torch._shape_as_tensor(image)[:2]
        seen = self._view_size(size)
        view = resize(image, size, seen, self.canvas, self.detector.params.input.antialias)
        sizes = seen[None]
        found = self.detector.detect(self.detector.features(view[None], sizes), sizes, **self.rule)[0]
        back = (size.double() / seen.double()).flip(0).repeat(2).float()
        limits = size.flip(0).repeat(2).float()
        return torch.minimum(found.boxes * back, limits), found.labels, found.scores

    def _view_size(self, size: Tensor) -> Tensor:
        """(2,) int64, height and width of the view of a picture of `size`; see augment.geometry.resized."""
        asked, sides = self.detector.params.input, size.double()
        if asked.exact_px is not None:
            return torch.minimum(torch.tensor(asked.exact_px), torch.tensor(self.canvas))
        canvas = torch.tensor(self.canvas, dtype=torch.float64)
        factor = torch.minimum(asked.long_px / sides.amax(), asked.short_px / sides.amin())
        factor = torch.minimum(factor, (canvas / sides).amin())
        return (sides * factor + 0.5).floor().clamp(min=1).long()


def canvas_of(detector: PyramidDetector) -> tuple[int, int]:
    """What holds every view of the detector's test size: a square, unless all of them have one size."""
    asked, multiple = detector.params.input, detector.multiple
    height, width = asked.exact_px or (asked.long_px, asked.long_px)
    return -(-height // multiple) * multiple, -(-width // multiple) * multiple


def resize(image: Tensor, size: Tensor, seen: Tensor, canvas: tuple[int, int], antialias: bool) -> Tensor:
    """(3, *canvas) float 0..255 of image (H, W, 3) uint8: its view of `seen` (height, width) in the upper left corner,
    zero beyond. As `augment.geometry.resize` does: bilinear, with `antialias` averaging when it shrinks, first across,
    then down, whole numbers after each."""
    down, across = (axis_weights(size[i], seen[i], canvas[i], antialias) for i in (0, 1))
    lines = torch.floor(image.permute(2, 0, 1).float() @ across.T + 0.5)
    return torch.floor(down @ lines + 0.5)


def axis_weights(source: Tensor, target: Tensor, cells: int, antialias: bool) -> Tensor:
    """(cells, source) float32: the share of each source pixel in each of `target` pixels; rows from `target` on are 0.

    source, target: whole numbers as tensors. A triangle around the pixel's center, one source pixel wide on each side,
    with `antialias` (Pillow's bilinear filter) as wide as a target pixel if that is more; its weights sum to 1.
    """
    places = torch.arange(cells, dtype=torch.float64)
    step = source.double() / target.double()
    centers = (places + 0.5) * step
    pixels = torch.arange(source, dtype=torch.float64) + 0.5
    reach = step.clamp(min=1) if antialias else 1.0
    weights = (1 - (pixels - centers[:, None]).abs() / reach).clamp(min=0)
    weights = weights / weights.sum(dim=1, keepdim=True).clamp(min=1e-9)
    return (weights * (places < target.double())[:, None]).float()
