"""What every detector's parameter file holds: input size, backbone, neck. Each architecture adds its own sections."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import Field, PositiveFloat
from torchvision.models.detection._utils import BoxCoder

from scantling.augment.settings import View
from scantling.params import Params, ParamsError, check, read

MOST_PX = 20_000  # of a side: weights carry these numbers, and a picture is made as large as they say
Side = Annotated[int, Field(ge=1, le=MOST_PX)]


class InputParams(Params):
    """Size of the view that is tested and labeled: the short side becomes short_px unless the long one would exceed.

    Or all images become exactly as large, their ratio of sides not kept.
    """

    short_px: int = Field(ge=32, le=MOST_PX)
    long_px: int = Field(ge=32, le=MOST_PX)
    exact_px: tuple[Side, Side] | None = None  # height and width, in place of the sides above
    antialias: bool = True  # shrink as Pillow does; false: plain bilinear (Soft Teacher). As the training's views
    pad_multiple_px: int = Field(32, ge=1, le=1024)  # a batch is padded to a multiple of this

    def view(self) -> View:
        """The view that is tested and labeled: resized, and nothing random."""
        if self.exact_px is not None:
            return View(exact_px=self.exact_px, antialias=self.antialias)
        return View(short_px=(self.short_px, self.short_px), long_px=self.long_px, antialias=self.antialias)


class EfficientNetLiteParams(Params):
    """EfficientNet-Lite0, features at strides 8, 16, 32."""

    name: Literal["efficientnet_lite0"]
    weights: str | None  # "package" = the installed package, else a .pth or .safetensors file, null = random
    frozen_blocks: int = Field(ge=0, le=16)  # the stem and this many of the 16 blocks never change
    train_affine: bool  # scale and shift of batch norm are learned; its statistics never are


class PixelParams(Params):
    """What a trunk is given: (pixel - mean) / std per channel, of pixels 0..255."""

    order: Literal["rgb", "bgr"] = "rgb"  # in which order the weights want the channels, and mean and std are given
    mean: tuple[float, float, float] = (123.675, 116.28, 103.53)
    std: tuple[PositiveFloat, PositiveFloat, PositiveFloat] = (58.395, 57.12, 57.375)


class ResNetParams(Params):
    """torchvision's ResNet. The defaults are its own form; the caffe form needs its own values (docs/weights.md)."""

    name: Literal["resnet18", "resnet50", "resnet101", "resnext101_32x8d"]
    weights: str | None  # .pth, .safetensors (torchvision's names) or .pkl (Detectron) file, null = random
    frozen_stages: int = Field(ge=0, le=5)  # 1 = stem, 2 = stem and first stage, ...; nothing is frozen if random
    finest_stride_px: Literal[4, 8]  # stride of the finest feature map given to the neck
    # Batch norm outside of what is frozen. frozen: all four tensors fixed. affine: scale and shift are learned.
    # trained: the statistics follow the batches, too.
    norm: Literal["frozen", "affine", "trained"] = "frozen"
    stride_in_1x1: bool = False  # a bottleneck's stride is in its first 1x1 convolution, not in the 3x3 one
    pixels: PixelParams = PixelParams()


class TimmParams(Params):
    """A network of the optional package timm, as far as it has feature maps at strides (4,) 8, 16, 32."""

    name: Literal["timm"]
    model: str  # timm's name, e.g. resnet34 or convnext_tiny; it says which pixels it wants
    weights: str | None  # .pth or .safetensors file in timm's naming, null = random; nothing is downloaded
    frozen_stages: int = Field(ge=0)  # that many of the network's feature maps, finest first; none if random
    finest_stride_px: Literal[4, 8]
    norm: Literal["frozen", "trained"]  # batch norm, if the network has any


class NeckParams(Params):
    """Feature pyramid."""

    channels: int = Field(ge=1)
    # coarser levels on top: none, one by subsampling, two by convolution from the trunk's or the pyramid's last level
    extra_levels: Literal["none", "max_pool", "conv_from_c5", "conv_from_p5"]


class DetectParams(Params):
    """What detect() does unless its caller says otherwise."""

    score_threshold: float = Field(ge=0, le=1)  # strict
    nms_iou: float = Field(gt=0, le=1)
    class_wise_nms: bool  # boxes of different classes do not suppress each other
    limit: int = Field(ge=1)  # boxes per image


class DetectorParams(Params):
    """Common part of the detectors' parameters; `load` and `of` give the architecture's own type."""

    architecture: str
    input: InputParams
    backbone: Annotated[EfficientNetLiteParams | ResNetParams | TimmParams, Field(discriminator="name")]
    neck: NeckParams
    detect: DetectParams

    @classmethod
    def load(cls, spec: str | Path) -> Self:
        """Read and check a parameter file of any architecture."""
        return cls.of(read(spec), spec)

    @classmethod
    def of(cls, content: dict[str, Any], source: str | Path) -> Self:
        """Check plain values (of a file, or of the header of a weights file named `source`)."""
        from scantling.detectors import ARCHITECTURES  # the architectures import this module

        kinds = {name: kind for name, (kind, _) in ARCHITECTURES.items() if issubclass(kind, cls)}
        name = content.get("architecture")
        if name is None:
            raise ParamsError(f"{source}: has no key `architecture`: write one, of {', '.join(kinds)}")
        if name not in kinds:
            raise ParamsError(f"{source}: `architecture` = {name!r}: use one of {', '.join(kinds)}")
        return check(kinds[name], content, source)


class AnchorParams(Params):
    """Boxes that predictions start from: every size with every ratio at every cell of a level."""

    sizes_px: list[list[float]]  # per level, finest first: square root of the area
    ratios: list[float]  # height / width
    rounded: bool  # corners rounded to whole pixels, as torchvision does
    center_offset: float = Field(ge=0, lt=1)  # place of a cell's center, in strides from its upper left corner


class CoderParams(Params):
    """How a box is written relative to the one it starts from: shift over side, log of the sides (Girshick 2014)."""

    weights: tuple[float, float, float, float]  # of x, y, w, h: 1 / standard deviations
    max_growth: float = Field(gt=1)  # a predicted side is at most this times the side it starts from

    def make(self) -> BoxCoder:
        return BoxCoder(self.weights, math.log(self.max_growth))
