import sys

import pytest
import torch
from safetensors.torch import save_file

from scantling.detectors import build
from scantling.detectors.settings import TimmParams
from scantling.detectors.timm_backbone import TimmBackbone
from scantling.params import ParamsError
from scantling.stage import BadInput
from tests.detectors.small import CLASSES, SIZES, changed


def trunk(model="resnet18", **values):
    settings = {"weights": None, "frozen_stages": 0, "finest_stride_px": 8, "norm": "frozen"} | values
    return TimmBackbone(TimmParams(name="timm", model=model, **settings))


def test_without_timm_it_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "timm", None)
    with pytest.raises(BadInput, match=r"the package timm is not installed; install it \(pip install -e ..timm"):
        trunk()


@pytest.fixture(scope="module")
def timm():
    return pytest.importorskip("timm", reason="timm is an optional package")


@pytest.mark.parametrize("model", ["resnet18", "convnext_atto", "efficientnet_lite0", "mobilenetv3_small_050"])
def test_features_have_the_strides_and_every_parameter_is_used(timm, model):
    torch.manual_seed(0)
    made = trunk(model).train()
    found = made(torch.randn(1, 3, 64, 96), [(64, 96)])
    assert [f.shape[2:] for f in found] == [(64 // s, 96 // s) for s in (8, 16, 32)]
    assert made.channels == tuple(f.shape[1] for f in found)
    sum(f.square().sum() for f in found).backward()
    assert not [k for k, p in made.named_parameters() if p.requires_grad and p.grad is None]


@torch.no_grad()
def test_weights_come_from_a_file_in_timms_naming(timm, tmp_path):
    torch.manual_seed(0)
    whole = timm.create_model("efficientnet_lite0", pretrained=False).eval()
    save_file(whole.state_dict(), tmp_path / "w.safetensors")
    made = trunk("efficientnet_lite0").eval()
    made.load(str(tmp_path / "w.safetensors"))
    x = torch.randn(1, 3, 64, 64)
    expected = whole.forward_intermediates(x, indices=[2, 3, 4], intermediates_only=True)
    for ours, theirs in zip(made(x, [(64, 64)]), expected, strict=True):
        torch.testing.assert_close(ours, theirs)
    with pytest.raises(BadInput, match="w.safetensors: weights of another architecture .*timm's weights of resnet18"):
        trunk().load(str(tmp_path / "w.safetensors"))


def test_nothing_is_downloaded(timm, monkeypatch):
    monkeypatch.setattr("socket.socket.connect", lambda *_: pytest.fail("a connection was tried"))
    trunk("resnet18.a1_in1k")
    for name in ("hf-hub:timm/resnet18.a1_in1k", "https://nowhere/resnet18", "local-dir:/tmp"):
        with pytest.raises(ParamsError, match="timm has no such network"):
            trunk(name)


@pytest.mark.parametrize(
    ("model", "message"),
    [
        ("resnet19", "timm has no such network; near: .*resnet1"),
        ("vit_tiny_patch16_224", "name a network with 8, 16, 32"),
        ("swin_tiny_patch4_window7_224", "cannot be given pictures of any size"),
    ],
)
def test_networks_without_a_pyramid_are_refused(timm, model, message):
    with pytest.raises(ParamsError, match=f"`backbone.model` = {model}: .*{message}"):
        trunk(model)


def test_stages_freeze_from_the_finest_on(timm):
    made = trunk("resnet18", weights="w.pth", frozen_stages=2, norm="trained").train()
    fixed = {k.split(".")[1] for k, p in made.named_parameters() if not p.requires_grad}
    assert fixed == {"conv1", "bn1", "layer1"}
    assert not made.network.layer1[0].bn1.training and made.network.layer2[0].bn1.training
    assert all(p.requires_grad for p in trunk("resnet18", frozen_stages=2).network.conv1.parameters())  # random start
    norms = trunk("resnet18", weights="w.pth", norm="frozen").train()._fixed
    assert len(norms) == 20 and not any(m.training or m.weight.requires_grad for m in norms)
    with pytest.raises(ParamsError, match="`backbone.frozen_stages`: resnet18 has only 5 feature maps"):
        trunk("resnet18", weights="w.pth", frozen_stages=6)


def test_a_detector_trains_on_it(timm, images, targets, capsys):
    backbone = {"name": "timm", "model": "convnext_atto", "weights": None, "frozen_stages": 0}
    params = changed("faster_rcnn_lite", neck={"channels": 16}, roi={"width": 32})
    content = {**params.resolved(), "backbone": {**backbone, "finest_stride_px": 8, "norm": "frozen"}}
    torch.manual_seed(0)
    detector = build(type(params).of(content, "x"), CLASSES, pretrained=True)
    assert "convnext_atto starts from RANDOM weights" in capsys.readouterr().out
    losses = detector.losses(detector.features(images, SIZES), targets, SIZES)
    sum(losses.values()).backward()
    assert detector.backbone.network.stem[0].weight.grad.abs().sum() > 0
