"""Matrices and warps: published coefficients; markers must land where the matrix says, to a part of a pixel."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from scantling import boxes
from scantling.augment import geometry

GOLDEN = Path(__file__).parents[1] / "golden"


def test_published_shear_coefficients() -> None:
    case = json.loads((GOLDEN / "soft_teacher/rand_aug_magnitudes.json").read_text())
    degrees = case["shear_degrees"]
    assert [geometry.shear_x(d)[0, 1].item() for d in degrees] == pytest.approx(case["shear_x_coeff"])
    assert [geometry.shear_y(d)[1, 0].item() for d in degrees] == pytest.approx(case["shear_y_coeff"])


@pytest.mark.parametrize("name", ["warp_flip", "warp_shear_x", "warp_translate"])
def test_published_transport_between_views(name: str) -> None:
    with np.load(GOLDEN / f"co_student/{name}.npz") as file:
        case = {k: torch.from_numpy(np.asarray(file[k])) for k in file.files}
    move = geometry.between(case["in_source_matrix"], case["in_target_matrix"])
    there = boxes.transform(case["in_boxes"], move, tuple(case["in_target_size_hw"].tolist()))
    kept = boxes.has_area(there)
    torch.testing.assert_close(there[kept], case["out_boxes"], rtol=1e-4, atol=1e-3)
    torch.testing.assert_close(case["in_scores"][kept], case["out_scores"], rtol=1e-4, atol=1e-5)
    assert torch.equal(case["in_classes"][kept], case["out_classes"])


def test_resize_keeps_ratio_and_caps_the_long_side() -> None:
    assert geometry.resized((480, 640), 192, 256) == (192, 256)
    assert geometry.resized((480, 640), 800, 1333) == (800, 1067)
    assert geometry.resized((100, 400), 200, 400) == (100, 400)
    assert geometry.resized((1, 1000), 10, 100) == (1, 100)


def spot(size: tuple[int, int], x: float, y: float, radius: float = 3.0) -> Tensor:
    """A soft bright spot centered at (x, y) on black, uint8."""
    down, across = torch.meshgrid(torch.arange(size[0]) + 0.5, torch.arange(size[1]) + 0.5, indexing="ij")
    level = 250 * torch.exp(-((across - x) ** 2 + (down - y) ** 2) / (2 * radius**2))
    return level.round().to(torch.uint8).expand(3, *size)


def center(image: Tensor) -> Tensor:
    """The (x, y) of the gray levels' center of mass."""
    level = image[0].double()
    x, y = torch.arange(image.shape[2]) + 0.5, torch.arange(image.shape[1]) + 0.5
    return torch.stack([(level.sum(0) * x).sum(), (level.sum(1) * y).sum()]) / level.sum()


def moved(matrix: Tensor, x: float, y: float) -> Tensor:
    return (matrix @ torch.tensor([x, y, 1], dtype=torch.float64))[:2]


sizes = st.tuples(st.integers(61, 90), st.integers(61, 110))  # odd and even sides
places = st.floats(-6, 6)  # of the spot, about the center


@given(sizes, places, places, st.integers(40, 160), st.booleans())
@settings(deadline=None, max_examples=25)
def test_a_resized_spot_lies_where_the_matrix_says(size, dx, dy, short, antialias) -> None:
    x, y = size[1] / 2 + dx, size[0] / 2 + dy
    target = geometry.resized(size, short, 1000)
    seen = geometry.resize(spot(size, x, y), target, antialias)
    matrix = geometry.scale(target[1] / size[1], target[0] / size[0])
    assert (center(seen) - moved(matrix, x, y)).abs().max() < 0.1


@st.composite
def moves(draw):
    """A size and a matrix of each operation that warps a canvas."""
    size = draw(sizes)
    name = draw(st.sampled_from(["translate", "rotate", "shear_x", "shear_y", "zoom", "flips"]))
    degrees = draw(st.floats(-30, 30))
    match name:
        case "translate":
            return size, geometry.translate(draw(st.floats(-0.1, 0.1)) * size[1], draw(st.floats(-0.1, 0.1)) * size[0])
        case "rotate":
            return size, geometry.rotate(degrees, size)
        case "shear_x":  # about the middle, or the spot leaves the canvas
            middle = geometry.translate(0, size[0] / 2)
            return size, middle @ geometry.shear_x(degrees) @ torch.linalg.inv(middle)
        case "shear_y":
            middle = geometry.translate(size[1] / 2, 0)
            return size, middle @ geometry.shear_y(degrees) @ torch.linalg.inv(middle)
        case "zoom":
            factor = draw(st.floats(0.75, 1.3))
            shift = geometry.translate(size[1] * (1 - factor) / 2, size[0] * (1 - factor) / 2)
            return size, shift @ geometry.scale(factor, factor)
        case _:
            return size, geometry.flip_horizontal(size[1]) @ geometry.flip_vertical(size[0])


@given(moves(), places, places)
@settings(deadline=None, max_examples=60)
def test_a_warped_spot_lies_where_the_matrix_says(move, dx, dy) -> None:
    size, matrix = move
    x, y = size[1] / 2 + dx, size[0] / 2 + dy
    seen = geometry.warp(spot(size, x, y)[None], matrix[None], 0)[0]
    assert (center(seen) - moved(matrix, x, y)).abs().max() < 0.1


def test_flips_as_matrices_and_as_warps_are_the_same_pixels() -> None:
    image = torch.randint(0, 256, (3, 21, 34), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    for matrix, dim in ((geometry.flip_horizontal(34), 2), (geometry.flip_vertical(21), 1)):
        assert torch.equal(geometry.warp(image[None], matrix[None], 125)[0], image.flip(dim))


def test_a_warp_by_nothing_changes_nothing_and_a_shift_by_whole_pixels_is_exact() -> None:
    image = torch.randint(0, 256, (3, 33, 20), dtype=torch.uint8, generator=torch.Generator().manual_seed(1))
    assert torch.equal(geometry.warp(image[None], geometry.identity()[None], 125)[0], image)
    shifted = geometry.warp(image[None], geometry.translate(3, -2)[None], 125)[0]
    assert torch.equal(shifted[:, :-2, 3:], image[:, 2:, :-3])
    assert (shifted[:, :, :3] == 125).all() and (shifted[:, -2:] == 125).all()


@given(moves(), moves())
@settings(deadline=None, max_examples=40)
def test_points_come_back_from_any_other_view(one, other) -> None:
    there, back = geometry.between(one[1], other[1]), geometry.between(other[1], one[1])
    torch.testing.assert_close(back @ there, geometry.identity(), rtol=0, atol=1e-9)
    box = torch.tensor([[20.0, 15.0, 50.0, 40.0]])
    again = boxes.transform(boxes.transform(box, there), back)
    assert (again[:, :2] <= box[:, :2] + 1e-3).all() and (again[:, 2:] >= box[:, 2:] - 1e-3).all()  # hulls only grow
