import pytest
import torch
from safetensors.torch import save_file
from torch import nn
from torch.nn import functional as F

from scantling.detectors import weights
from scantling.detectors.efficientnet_lite import EXPECTED, NORM_EPSILON, STAGES, EfficientNetLite0, _packaged
from scantling.stage import BadInput


@pytest.fixture(scope="module")
def trunk():
    made = EfficientNetLite0(frozen_blocks=3, train_affine=False)
    made.load("package")
    return made


def plain(published, x):
    """The same network written out with ordinary layers and the published names."""

    def layer(x, conv, norm, kernel, stride, groups, active):
        size = x.shape[-1]
        pad = max((-(-size // stride) - 1) * stride + kernel - size, 0)
        x = F.pad(x, (pad // 2, pad - pad // 2) * 2)
        x = F.conv2d(x, published[f"{conv}.weight"], stride=stride, groups=groups)
        batch_norm = nn.BatchNorm2d(x.shape[1], eps=NORM_EPSILON).eval()
        batch_norm.load_state_dict({k: published[f"{norm}.{k}"] for k in batch_norm.state_dict()})
        return batch_norm(x).clamp(0, 6) if active else batch_norm(x)

    x, n, found = layer(x, "_conv_stem", "_bn0", 3, 2, 1, True), 0, []
    for expansion, kernel, first_stride, outputs, repeats in STAGES:
        for i in range(repeats):
            name, y, stride = f"_blocks.{n}", x, first_stride if i == 0 else 1
            if expansion > 1:
                y = layer(y, f"{name}._expand_conv", f"{name}._bn0", 1, 1, 1, True)
            y = layer(y, f"{name}._depthwise_conv", f"{name}._bn1", kernel, stride, y.shape[1], True)
            y = layer(y, f"{name}._project_conv", f"{name}._bn2", 1, 1, 1, False)
            x = x + y if stride == 1 and x.shape[1] == outputs else y
            found += [x] if n in (4, 10, 15) else []
            n += 1
    return found


@torch.no_grad()
def test_features_are_those_of_the_published_network(trunk):
    x = torch.randn(1, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    expected = plain(weights.read(_packaged(), EXPECTED), x)
    for ours, theirs, channels, stride in zip(
        trunk(x, [(64, 64)]), expected, trunk.channels, trunk.strides, strict=True
    ):
        assert ours.shape == (1, channels, 64 // stride, 64 // stride)
        torch.testing.assert_close(ours, theirs, rtol=1e-3, atol=1e-4 * theirs.abs().max().item())


@torch.no_grad()
def test_features_do_not_depend_on_padding(trunk):
    x = torch.randn(1, 3, 64, 96, generator=torch.Generator().manual_seed(0))
    alone = trunk(x, [(64, 96)])
    padded = trunk(F.pad(x, (0, 32, 0, 64)), [(64, 96)])
    for a, b in zip(alone, padded, strict=True):
        h, w = a.shape[-2:]
        torch.testing.assert_close(a, b[..., :h, :w], rtol=1e-3, atol=1e-4)
        assert b[..., h:, :].abs().sum() == 0


def test_stem_and_first_blocks_never_learn_and_norms_only_on_request():
    trunk = EfficientNetLite0(frozen_blocks=2, train_affine=True)
    learned = {name for name, p in trunk.named_parameters() if p.requires_grad}
    assert not any(name.startswith(("stem.", "blocks.0.", "blocks.1.")) for name in learned)
    assert {"blocks.2.expand.weight", "blocks.2.expand.scale", "blocks.15.project.shift"} <= learned
    fixed = EfficientNetLite0(frozen_blocks=0, train_affine=False)
    assert all(p.requires_grad and name.endswith("weight") for name, p in fixed.named_parameters())


def test_a_safetensors_copy_of_the_weights_serves_as_well(trunk, tmp_path):
    published = {k: v.contiguous() for k, v in weights.read(_packaged(), EXPECTED).items()}
    save_file(published, tmp_path / "lite0.safetensors")
    again = EfficientNetLite0(frozen_blocks=3, train_affine=False)
    again.load(str(tmp_path / "lite0.safetensors"))
    assert all(torch.equal(a, b) for a, b in zip(again.state_dict().values(), trunk.state_dict().values(), strict=True))


def test_weights_of_another_network_are_refused_in_a_sentence(tmp_path):
    save_file({"layer1.0.conv1.weight": torch.zeros(64, 64, 3, 3)}, tmp_path / "other.safetensors")
    with pytest.raises(BadInput, match=r"other.safetensors: weights of another architecture .*EfficientNet-Lite0"):
        EfficientNetLite0(frozen_blocks=0, train_affine=False).load(str(tmp_path / "other.safetensors"))


def test_no_weights_is_said_in_the_log(capsys):
    EfficientNetLite0(frozen_blocks=0, train_affine=False).load(None)
    assert "RANDOM" in capsys.readouterr().out
