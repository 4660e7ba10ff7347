import pytest
import torch
import torchvision
from torchvision.ops import FrozenBatchNorm2d

from scantling.detectors.resnet import ResNet
from scantling.stage import BadInput


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    torch.manual_seed(0)
    network = torchvision.models.resnet18(weights=None)  # with running statistics, counters and a classifier
    path = tmp_path_factory.mktemp("weights") / "resnet18.pth"
    torch.save(network.state_dict(), path)
    return network.eval(), path


@torch.no_grad()
def test_a_torchvision_checkpoint_gives_torchvisions_features(checkpoint):
    network, path = checkpoint
    trunk = ResNet("resnet18", frozen_stages=0, finest_stride=4)
    trunk.load(str(path))
    x = torch.randn(1, 3, 64, 64)
    features = trunk(x, [(64, 64)])
    assert [tuple(f.shape) for f in features] == [(1, 64 * 2**i, 16 // 2**i, 16 // 2**i) for i in range(4)]
    pooled = torch.flatten(network.avgpool(features[-1]), 1)
    torch.testing.assert_close(network.fc(pooled), network(x), rtol=1e-4, atol=1e-5)


def test_a_checkpoint_of_another_depth_is_refused(checkpoint):
    with pytest.raises(BadInput, match=r"resnet18.pth: weights of another architecture .*checkpoint of resnet50"):
        ResNet("resnet50", frozen_stages=0, finest_stride=8).load(str(checkpoint[1]))


def test_stages_freeze_from_the_stem_on_and_norms_are_never_learned():
    trunk = ResNet("resnet18", frozen_stages=2, finest_stride=8)
    assert trunk.channels == (128, 256, 512) and trunk.strides == (8, 16, 32)
    learned = {name.split(".")[0] for name, p in trunk.named_parameters() if p.requires_grad}
    assert learned == {"layer2", "layer3", "layer4"}
    assert not any(isinstance(m, torch.nn.BatchNorm2d) for m in trunk.modules())
    assert any(isinstance(m, FrozenBatchNorm2d) for m in trunk.modules())


def test_a_random_start_is_said_and_keeps_its_activations_in_bounds(capsys):
    torch.manual_seed(0)
    trunk = ResNet("resnet50", frozen_stages=0, finest_stride=8)
    trunk.load(None)
    assert "resnet50 starts from RANDOM weights" in capsys.readouterr().out
    with torch.no_grad():
        spreads = [f.std().item() for f in trunk(torch.randn(1, 3, 64, 64), [(64, 64)])]
    assert all(0.05 < s < 20 for s in spreads)
