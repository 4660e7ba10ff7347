import copy

import pytest
import torch
import torchvision
from safetensors.torch import save_file
from torch import nn

from scantling import ema
from scantling.detectors.fixed_norm import FixedNorm
from scantling.detectors.resnet import FILES, KINDS, ResNet
from scantling.detectors.settings import PixelParams, ResNetParams
from scantling.stage import BadInput

BGR = PixelParams(order="bgr", mean=(103.53, 116.28, 123.675), std=(1.0, 1.0, 1.0))


def trunk(name="resnet18", **values):
    settings = {"weights": None, "frozen_stages": 0, "finest_stride_px": 4} | values
    return ResNet(ResNetParams(name=name, **settings))


def varied(network):
    """`network` with statistics and scales as if it had been trained."""
    with torch.no_grad():
        for norm in (m for m in network.modules() if isinstance(m, nn.BatchNorm2d)):
            norm.weight.uniform_(0.3, 0.7)
            norm.bias.normal_(std=0.1)
            norm.running_mean.normal_(std=0.1)
            norm.running_var.uniform_(0.5, 1.5)
    return network.eval()


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    torch.manual_seed(0)
    network = varied(torchvision.models.resnet18(weights=None))
    path = tmp_path_factory.mktemp("weights") / "resnet18.pth"
    torch.save(network.state_dict(), path)
    return network, path


def features(network, x):
    """Those of torchvision's own forward pass."""
    x, found = network.maxpool(network.relu(network.bn1(network.conv1(x)))), []
    for stage in (network.layer1, network.layer2, network.layer3, network.layer4):
        x = stage(x)
        found.append(x)
    return found


def assert_same(ours, theirs):
    for a, b in zip(ours, theirs, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-5 * b.abs().max().item())


