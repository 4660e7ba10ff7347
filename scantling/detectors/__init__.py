"""Detectors behind one contract (protocol.py). A new one is a module with its Params and a line below."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from scantling.detectors.faster_rcnn import FasterRcnn, FasterRcnnParams
from scantling.detectors.fcos import Fcos, FcosParams
from scantling.detectors.pyramid import PyramidDetector
from scantling.detectors.retinanet import RetinaNet, RetinaNetParams
from scantling.detectors.settings import DetectorParams

# name -> its parameters, and what makes it of them and the class names
ARCHITECTURES: dict[str, tuple[type[DetectorParams], Callable[[Any, tuple[str, ...]], PyramidDetector]]] = {
    "faster_rcnn": (FasterRcnnParams, FasterRcnn),
    "retinanet": (RetinaNetParams, RetinaNet),
    "fcos": (FcosParams, Fcos),
}


def build(params: DetectorParams, classes: tuple[str, ...], pretrained: bool) -> PyramidDetector:
    """A detector (fulfils protocol.Detector) for `classes`, its heads random from torch's global generator.

    pretrained=True reads the backbone's weights file (BadInput if it does not fit); False leaves the backbone random,
    for weights loaded afterwards. What is frozen has requires_grad=False in both cases; parameters of the trunk have
    names that begin with `backbone.`.
    """
    _, make = ARCHITECTURES[params.architecture]
    detector = make(params, classes)
    if pretrained:
        detector.load_backbone(params.backbone.weights)
    return detector


__all__ = ["ARCHITECTURES", "DetectorParams", "build"]
