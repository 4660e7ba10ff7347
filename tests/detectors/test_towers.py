from functools import partial

import pytest
import torch
from torch import nn
from torchvision.models.detection.fcos import FCOSClassificationHead
from torchvision.models.detection.retinanet import RetinaNetClassificationHead

from scantling.detectors.padding import valid_cells
from scantling.detectors.towers import by_place, norm_of, run_tower
from scantling.params import ParamsError

HEADS = {
    "no_norm": RetinaNetClassificationHead(8, 3, 2),
    "group_norm": FCOSClassificationHead(8, 3, 2, num_convs=2, norm_layer=partial(nn.GroupNorm, 4)),
}


@pytest.fixture(params=HEADS)
def head(request):
    torch.manual_seed(0)
    for layer in HEADS[request.param].modules():
        if isinstance(layer, nn.Conv2d):
            nn.init.kaiming_normal_(layer.weight)
            nn.init.normal_(layer.bias)
    return HEADS[request.param]


def test_a_tower_is_torchvisions_where_nothing_is_padded(head):
    x = torch.randn(2, 8, 5, 6)
    found = by_place(head.cls_logits(run_tower(head.conv, x, None)), 2)
    torch.testing.assert_close(found, head([x]))
    whole = by_place(head.cls_logits(run_tower(head.conv, x, torch.ones(2, 1, 5, 6))), 2)
    torch.testing.assert_close(whole, found, rtol=1e-4, atol=1e-5)


def test_a_tower_sees_nothing_beyond_an_image(head):
    x = torch.randn(2, 8, 5, 6)
    valid = valid_cells(x, [(24, 40), (40, 48)], 8)
    together = run_tower(head.conv, x * valid, valid)
    torch.testing.assert_close(together[:1, :, :3, :5], run_tower(head.conv, x[:1, :, :3, :5], None))
    torch.testing.assert_close(together[1:], run_tower(head.conv, x[1:], None))
    assert together[0, :, 3:].abs().sum() + together[0, :, :, 5:].abs().sum() == 0


def test_groups_must_divide_the_channels():
    assert norm_of(0, 96) is None and norm_of(32, 96)(96).num_groups == 32
    with pytest.raises(ParamsError, match="`head.norm_groups` = 32: use a divisor of `neck.channels` = 100"):
        norm_of(32, 100)
