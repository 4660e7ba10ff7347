"""Small detectors with random weights."""

from __future__ import annotations

from pathlib import Path

import torch

from scantling.detectors import DetectorParams, build

PARAMS = Path(__file__).parents[2] / "params" / "detectors"
GOLDEN = Path(__file__).parents[1] / "golden"
CLASSES = ("ring", "disk", "dot")
SIZES = [(96, 128), (96, 128)]  # of the fixture `images`


def changed(name, **sections):
    """Parameters of a file in params/detectors with other values, given by section."""
    params = DetectorParams.load(PARAMS / f"{name}.yaml")
    content = params.resolved()
    for section, values in sections.items():
        content[section] = {**content[section], **values} if isinstance(values, dict) else values
    return DetectorParams.of(content, name)


def small(name, classes=CLASSES, **sections):
    """A detector of reproducible random weights whose heads give varied scores, without ImageNet weights."""
    torch.manual_seed(3)
    params = changed(name, **{"neck": {"channels": 16}, **sections})
    detector = build(params, classes, pretrained=False)
    with torch.no_grad():  # the usual start is almost constant, which would hide mistakes
        if params.architecture == "faster_rcnn":
            detector.roi.class_logits.weight.normal_(std=0.3)
            detector.roi.box_deltas.weight.normal_(std=0.3)
        else:
            for head, last in ((detector.class_head, "cls_logits"), (detector.box_head, "bbox_reg")):
                for layer in (m for m in head.modules() if isinstance(m, torch.nn.Conv2d)):
                    torch.nn.init.kaiming_normal_(layer.weight)
                getattr(head, last).weight.mul_(0.3)
    return detector


def small_of(architecture, **sections):
    """A small detector of an architecture, three classes."""
    return (
        small("faster_rcnn_lite", roi={"width": 32}, **sections)
        if architecture == "faster_rcnn"
        else small("retinanet_lite", **sections)
    )
