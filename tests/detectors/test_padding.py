import pytest
import torch
from torchvision.ops import roi_align

from scantling.detectors.padding import hold_edge, inside, valid_cells
from tests import tiny


def test_cells_that_hold_a_part_of_the_image_are_valid():
    mask = valid_cells(torch.zeros(2, 3, 4, 5), [(17, 33), (32, 8)], 8)
    assert mask.shape == (2, 1, 4, 5) and mask[0, 0].sum() == 3 * 5 and mask[1, 0].sum() == 4 * 1
    assert mask[0, 0, :3].all() and mask[1, 0, :, 0].all()


def test_no_masks_where_every_cell_is_valid():
    features = [torch.zeros(2, 3, 4, 5), torch.zeros(2, 3, 2, 3)]
    assert inside(features, [(32, 40), (25, 33)], (8, 16)) is None
    masks = inside(features, [(32, 40), (25, 32)], (8, 16))
    assert [int(m.sum()) for m in masks] == [4 * 5 + 4 * 4, 2 * 3 + 2 * 2]


def test_regions_at_the_border_of_an_image_pool_what_they_pool_without_padding():
    torch.manual_seed(0)
    alone = torch.randn(1, 3, 3, 4)
    padded = torch.zeros(1, 3, 6, 7)
    padded[:, :, :3, :4] = alone
    rois = torch.tensor([[0, 0.0, 0, 32, 24], [0, 20, 15, 32, 24], [0, 1, 2, 30, 24]])
    held = hold_edge(padded, valid_cells(padded, [(24, 32)], 8))
    for aligned in (True, False):
        expected = roi_align(alone, rois, 7, 1 / 8, 2, aligned)
        torch.testing.assert_close(roi_align(held, rois, 7, 1 / 8, 2, aligned), expected)
        assert (roi_align(padded, rois, 7, 1 / 8, 2, aligned) - expected).abs().max() > 0.1


@pytest.mark.parametrize("architecture", tiny.ARCHITECTURES)
def test_boxes_beyond_an_image_pool_the_same_however_it_is_padded(architecture: str) -> None:
    torch.manual_seed(0)
    detector = tiny.detector(architecture).eval()
    image = torch.randint(0, 256, (1, 3, 64, 64), dtype=torch.uint8)  # fills its map, if nothing is around it
    boxes = torch.tensor([[-6.0, 5, 20, 30], [40, 30, 71, 70], [10, 10, 30, 30]])
    pooled = []
    for height, width in ((64, 64), (96, 128)):
        padded = torch.zeros((1, 3, height, width), dtype=torch.uint8)
        padded[:, :, :64, :64] = image
        sizes = [(64, 64)]
        with torch.no_grad():
            pooled.append(detector.pooled(detector.features(padded, sizes), [boxes], sizes, 7))
    torch.testing.assert_close(pooled[0], pooled[1], rtol=1e-3, atol=1e-4)
