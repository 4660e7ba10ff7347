"""What the one-stage detectors share."""

from functools import partial

import pytest
import torch
from torch import nn
from torchvision.models.detection.fcos import FCOSClassificationHead
from torchvision.models.detection.retinanet import RetinaNetClassificationHead

from scantling.detectors.decode import best_pairs
from scantling.detectors.dense import by_place, run_tower
from scantling.detectors.padding import valid_cells

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


def test_pairs_are_the_best_of_each_level_at_most_as_many_as_it_has_places():
    ranks = torch.tensor([[[0.1, 0.9], [0.8, 0.2], [0.7, 0.6], [0.5, 0.4]]])  # places 0 to 2 are the first level
    values, rows, labels = best_pairs(ranks, [3, 1], per_level=2)
    assert list(zip(rows[0].tolist(), labels[0].tolist(), strict=True)) == [(0, 1), (1, 0), (3, 0)]
    torch.testing.assert_close(values, torch.tensor([[0.9, 0.8, 0.5]]))
    valid = torch.tensor([[False, False, True, False]])  # one place on the image, so one pair
    values, rows, labels = best_pairs(ranks, [3, 1], per_level=2, valid=valid)
    assert values.isfinite().tolist() == [[True, False, False]] and (rows[0, 0], labels[0, 0]) == (2, 0)
