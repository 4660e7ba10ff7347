"""From pixels to pyramid features: what the detectors share."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torchvision.models.detection.anchor_utils import AnchorGenerator
from torchvision.ops import FeaturePyramidNetwork
from torchvision.ops.feature_pyramid_network import ExtraFPNBlock, LastLevelMaxPool, LastLevelP6P7

from scantling.detectors.backbone import Trunk, build_backbone
from scantling.detectors.padding import is_ragged, valid_cells
from scantling.detectors.settings import AnchorParams, DetectorParams, NeckParams
from scantling.params import ParamsError


class PyramidDetector(nn.Module):
    """Backbone, neck and anchors of a detector.

    backbone    the ImageNet-trained trunk alone, so that its parameters (`backbone.*`) can have their own rate
    neck        feature pyramid
    strides     pixels per cell of each pyramid level, finest first
    classes     names of the C classes
    params      what it was built from
    """

    mean: Tensor
    std: Tensor

    def __init__(self, params: DetectorParams, anchors: AnchorParams, classes: tuple[str, ...]):
        super().__init__()
        self.params = params
        self.classes = tuple(classes)
        self.backbone = build_backbone(params.backbone)
        self.neck = _build_neck(params.neck, self.backbone)
        self.strides = _level_strides(params.neck, self.backbone)
        if len(anchors.sizes_px) != len(self.strides):
            raise ParamsError(
                f"`anchors.sizes_px` has {len(anchors.sizes_px)} levels; the pyramid has {len(self.strides)} "
                f"(strides {', '.join(map(str, self.strides))}): give one list of sizes for each"
            )
        if len({len(sizes) for sizes in anchors.sizes_px}) != 1:
            raise ParamsError("`anchors.sizes_px`: give the same number of sizes for every level; the head is shared")
        self.anchors = Anchors(anchors, self.strides)
        self.register_buffer("mean", torch.tensor(self.backbone.mean).reshape(1, 3, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(self.backbone.std).reshape(1, 3, 1, 1), persistent=False)

    def load_backbone(self, source: str | None) -> None:
        """ImageNet weights for the trunk from a file."""
        self.backbone.load(source)

    def features(self, images: Tensor, sizes: Sequence[tuple[int, int]]) -> list[Tensor]:
        """Pyramid features, finest first, each (B, channels, ceil(H'/stride), ceil(W'/stride)) with H', W' padded up.

        images (B, 3, H, W) uint8 or float RGB 0..255; sizes: B pairs (height, width) of the valid part. Pixels beyond
        are zero after normalization, whatever `images` holds there, and cells beyond are zero in the result.
        """
        x = (images.float() - self.mean) / self.std
        for i, (height, width) in enumerate(sizes):
            x[i, :, height:].zero_()
            x[i, :, :, width:].zero_()
        multiple = self.backbone.strides[-1]
        x = F.pad(x, (0, -x.shape[-1] % multiple, 0, -x.shape[-2] % multiple))
        trunk = self.backbone(x.contiguous(memory_format=torch.channels_last), sizes)
        levels = list(self.neck(OrderedDict((str(i), f) for i, f in enumerate(trunk))).values())
        if is_ragged(x, sizes):
            levels = [f * valid_cells(f, sizes, stride) for f, stride in zip(levels, self.strides, strict=True)]
        return levels


class Anchors(AnchorGenerator):
    """torchvision's anchors without rounding if wanted, on fixed strides.

    torchvision divides the image size by the grid size, which is not the stride on the coarse levels of odd grids.
    """

    def __init__(self, params: AnchorParams, strides: Sequence[int]):
        self.rounded = params.rounded  # before the constructor, which calls generate_anchors
        super().__init__(
            tuple(tuple(sizes) for sizes in params.sizes_px), (tuple(params.ratios),) * len(params.sizes_px)
        )
        self.strides = tuple(strides)

    def generate_anchors(
        self,
        scales: Sequence[float],
        aspect_ratios: Sequence[float],
        dtype: torch.dtype = torch.float32,
        device: torch.device | str = "cpu",
    ) -> Tensor:
        """(A, 4) corners around (0, 0) in pixels, ratio-major."""
        sizes = torch.as_tensor(scales, dtype=dtype, device=device)
        roots = torch.as_tensor(aspect_ratios, dtype=dtype, device=device).sqrt()
        half = torch.stack([(sizes / roots[:, None]).flatten(), (sizes * roots[:, None]).flatten()], dim=1) / 2
        corners = torch.cat([-half, half], dim=1)
        return corners.round() if self.rounded else corners

    def per_level(self, features: Sequence[Tensor]) -> list[Tensor]:
        """For each level (height * width * A, 4) float32, row-major over (y, x, anchor), centers at (x, y) * stride."""
        device = features[0].device
        self.set_cell_anchors(torch.float32, device)
        grids = [list(f.shape[-2:]) for f in features]
        steps = [[torch.tensor(s, device=device)] * 2 for s in self.strides]
        return self.grid_anchors(grids, steps)


def _build_neck(params: NeckParams, trunk: Trunk) -> FeaturePyramidNetwork:
    extra: ExtraFPNBlock | None = None
    if params.extra_levels == "max_pool":
        extra = LastLevelMaxPool()
    elif params.extra_levels == "p6p7":
        extra = LastLevelP6P7(trunk.channels[-1], params.channels)
    return FeaturePyramidNetwork(list(trunk.channels), params.channels, extra)


def _level_strides(params: NeckParams, trunk: Trunk) -> tuple[int, ...]:
    last = trunk.strides[-1]
    more = {"none": (), "max_pool": (2 * last,), "p6p7": (2 * last, 4 * last)}[params.extra_levels]
    return (*trunk.strides, *more)
