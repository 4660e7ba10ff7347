"""From pixels to pyramid features: what the detectors share."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torchvision.models.detection.anchor_utils import AnchorGenerator
from torchvision.ops import FeaturePyramidNetwork
from torchvision.ops.feature_pyramid_network import LastLevelP6P7

from scantling.detectors.backbone import Trunk, build_backbone
from scantling.detectors.padding import hold_edge, is_ragged, valid_cells
from scantling.detectors.pointwise import conv1x1
from scantling.detectors.pooling import pool
from scantling.detectors.settings import AnchorParams, DetectorParams, DetectParams, NeckParams
from scantling.params import ParamsError
from scantling.target import Detections


class PyramidDetector(nn.Module):
    """Backbone and neck of a detector, and `detect` with the detector's own thresholds. Subclasses set `anchors`.

    backbone    the ImageNet-trained trunk alone, so that its parameters (`backbone.*`) can have their own rate
    neck        feature pyramid
    channels    of every pyramid level
    strides     pixels per cell of each pyramid level, finest first
    classes     names of the C classes
    params      what it was built from
    """

    mean: Tensor
    std: Tensor
    anchors: Anchors

    def __init__(self, params: DetectorParams, classes: tuple[str, ...]):
        super().__init__()
        self.params = params
        self.classes = tuple(classes)
        self.backbone = build_backbone(params.backbone)
        self.neck = Neck(params.neck, self.backbone)
        self.strides = self.neck.strides
        self.channels = params.neck.channels
        self.multiple = params.input.pad_multiple_px
        if self.multiple % self.backbone.strides[-1]:
            raise ParamsError(
                f"`input.pad_multiple_px` = {self.multiple}: use a multiple of {self.backbone.strides[-1]}, the "
                "coarsest stride of the backbone"
            )
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
        if isinstance(sizes, torch.Tensor):
            x = x * valid_cells(x, sizes, 1)
        else:
            for i, (height, width) in enumerate(sizes):
                x[i, :, height:].zero_()
                x[i, :, :, width:].zero_()
        x = F.pad(x, (0, -x.shape[-1] % self.multiple, 0, -x.shape[-2] % self.multiple))
        trunk = self.backbone(x.contiguous(memory_format=torch.channels_last), sizes)
        return self.neck(trunk, sizes if is_ragged(x, sizes) else None)

    @torch.no_grad()
    def detect(
        self,
        features: list[Tensor],
        sizes: Sequence[tuple[int, int]],
        *,
        score_threshold: float | None = None,
        nms_iou: float | None = None,
        limit: int | None = None,
        labeling: bool = False,
        **more: Any,
    ) -> list[Detections]:
        """See the protocol; without gradient. `more` is for a detector that takes more."""
        asked = {"score_threshold": score_threshold, "nms_iou": nms_iou, "limit": limit}
        rule = self.params.detect.model_copy(update={k: v for k, v in asked.items() if v is not None})
        return self._detect(features, sizes, rule, labeling, **more)

    def _detect(
        self, features: list[Tensor], sizes: Sequence[tuple[int, int]], rule: DetectParams, labeling: bool, **more: Any
    ) -> list[Detections]:
        raise NotImplementedError

    def pooled(
        self, features: list[Tensor], boxes: Sequence[Tensor], sizes: Sequence[tuple[int, int]], cells: int
    ) -> Tensor:
        """See the protocol. A box is pooled from one of the backbone's levels, by its size as in Lin 2017, eq. 1."""
        strides = self.backbone.strides
        given = [b.float().reshape(-1, 4) for b in boxes]
        rule = {"sampling_ratio": 0, "aligned": True, "level_size": 14.0 * strides[0]}
        # two cells around every image, whether the batch has them or not: boxes beyond it see its border, then zeros
        levels = [F.pad(f, (0, 2, 0, 2)) for f in features[: len(strides)]]
        levels = [hold_edge(f, valid_cells(f, sizes, s)) for f, s in zip(levels, strides, strict=True)]
        return pool(levels, given, strides, cells=cells, **rule)

    def valid_anchors(self, masks: Sequence[Tensor] | None) -> Tensor | None:
        """(B, R) bool: anchors in cells that hold a part of their image (`padding.inside`); None if all do."""
        if masks is None:
            return None
        per_cell = self.anchors.num_anchors_per_location()[0]
        return torch.cat([m.flatten(1).bool().repeat_interleave(per_cell, dim=1) for m in masks], dim=1)


