"""Small detectors with random weights."""

from __future__ import annotations

from pathlib import Path

import torch

from scantling.detectors import ARCHITECTURES, DetectorParams, build

PARAMS = Path(__file__).parents[2] / "params" / "detectors"
GOLDEN = Path(__file__).parents[1] / "golden"
FILES = sorted(path.stem for path in PARAMS.glob("*.yaml"))
CLASSES = ("ring", "disk", "dot")
SIZES = [(96, 128), (96, 128)]  # of the fixture `images`
# What makes a paper's detector small enough for a test: section -> values, for the sections and keys that it has.
SHRUNK = {
    "neck": {"channels": 64},
    "head": {"tower_depth": 2, "prior": 0.2},
    "rpn": {"train": {"per_level": 200, "per_image": 100}, "test": {"per_level": 200, "per_image": 100}},
    "roi": {"width": 32, "sampled": 64},
}


def changed(name, **sections):
    """Parameters of a file in params/detectors with other values, given by section."""
    params = DetectorParams.load(PARAMS / f"{name}.yaml")
    content = params.resolved()
    for section, values in sections.items():
        if isinstance(values, dict) and values.keys() <= content[section].keys():
            values = {**content[section], **values}  # else it is another kind of backbone, and complete
        content[section] = values
    return DetectorParams.of(content, name)


SMALL_TRUNK = {**changed("faster_rcnn_lite").resolved()["backbone"], "weights": None}


def shrunk_of(name, **sections):
    """Parameters of a file in params/detectors, small and on the small trunk."""
    has = changed(name).resolved()
    shrunk = {section: dict(values) for section, values in SHRUNK.items() if section in has}
    if has["backbone"].get("finest_stride_px") == 4:  # the small trunk has no such level
        shrunk["anchors"] = {"sizes_px": has["anchors"]["sizes_px"][1:]}
        shrunk["roi"] |= {"level_size_px": 2 * has["roi"]["level_size_px"]}
    if "count_keep" in has.get("head", {}):  # a running count depends on what was seen before: tested alone
        shrunk["head"] = {**shrunk.get("head", {}), "count_keep": None}
    shrunk["backbone"] = SMALL_TRUNK
    for section, values in sections.items():
        shrunk[section] = {**shrunk.get(section, {}), **values} if isinstance(values, dict) else values
    return changed(name, **shrunk)


def small(name, classes=CLASSES, **sections):
    """A detector of reproducible random weights whose heads give varied scores, without ImageNet weights."""
    torch.manual_seed(3)
    detector = build(shrunk_of(name, **sections), classes, pretrained=False)
    with torch.no_grad():  # the usual start is almost constant, which would hide mistakes
        for part, child in detector.named_children():
            for layer in child.modules() if part not in ("backbone", "neck") else ():
                if isinstance(layer, torch.nn.Conv2d | torch.nn.Linear):
                    torch.nn.init.kaiming_normal_(layer.weight).mul_(0.5)
                    if layer.bias is not None and not layer.bias.any():
                        layer.bias.uniform_(0, 1)
    return detector


def file_of(architecture):
    """The parameter file that stands for an architecture in tests: the smallest trunk."""
    return max((f for f in FILES if changed(f).architecture == architecture), key=lambda f: f.endswith("_lite"))


def small_of(architecture, **sections):
    """A small detector of an architecture, three classes."""
    return small(file_of(architecture), **sections)


def same_detections(ours, theirs, background_first=False):
    """Assert that `ours` are `theirs` (dictionaries as torchvision's). The order of almost equal scores is free, and
    only torchvision gives boxes without area."""
    for found, wanted in zip(ours, theirs, strict=True):
        solid = (wanted["boxes"][:, 2:] > wanted["boxes"][:, :2]).all(dim=1)
        wanted = {name: column[solid] for name, column in wanted.items()}
        assert 20 < len(found) == len(wanted["scores"])
        torch.testing.assert_close(found.scores, wanted["scores"], rtol=1e-4, atol=1e-5)
        near = (found.boxes[:, None] - wanted["boxes"]).abs().amax(dim=2) < 0.01
        same = found.labels[:, None] == wanted["labels"] - int(background_first)
        assert (near & same).any(dim=1).all() and (near & same).any(dim=0).all()


# One file for each detector that is left when the trunks are equal.
DISTINCT = sorted({shrunk_of(f).model_dump_json(exclude={"input"}): f for f in reversed(FILES)}.values())
assert {changed(f).architecture for f in FILES} == set(ARCHITECTURES), "every architecture has a parameter file"
