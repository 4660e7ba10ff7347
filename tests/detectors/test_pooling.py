import pytest
import torch
from torchvision.ops import MultiScaleRoIAlign, roi_align

from scantling.detectors.pooling import align_small, pool


@pytest.mark.parametrize("aligned", [True, False])
@pytest.mark.parametrize("points", [1, 2])
def test_matrix_products_give_what_the_kernel_gives(aligned, points):
    torch.manual_seed(0)
    feature = torch.randn(2, 3, 9, 12, requires_grad=True)
    corner = torch.rand(30, 2) * 100 - 20  # some far outside, some tiny
    boxes = torch.cat([corner, corner + torch.rand(30, 2) ** 3 * 90], dim=1)
    images = torch.arange(30) // 15
    ours = align_small(feature, boxes, images, 1 / 8, cells=4, points=points, aligned=aligned)
    theirs = roi_align(feature, torch.cat([images[:, None].float(), boxes], 1), 4, 1 / 8, points, aligned)
    torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-5)
    seed = torch.randn_like(ours)
    gradients = [torch.autograd.grad(out, feature, seed)[0] for out in (ours, theirs)]
    torch.testing.assert_close(*gradients, rtol=1e-4, atol=1e-5)


def test_levels_and_order_are_torchvisions():
    torch.manual_seed(1)
    features = [torch.randn(2, 3, 128 // s, 128 // s) for s in (8, 16, 32)]
    sides = torch.tensor([5.0, 60, 111, 113, 126])
    rois = [torch.stack([sides * 0, sides * 0, sides, sides], 1), torch.tensor([[3.0, 4, 100, 120]])]
    theirs = MultiScaleRoIAlign(["0", "1", "2"], 7, 2)(
        {str(i): f for i, f in enumerate(features)}, rois, [(128, 128)] * 2
    )
    ours = pool(features, rois, (8, 16, 32), cells=7, sampling_ratio=2, aligned=False, level_size=112)
    torch.testing.assert_close(ours, theirs)


def test_no_region_at_all():
    features = [torch.randn(1, 3, 8, 8, requires_grad=True)]
    pooled = pool(features, [torch.zeros(0, 4)], (8,), cells=7, sampling_ratio=2, aligned=True, level_size=112)
    assert pooled.shape == (0, 3, 7, 7)