class Neck(FeaturePyramidNetwork):
    """torchvision's feature pyramid, in which the features of an image do not depend on the padding around it."""

    def __init__(self, params: NeckParams, trunk: Trunk):
        super().__init__(list(trunk.channels), params.channels)
        self.extra = params.extra_levels
        last, more = trunk.strides[-1], {"none": 0, "max_pool": 1}.get(params.extra_levels, 2)
        self.strides = (*trunk.strides, *(last * 2**k for k in range(1, more + 1)))
        if more == 2:
            inputs = trunk.channels[-1] if self.extra == "conv_from_c5" else params.channels
            self.extra_blocks = LastLevelP6P7(inputs, params.channels)

    def forward(self, trunk: Sequence[Tensor], sizes: Sequence[tuple[int, int]] | None) -> list[Tensor]:
        """Levels (B, channels, h, w), finest first, of the trunk's features; with `sizes` (of a batch in which not all
        images fill the map) zero beyond each image."""

        limits = None if sizes is None else torch.as_tensor(sizes, device=trunk[0].device)

        def held(x: Tensor, level: int) -> Tensor:
            return x if limits is None else x * valid_cells(x, limits, self.strides[level])

        above, levels = None, []
        for i in reversed(range(len(trunk))):
            lateral = self.inner_blocks[i][0]
            inner = conv1x1(trunk[i], lateral.weight, lateral.bias)
            if above is not None:
                inner = inner + F.interpolate(above, size=inner.shape[-2:], mode="nearest")
            above = held(inner, i)
            levels.insert(0, held(self.layer_blocks[i](above), i))
        top = len(levels)
        if self.extra == "max_pool":  # every second cell
            levels.append(F.max_pool2d(levels[-1], 1, 2))
        elif self.extra != "none":
            source = held(trunk[-1], top - 1) if self.extra == "conv_from_c5" else levels[-1]
            levels.append(held(self.extra_blocks.p6(source), top))
            levels.append(held(self.extra_blocks.p7(F.relu(levels[-1])), top + 1))
        return levels


class Anchors(AnchorGenerator):
    """torchvision's anchors without rounding if wanted, on fixed strides.

    torchvision divides the image size by the grid size, which is not the stride on the coarse levels of odd grids.
    """

    def __init__(self, params: AnchorParams, strides: Sequence[int]):
        if len(params.sizes_px) != len(strides):
            raise ParamsError(
                f"`anchors.sizes_px` has {len(params.sizes_px)} levels; the pyramid has {len(strides)} "
                f"(strides {', '.join(map(str, strides))}): give one list of sizes for each"
            )
        if len({len(sizes) for sizes in params.sizes_px}) != 1:
            raise ParamsError("`anchors.sizes_px`: give the same number of sizes for every level; the head is shared")
        self.rounded = params.rounded  # before the constructor, which calls generate_anchors
        self.center_offset = params.center_offset
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
        """For each level (height * width * A, 4) float32, row-major over (y, x, anchor).

        Centers are at (x + center_offset, y + center_offset) * stride.
        """
        device = features[0].device
        self.set_cell_anchors(torch.float32, device)
        grids = [list(f.shape[-2:]) for f in features]
        steps = [[torch.tensor(s, device=device)] * 2 for s in self.strides]
        levels = self.grid_anchors(grids, steps)
        if self.center_offset:
            levels = [a + self.center_offset * stride for a, stride in zip(levels, self.strides, strict=True)]
        return levels
