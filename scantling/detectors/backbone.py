"""Which module makes the trunk that the parameters name.

A trunk has `mean` and `std` of RGB pixels 0..255, `channels` and `strides` of its features (finest first), gives them
by `forward(x, sizes)` and reads its weights by `load(source)`.
"""

from __future__ import annotations

from scantling.detectors.efficientnet_lite import EfficientNetLite0
from scantling.detectors.resnet import ResNet
from scantling.detectors.settings import EfficientNetLiteParams, ResNetParams, TimmParams
from scantling.detectors.timm_backbone import TimmBackbone

Trunk = EfficientNetLite0 | ResNet | TimmBackbone


def build_backbone(params: EfficientNetLiteParams | ResNetParams | TimmParams) -> Trunk:
    """The trunk with random weights."""
    match params:
        case EfficientNetLiteParams():
            return EfficientNetLite0(frozen_blocks=params.frozen_blocks, train_affine=params.train_affine)
        case ResNetParams():
            return ResNet(params)
        case TimmParams():
            return TimmBackbone(params)
