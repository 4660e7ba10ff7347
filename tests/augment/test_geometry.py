"""Matrices against the published coefficients, and pixels against boxes."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from scantling import boxes
from scantling.augment import geometry, photometry, views

GOLDEN = Path(__file__).parents[1] / "golden" / "soft_teacher"


def test_published_magnitudes() -> None:
    case = json.loads((GOLDEN / "rand_aug_magnitudes.json").read_text())
    magnitudes = case["magnitude"]
    assert [photometry.solarize_threshold(m) for m in magnitudes] == case["solarize_threshold"]
    assert [photometry.enhance_factor(m) for m in magnitudes] == pytest.approx(case["enhance_factor"])
    assert [photometry.posterize_bits(m) for m in magnitudes] == case["posterize_bits"]
    degrees = case["shear_degrees"]
    assert [geometry.shear_x(d)[0, 1].item() for d in degrees] == pytest.approx(case["shear_x_coeff"])
    assert [geometry.shear_y(d)[1, 0].item() for d in degrees] == pytest.approx(case["shear_y_coeff"])


def test_resize_keeps_ratio_and_caps_the_long_side() -> None:
    assert geometry.resized((480, 640), 192, 256) == (192, 256)
    assert geometry.resized((480, 640), 800, 1333) == (800, 1067)
    assert geometry.resized((100, 400), 200, 400) == (100, 400)


def square(size: tuple[int, int], box: tuple[int, int, int, int]) -> torch.Tensor:
    image = torch.zeros((3, *size), dtype=torch.uint8)
    image[:, box[1] : box[3], box[0] : box[2]] = 255
    return image


def hull(image: torch.Tensor) -> torch.Tensor:
    ys, xs = (image[0] > 127).nonzero().T
    return torch.tensor([[xs.min(), ys.min(), xs.max() + 1, ys.max() + 1]], dtype=torch.float32)


VIEW = views.View(
    short_px=(90, 130),
    long_px=200,
    flip_horizontal=0.5,
    flip_vertical=0.5,
    zoom=views.Zoom(probability=0.7, factor=(0.6, 1.1)),
    geometric=views.Geometric(probability=0.7, translate=0.1, rotate_degrees=0, shear_degrees=0),
    fill=0,
)


@pytest.mark.parametrize("seed", range(12))
def test_a_box_moves_with_its_pixels(seed: int) -> None:
    box = (44, 40, 84, 68)
    made, matrix = views.make(square((120, 160), box), VIEW, views.seeded(seed))
    expected = boxes.transform(torch.tensor([box], dtype=torch.float32), matrix, (made.shape[1], made.shape[2]))
    assert (hull(made) - expected).abs().max() <= 1.0


@pytest.mark.parametrize("seed", range(6))
def test_a_rotated_or_sheared_box_still_holds_its_pixels(seed: int) -> None:
    turning = views.Geometric(probability=1, translate=0, rotate_degrees=30, shear_degrees=30)
    view = VIEW.model_copy(update={"geometric": turning, "zoom": None})
    box = (60, 50, 100, 70)
    made, matrix = views.make(square((120, 160), box), view, views.seeded(seed))
    expected = boxes.transform(torch.tensor([box], dtype=torch.float32), matrix, (made.shape[1], made.shape[2]))
    found = hull(made)
    assert (found[:, :2] >= expected[:, :2] - 1).all() and (found[:, 2:] <= expected[:, 2:] + 1).all()


def test_a_view_is_a_function_of_its_seed() -> None:
    strong = views.View(
        short_px=(64, 64), long_px=96, color="one_of", gray=0.5,
        blur=views.Blur(probability=0.5, sigma_px=(0.3, 1)),
        jitter=views.Jitter(probability=0.8, brightness=0.4, contrast=0.4, saturation=0.4, hue=0.1),
        erase=views.Erase(count=(1, 4), side=(0, 0.2)),
        geometric=views.Geometric(probability=1, translate=0.1, rotate_degrees=30, shear_degrees=30),
    )  # fmt: skip
    image = torch.from_numpy(np.random.default_rng(0).integers(0, 256, (3, 80, 100), dtype=np.uint8))
    first, second, other = (views.make(image, strong, views.seeded(s)) for s in (3, 3, 4))
    assert torch.equal(first[0], second[0]) and torch.equal(first[1], second[1])
    assert not torch.equal(first[0], other[0])


def test_erasing_leaves_boxes_and_fills_with_gray() -> None:
    image = torch.zeros((3, 50, 50), dtype=torch.uint8)
    erased = photometry.erase(image, views.seeded(0), 2, (0.1, 0.2), 125)
    assert set(erased.unique().tolist()) == {0, 125} and image.max() == 0
