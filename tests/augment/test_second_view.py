"""SparseDet's second view at test: aligned with the first, drawn from the image's id alone."""

import torch

from scantling.augment.second_view import pair
from scantling.augment.views import View, make, seeded


def test_the_second_view_is_aligned_repeatable_and_another_for_another_image() -> None:
    image = torch.randint(1, 256, (3, 80, 100), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    plain = View(short_px=(64, 64), long_px=96)
    (first, matrix), (second, other_matrix) = pair(image, 7, plain)
    expected, _ = make(image, plain, seeded(0))
    assert torch.equal(first, expected)  # nothing changes for the view that is tested without a second one
    assert torch.equal(matrix, other_matrix) and first.shape == second.shape and not torch.equal(first, second)
    assert torch.equal(second, pair(image, 7, plain)[1][0])
    assert not torch.equal(second, pair(image, 8, plain)[1][0])
    bright = torch.full_like(image, 200)
    erased = (pair(bright, 7, plain)[1][0] < 50).all(0)
    rows, columns = erased.nonzero().unbind(1)
    share = erased.sum().item() / (erased.numel() / 4)
    assert 0.003 < share < 0.06  # of the box in the middle, of 0.01 to 0.05: borders are blurred by the resize
    assert rows.min() >= 15 and rows.max() <= 48 and columns.min() >= 19 and columns.max() <= 60
