import pickle
from pathlib import Path

import numpy as np
import pytest
import torch

from scantling.detectors import DetectorParams, build, detectron_names, weights
from scantling.detectors.fixed_norm import FixedNorm
from scantling.detectors.resnet import FILES, ResNet
from scantling.detectors.settings import PixelParams, ResNetParams
from scantling.stage import BadInput
from tests.detectors.caffe import forward, python2_pickle, random_blobs
from tests.detectors.small import CLASSES, PARAMS, changed

MEAN, STD = (103.53, 116.28, 123.675), (57.375, 57.12, 58.395)
MSRA = {"pixels": {"order": "bgr", "mean": MEAN, "std": (1.0, 1.0, 1.0)}, "stride_in_1x1": True}
RESNEXT = {"pixels": {"order": "bgr", "mean": MEAN, "std": STD}, "stride_in_1x1": False}


def trunk(name="resnet50", **values):
    settings = {"weights": "w.pkl", "frozen_stages": 2, "finest_stride_px": 4, **MSRA} | values
    return ResNet(ResNetParams(name=name, **settings))


@pytest.fixture(scope="module")
def msra(tmp_path_factory):
    """Blobs of Detectron's R-50.pkl, and the file."""
    blobs = random_blobs("resnet50", norm="affine")
    blobs["conv1_w"] /= 58  # as if trained on pixels with std 1
    path = tmp_path_factory.mktemp("msra") / "R-50.pkl"
    path.write_bytes(python2_pickle(blobs))
    return blobs, path


def assert_same(ours, theirs):
    for a, b in zip(ours, theirs, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-5, atol=1e-5 * b.abs().max().item())