@pytest.mark.parametrize("norm", ["frozen", "affine", "trained"])
@torch.no_grad()
def test_a_torchvision_checkpoint_gives_torchvisions_features(checkpoint, norm):
    network, path = checkpoint
    made = trunk(norm=norm, weights=str(path))
    made.load(str(path))
    x = torch.randn(1, 3, 64, 64)
    found = made.eval()(x, [(64, 64)])
    assert [tuple(f.shape) for f in found] == [(1, 64 * 2**i, 16 // 2**i, 16 // 2**i) for i in range(4)]
    assert_same(found, features(network, x))


@pytest.mark.parametrize("name", ["resnet50", "resnet101", "resnext101_32x8d"])
@torch.no_grad()
def test_deeper_networks_give_torchvisions_features(name, tmp_path):
    torch.manual_seed(1)
    whole = varied(KINDS[name](weights=None))
    save_file(whole.state_dict(), tmp_path / "w.safetensors")
    made = trunk(name, finest_stride_px=8)
    made.load(str(tmp_path / "w.safetensors"))
    x = torch.randn(1, 3, 32, 64)
    found = made(x, [(32, 64)])
    assert made.channels == (512, 1024, 2048) == tuple(f.shape[1] for f in found)
    assert made.strides == (8, 16, 32)
    assert_same(found, features(whole, x)[1:])


def test_a_checkpoint_of_another_depth_is_refused(checkpoint):
    with pytest.raises(BadInput, match=r"resnet18.pth: weights of another architecture .*weights of resnet50 \("):
        trunk("resnet50").load(str(checkpoint[1]))
    deeper = {f"layer3.{i}.conv1.weight": torch.zeros(1) for i in range(6, 23)}  # what resnet101 has more
    save = {**trunk("resnet50").state_dict(), **deeper}
    torch.save(save, checkpoint[1].with_name("resnet101.pth"))
    with pytest.raises(BadInput, match="resnet101.pth: .* a tensor `layer3.6.conv1.weight` that does not belong there"):
        trunk("resnet50").load(str(checkpoint[1].with_name("resnet101.pth")))


def test_a_missing_file_says_what_belongs_there_and_where_it_is_told():
    for name, (torchvision_files, detectron_file) in FILES.items():
        with pytest.raises(BadInput) as caught:
            trunk(name).load("nowhere.pth")
        text = str(caught.value)
        assert "nowhere.pth: there is no such weights file" in text and "docs/weights.md" in text
        assert torchvision_files in text and (detectron_file is None or detectron_file in text)


def test_the_named_files_are_those_that_torchvision_publishes():
    for name, (files, _) in FILES.items():
        published = torchvision.models.get_model_weights(name)
        assert set(files.split(" or ")) == {w.url.rsplit("/", 1)[1] for w in published}


PARTS = ["conv1", "layer1", "layer2", "layer3", "layer4"]


@pytest.mark.parametrize("frozen", range(6))
@pytest.mark.parametrize("norm", ["frozen", "affine", "trained"])
def test_stages_freeze_from_the_stem_on(frozen, norm):
    made = trunk(frozen_stages=frozen, norm=norm, weights="w.pth").train()
    before = copy.deepcopy(made.state_dict())
    sum(f.square().mean() for f in made(torch.randn(2, 3, 64, 64), [(64, 64)] * 2)).backward() if frozen < 5 else None
    learned = {name.split(".")[0] for name, p in made.named_parameters() if p.grad is not None and p.requires_grad}
    assert learned - {"bn1"} == set(PARTS[frozen:])
    assert ("bn1" in learned) == (norm != "frozen" and frozen == 0)
    # Statistics move with the batches only if the norms are trained, and never in what is frozen.
    moved = {k.split(".")[0].replace("bn1", "conv1") for k, v in made.state_dict().items() if not v.equal(before[k])}
    assert moved == (set(PARTS[frozen:]) if norm == "trained" and frozen < 5 else set())


def test_nothing_is_frozen_in_a_random_start():
    made = trunk(frozen_stages=5)
    assert all(p.requires_grad for p in made.parameters())


def test_norms_that_are_frozen_have_buffers_only():
    made = trunk(norm="frozen")
    norms = [m for m in made.modules() if isinstance(m, FixedNorm)]
    assert len(norms) == 20 and not any(list(m.parameters()) for m in norms)
    assert not any(isinstance(m, nn.BatchNorm2d) for m in made.modules())
    assert {name for name, _ in norms[0].named_buffers()} == {"weight", "bias", "running_mean", "running_var"}


@pytest.mark.parametrize("buffers", ["copy", "keep", "average"])
def test_a_moving_average_leaves_fixed_statistics_as_they_are(checkpoint, buffers):
    student = trunk(norm="affine", weights="w")
    student.load(str(checkpoint[1]))
    teacher = copy.deepcopy(student)
    with torch.no_grad():
        for p in student.parameters():
            p.add_(1.0)
    ema.update(teacher, student, 0.75, buffers)
    for a, b in zip(teacher.buffers(), student.buffers(), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-6, atol=0)
    torch.testing.assert_close(teacher.bn1.weight, student.bn1.weight - 0.75)


def test_statistics_that_are_trained_are_the_students_in_the_average(checkpoint):
    student = trunk(norm="trained", weights="w").train()
    student.load(str(checkpoint[1]))
    teacher = copy.deepcopy(student)
    student(torch.randn(2, 3, 64, 64), [(64, 64)] * 2)
    ema.update(teacher, student, 0.999)  # as training does it
    assert torch.equal(teacher.bn1.running_mean, student.bn1.running_mean)
    assert not torch.equal(teacher.bn1.running_mean, checkpoint[0].bn1.running_mean)


def test_the_stride_can_be_in_the_first_convolution():
    for stride_in_1x1 in (False, True):
        made = trunk("resnet50", stride_in_1x1=stride_in_1x1)
        first = [(stage[0].conv1.stride[0], stage[0].conv2.stride[0]) for stage in made.stages]
        assert first == [(1, 1)] + [(2, 1) if stride_in_1x1 else (1, 2)] * 3
    plain = trunk("resnet18", stride_in_1x1=True)  # has no 1x1 convolution
    assert plain.layer2[0].conv1.stride == (2, 2) and plain.layer2[0].conv2.stride == (1, 1)


@torch.no_grad()
def test_weights_for_bgr_see_the_same_colors(checkpoint):
    network, path = checkpoint
    made = trunk(pixels=BGR, weights=str(path))
    made.load(str(path))
    assert made.mean == (123.675, 116.28, 103.53)  # of RGB
    rgb = torch.randn(1, 3, 64, 64)
    assert_same(made(rgb, [(64, 64)]), features(network, rgb.flip(1)))


def test_a_random_start_is_said_and_keeps_its_activations_in_bounds(capsys):
    torch.manual_seed(0)
    made = trunk("resnet50", finest_stride_px=8)
    made.load(None)
    assert "resnet50 starts from RANDOM weights" in capsys.readouterr().out
    with torch.no_grad():
        spreads = [f.std().item() for f in made(torch.randn(1, 3, 64, 64), [(64, 64)])]
    assert all(0.05 < s < 20 for s in spreads)


@pytest.mark.parametrize(("name", "stride_in_1x1"), [("resnet18", False), ("resnet50", False), ("resnet50", True)])
@torch.no_grad()
def test_the_features_of_an_image_do_not_depend_on_its_batch(name, stride_in_1x1):
    torch.manual_seed(0)
    network = trunk(name, stride_in_1x1=stride_in_1x1)
    for part in network.modules():  # shifts, as trained ones have, are what padding lets in
        if hasattr(part, "running_mean"):
            part.bias.normal_(std=0.5)
    image = torch.randn(1, 3, 64, 96)
    image[:, :, 50:] = 0
    wide = torch.zeros(2, 3, 128, 160)
    wide[:1, :, :64, :96] = image
    together, alone = network(wide, [(50, 96), (128, 160)]), network(image, [(50, 96)])
    own = [f[:1, :, : 64 // stride, : 96 // stride] for f, stride in zip(together, network.strides, strict=True)]
    assert_same(own, alone)
