"""Neck and anchors against torchvision's."""

from collections import OrderedDict
from types import SimpleNamespace

import pytest
import torch
from torchvision.ops import FeaturePyramidNetwork
from torchvision.ops.feature_pyramid_network import LastLevelMaxPool, LastLevelP6P7

from scantling.detectors.padding import valid_cells
from scantling.detectors.pyramid import Anchors, Neck
from scantling.detectors.settings import AnchorParams, NeckParams
from scantling.params import ParamsError
from tests.detectors.small import small_of

TRUNK = SimpleNamespace(channels=(4, 6, 8), strides=(8, 16, 32))
EXTRA = {
    "none": (None, 3),
    "max_pool": (LastLevelMaxPool(), 4),
    "conv_from_c5": (LastLevelP6P7(8, 5), 5),
    "conv_from_p5": (LastLevelP6P7(5, 5), 5),
}


def trunk_features(height, width):
    return [torch.randn(2, c, height // s, width // s) for c, s in zip(TRUNK.channels, TRUNK.strides, strict=True)]


@pytest.mark.parametrize("extra", EXTRA)
def test_levels_are_torchvisions(extra):
    torch.manual_seed(0)
    block, levels = EXTRA[extra]
    ours = Neck(NeckParams(channels=5, extra_levels=extra), TRUNK)
    theirs = FeaturePyramidNetwork([4, 6, 8], 5, block)
    theirs.load_state_dict(ours.state_dict())
    trunk = trunk_features(96, 160)
    expected = theirs(OrderedDict((str(i), f) for i, f in enumerate(trunk)))
    found = ours(trunk, None)
    assert len(found) == levels and ours.strides == (8, 16, 32, 64, 128)[:levels]
    for a, b in zip(found, expected.values(), strict=True):
        torch.testing.assert_close(a, b)


@pytest.mark.parametrize("extra", EXTRA)
def test_levels_do_not_depend_on_padding(extra):
    torch.manual_seed(0)
    neck = Neck(NeckParams(channels=5, extra_levels=extra), TRUNK)
    trunk, sizes = trunk_features(128, 192), [(64, 96), (128, 192)]
    trunk = [f * valid_cells(f, sizes, s) for f, s in zip(trunk, TRUNK.strides, strict=True)]
    together = neck(trunk, sizes)
    alone = neck([f[:1, :, : 64 // s, : 96 // s] for f, s in zip(trunk, TRUNK.strides, strict=True)], None)
    for a, b in zip(together, alone, strict=True):
        torch.testing.assert_close(a[:1, :, : b.shape[2], : b.shape[3]], b)
        assert a[0, :, b.shape[2] :].abs().sum() + a[0, :, :, b.shape[3] :].abs().sum() == 0


def test_the_center_of_an_anchor_can_be_moved_within_its_cell():
    sizes = {"sizes_px": [[16.0], [32.0]], "ratios": [1.0], "rounded": False}
    features = [torch.zeros(1, 1, 2, 3), torch.zeros(1, 1, 1, 2)]
    corner, half = (
        Anchors(AnchorParams(**sizes, center_offset=offset), (8, 16)).per_level(features) for offset in (0.0, 0.5)
    )
    assert corner[0][4].tolist() == [0, 0, 16, 16] and corner[1][1].tolist() == [0, -16, 32, 16]
    assert torch.equal(half[0], corner[0] + 4) and torch.equal(half[1], corner[1] + 8)


def test_padding_is_a_multiple_of_the_trunks_stride():
    detector = small_of("retinanet", input={"pad_multiple_px": 64})
    features = detector.features(torch.zeros(1, 3, 65, 33, dtype=torch.uint8), [(65, 33)])
    assert [tuple(f.shape[-2:]) for f in features] == [(128 // s, 64 // s) for s in detector.strides]
    with pytest.raises(ParamsError, match="`input.pad_multiple_px` = 48: use a multiple of 32"):
        small_of("retinanet", input={"pad_multiple_px": 48})
