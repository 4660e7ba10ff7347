import json

import pytest
import torch
import yaml

from scantling.detectors import ARCHITECTURES, DetectorParams, build
from scantling.detectors.faster_rcnn import FasterRcnnParams
from scantling.detectors.protocol import Detector
from scantling.detectors.retinanet import RetinaNetParams
from scantling.params import ParamsError
from scantling.stage import BadInput
from tests.detectors.small import CLASSES, PARAMS, changed


@pytest.mark.parametrize("path", sorted(PARAMS.glob("*.yaml")), ids=lambda p: p.stem)
def test_every_file_builds_the_detector_it_names(path):
    params = DetectorParams.load(path)
    with torch.device("meta"):  # shapes without values
        detector = build(params, CLASSES, pretrained=False)
    assert isinstance(detector, Detector) and detector.classes == CLASSES
    assert isinstance(detector, ARCHITECTURES[params.architecture][1])
    parts = {name.split(".")[0] for name, _ in detector.named_parameters()}
    assert {"backbone", "neck"} < parts


@pytest.mark.parametrize("path", sorted(PARAMS.glob("*.yaml")), ids=lambda p: p.stem)
def test_every_value_of_a_file_is_written_out_and_commented(path):
    written, params = yaml.safe_load(path.read_text()), DetectorParams.load(path).resolved()
    assert written.keys() == params.keys()
    for section, values in params.items():
        if isinstance(values, dict) and section != "backbone":  # its defaults are torchvision's own form
            assert written[section].keys() == values.keys(), section
    values = [line for line in path.read_text().splitlines() if line.startswith("  ") and not line.endswith(":")]
    assert [line for line in values if "#" not in line and not line.startswith("    ")] == []


def test_parameters_survive_a_json_header():
    params = DetectorParams.load(PARAMS / "retinanet_lite.yaml")
    assert isinstance(params, RetinaNetParams)
    again = DetectorParams.of(json.loads(json.dumps(params.resolved())), "weights.safetensors")
    assert again == params
    assert isinstance(changed("faster_rcnn_lite"), FasterRcnnParams)


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("architecture: yolo", "`architecture` = 'yolo': use one of faster_rcnn, retinanet, fcos"),
        ("architecture: faster_rcnn\nhead: {}", "unknown parameter `head`"),
        ("architecture: faster_rcnn\nbackbone: {name: resnet34}", "`backbone`"),
        (
            "architecture: faster_rcnn\nbackbone: {name: resnet18, weight: null}",
            "unknown parameter `backbone.resnet18.weight`; did you mean `weights`",
        ),
    ],
)
def test_files_that_cannot_be_used_are_refused(tmp_path, line, message):
    (tmp_path / "d.yaml").write_text(line)
    with pytest.raises(ParamsError, match=message):
        DetectorParams.load(tmp_path / "d.yaml")


def test_anchors_must_fit_the_pyramid():
    with pytest.raises(ParamsError, match="has 1 levels; the pyramid has 3"):
        build(changed("faster_rcnn_lite", anchors={"sizes_px": [[16]]}), CLASSES, pretrained=False)
    with pytest.raises(ParamsError, match="same number of sizes for every level"):
        build(changed("faster_rcnn_lite", anchors={"sizes_px": [[16], [32], [64, 90]]}), CLASSES, pretrained=False)


def test_pretrained_reads_the_file_and_not_pretrained_does_not():
    params = changed("faster_rcnn_lite", backbone={"weights": "nowhere.pth"})
    build(params, CLASSES, pretrained=False)
    with pytest.raises(BadInput, match="nowhere.pth: there is no such weights file; expected the ImageNet weights"):
        build(params, CLASSES, pretrained=True)


def test_the_same_seed_gives_the_same_detector():
    made = []
    for _ in range(2):
        torch.manual_seed(5)
        made.append(build(changed("faster_rcnn_lite"), CLASSES, pretrained=True).state_dict())
    assert all(torch.equal(made[0][k], made[1][k]) for k in made[0])


def test_weights_of_before_name_the_counts_of_a_labeler_by_their_old_key() -> None:
    params = DetectorParams.load(PARAMS / "faster_rcnn_lite.yaml")
    content = params.resolved()
    content["rpn"]["detect_with"] = content["rpn"].pop("label_with")
    del content["input"]["antialias"], content["roi"]["start"]  # they had none
    assert DetectorParams.of(content, "old.safetensors") == params