@pytest.mark.parametrize("detector", ["faster_rcnn_r50_caffe", "retinanet_r50_caffe", "fcos_r50_caffe"])
@torch.no_grad()
def test_msra_weights_give_the_features_of_the_caffe_network(msra, detector):
    blobs, path = msra
    backbone = {**changed(detector).resolved()["backbone"], "weights": str(path)}
    made = build(changed(detector, backbone=backbone), CLASSES, pretrained=True)
    seen = []
    made.backbone.register_forward_hook(lambda module, arguments, output: seen.extend(output))
    # No padding: the papers' code lets the norms' shifts in from there, ours does not.
    images = torch.randint(0, 256, (1, 3, 64, 96), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    made.features(images, [(64, 96)])
    expected = forward(blobs, images.flip(1).float() - torch.tensor(MEAN).reshape(3, 1, 1))
    assert_same(seen, expected[-len(seen) :])


@torch.no_grad()
def test_the_files_of_detectron2s_zoo_have_whole_norms(tmp_path):
    blobs = random_blobs("resnet50", norm="gamma", seed=1)
    (tmp_path / "R-50.pkl").write_bytes(pickle.dumps(blobs, protocol=2))
    made = trunk()
    made.load(str(tmp_path / "R-50.pkl"))
    x = torch.randn(1, 3, 64, 64)  # RGB, normalized
    assert_same(made(x, [(64, 64)]), forward(blobs, x.flip(1)))


@torch.no_grad()
def test_the_resnext_has_its_own_stride_and_groups(monkeypatch):
    blobs = random_blobs("resnext101_32x8d", norm="rm", seed=2)
    monkeypatch.setattr(weights, "read_pickle", lambda path, expected: {"blobs": blobs, "lr": 0.1})
    made = trunk("resnext101_32x8d", **RESNEXT)
    made.load("X-101-32x8d.pkl")
    x = torch.randn(1, 3, 32, 64)
    assert_same(made(x, [(32, 64)]), forward(blobs, x.flip(1), "resnext101_32x8d"))


def test_a_folded_norm_is_exactly_its_scale_and_shift(msra):
    blobs, path = msra
    made = trunk()
    made.load(str(path))
    scale, shift = made.layer3[5].bn2.scale_and_shift()
    assert torch.equal(scale, torch.from_numpy(blobs["res4_5_branch2b_bn_s"]))
    assert torch.equal(shift, torch.from_numpy(blobs["res4_5_branch2b_bn_b"]))


def test_names_as_detectron2_writes_them_are_read_too(monkeypatch):
    torch.manual_seed(0)
    network = trunk(stride_in_1x1=False, pixels=PixelParams())
    state = {}
    for name, tensor in network.state_dict().items():
        stage, _, rest = name.partition(".")
        if stage in ("conv1", "bn1"):
            new = f"stem.conv1.{'norm.' if stage == 'bn1' else ''}{rest}"
        else:
            block, layer, *_, last = rest.split(".")
            norm = "norm." if layer.startswith("bn") or ".1." in rest.removeprefix(block) else ""
            layer = {"downsample": "shortcut"}.get(layer, layer.replace("bn", "conv"))
            new = f"res{int(stage[-1]) + 1}.{block}.{layer}.{norm}{last}"
        state[new] = tensor.numpy()
    state |= {"stem.fc.weight": np.zeros((3, 2048), "f4"), "stem.fc.bias": np.zeros(3, "f4")}
    content = {"model": state, "__author__": "torchvision", "matching_heuristics": True}
    monkeypatch.setattr(weights, "read_pickle", lambda path, expected: content)
    again = trunk(stride_in_1x1=False, pixels=PixelParams())
    again.load("R-50.pkl")
    assert all(torch.equal(v, again.state_dict()[k]) for k, v in network.state_dict().items())


@pytest.mark.parametrize(
    ("name", "norm", "values", "message"),
    [
        ("resnet50", "affine", {"stride_in_1x1": False}, "`backbone.stride_in_1x1` to true .is false."),
        (
            "resnet50",
            "gamma",
            {"pixels": {}},
            r"`backbone.pixels.order` to bgr .is rgb., .*pixels.std` to .1.0, 1.0, 1",
        ),
        ("resnext101_32x8d", "rm", {}, r"`backbone.pixels.std` to .57.375, 57.12, 58.395. .*stride_in_1x1` to false"),
        ("resnext101_32x8d", "affine", RESNEXT, r"`backbone.pixels.std` to .1.0, 1.0, 1.0. .is .57.375"),
    ],
)
def test_an_input_that_the_weights_were_not_trained_with_is_refused(name, norm, values, message, monkeypatch):
    few = {"conv1_w": np.zeros((64, 3, 7, 7), "f4"), "res_conv1_bn_rm": np.zeros(64, "f4")}
    if norm == "gamma":
        few["res_conv1_bn_running_mean"] = few.pop("res_conv1_bn_rm")
    elif norm == "affine":
        few["res_conv1_bn_s"] = few.pop("res_conv1_bn_rm")
    monkeypatch.setattr(weights, "read_pickle", lambda path, expected: few)
    with pytest.raises(BadInput, match=f"w.pkl: these weights were trained with another input; set .*{message}"):
        trunk(name, **values).load("w.pkl")


CAFFE_FILES = [f for f in sorted(PARAMS.glob("*.yaml")) if ".pkl" in str(DetectorParams.load(f).backbone.weights)]


@pytest.mark.parametrize("file", CAFFE_FILES, ids=lambda f: f.stem)
def test_committed_parameters_fit_the_file_that_they_name(file, monkeypatch):
    params = DetectorParams.load(file)
    path, made = params.backbone.weights, ResNet(params.backbone)
    assert Path(path).name in FILES[params.backbone.name][1]
    with pytest.raises(BadInput, match=r"data/weights/.*.pkl: there is no such weights file; .*docs/weights.md"):
        made.load(path)
    few = {"conv1_w": np.zeros((64, 3, 7, 7), "f4"), "res_conv1_bn_rm": np.zeros(64, "f4")}
    monkeypatch.setattr(weights, "read_pickle", lambda path, expected: few)
    with pytest.raises(BadInput, match="weights of another architecture"):  # and not of another input
        made.load(path)


def test_there_are_parameters_for_caffe_weights():
    assert {f.stem for f in CAFFE_FILES} >= {"faster_rcnn_sparsedet", "fcos_r50_caffe", "faster_rcnn_x101"}


def test_files_that_do_not_fit_name_what_is_wrong(msra, monkeypatch):
    blobs, _ = msra

    def load(found, **values):
        monkeypatch.setattr(weights, "read_pickle", lambda path, expected: found)
        trunk(**values).load("R.pkl")

    with pytest.raises(BadInput, match="R.pkl: .*has no tensor `layer3.6.conv1.weight`.*R-101.pkl"):
        load(blobs, name="resnet101")
    with pytest.raises(BadInput, match="has a tensor `layer3.6.conv1.weight` that does not belong there.*R-50.pkl"):
        load({**blobs, "res4_6_branch2a_w": np.zeros(1, "f4")})
    with pytest.raises(BadInput, match="has a tensor `fpn_inner_res2_2_sum_lateral_w` that does not belong"):
        load({"blobs": {**blobs, "fpn_inner_res2_2_sum_lateral_w": np.zeros(1, "f4")}})
    with pytest.raises(BadInput, match="has no tensor `layer2.0.conv2.weight`"):
        load({k: v for k, v in blobs.items() if k != "res3_0_branch2b_w"})
    with pytest.raises(BadInput, match="`layer1.0.conv1.weight` has shape .64, 65, 1, 1. instead of .64, 64, 1, 1."):
        load({**blobs, "res2_0_branch2a_w": np.zeros((64, 65, 1, 1), "f4")})
    with pytest.raises(BadInput, match="damaged, `bn1.bias` has values that are not finite"):
        load({**blobs, "res_conv1_bn_b": np.full(64, np.nan, "f4")})
    with pytest.raises(BadInput, match="has no tensor `conv1.weight`"):
        load({"a": 1})


def test_solver_state_and_the_unused_bias_are_left_out(msra):
    blobs, _ = msra
    more = {**blobs, "conv1_w_momentum": np.zeros(1, "f4"), "weight_order": ["conv1_w"]}
    found = detectron_names.to_torchvision(detectron_names.arrays({"blobs": more}), FixedNorm.epsilon)
    fixed = set(trunk().state_dict())
    assert set(found) == fixed | {"fc.weight", "fc.bias"}
