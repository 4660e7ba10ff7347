"""Views as pixels: markers land where the matrix says, draws depend on their seed alone, published pairs line up."""

import numpy as np
import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from scantling import boxes
from scantling.augment import geometry, photometry, views
from scantling.augment.settings import ViewParams
from scantling.params import ParamsError
from tests.augment.published import OWN, SOFT_TEACHER, VIEWS
from tests.augment.test_geometry import center, moved, spot

PICTURE = torch.from_numpy(np.random.default_rng(0).integers(0, 256, (3, 75, 101), dtype=np.uint8))
BOXES = torch.tensor([[10.0, 20.0, 60.0, 70.0]])


def made(params: ViewParams, seed: int, names=("weak", "strong"), image=PICTURE, boxes=BOXES):
    plans = views.plans(params, names, (image.shape[1], image.shape[2]), (seed, 4), boxes)
    return plans, views.apply_all(image, plans)


BARE = {
    name: ViewParams.model_validate(
        {
            "labeled": section["labeled"] | {"color": None, "fill": 0},
            "weak": section["weak"] | {"fill": 0},
            "strong": {**section["strong"], "color": None, "erase": None, "fill": 0},
        }
    )
    for name, section in {"published": SOFT_TEACHER, "own": {**OWN, "strong": SOFT_TEACHER["strong"]}}.items()
}


@given(
    st.sampled_from([(n, v) for n in BARE for v in ("labeled", "weak", "strong")]),
    st.tuples(st.integers(61, 140), st.integers(61, 140)),
    st.floats(0.35, 0.65),
    st.floats(0.35, 0.65),
    st.integers(0, 10**6),
)
@settings(deadline=None, max_examples=80)
def test_a_spot_lies_where_the_views_matrix_says(which, size, at_x, at_y, seed) -> None:
    x, y = size[1] * at_x, size[0] * at_y
    plans, seen = made(BARE[which[0]], seed, (which[1],), spot(size, x, y, radius=2.5))
    plan, view = plans[which[1]], seen[which[1]]
    assert (view.shape[1], view.shape[2]) == plan.size
    expected = moved(plan.matrix, x, y)
    margin = 8 * float(plan.matrix[:2, :2].abs().sum(1).max())
    assume(margin <= expected[0] <= plan.size[1] - margin and margin <= expected[1] <= plan.size[0] - margin)
    assert (center(view) - expected).abs().max() < 0.2


@pytest.mark.parametrize("name", VIEWS)
def test_boxes_go_from_weak_to_strong_and_back(name: str) -> None:
    for seed in range(8):
        plans, _ = made(VIEWS[name], seed)
        there = geometry.between(plans["weak"].matrix, plans["strong"].matrix)
        back = geometry.between(plans["strong"].matrix, plans["weak"].matrix)
        in_weak = boxes.transform(BOXES, plans["weak"].matrix)
        again = boxes.transform(boxes.transform(in_weak, there), back)
        straight = (there[:2, :2].abs() < 1e-9).sum() == 2
        if straight:  # a rotated or sheared box comes back as a larger one
            torch.testing.assert_close(again, in_weak, rtol=0, atol=1e-3)
        assert (again[:, :2] <= in_weak[:, :2] + 1e-3).all() and (again[:, 2:] >= in_weak[:, 2:] - 1e-3).all()


@pytest.mark.parametrize("name", VIEWS)
def test_a_view_is_a_function_of_its_seed_and_of_nothing_else(name: str) -> None:
    first, pixels = made(VIEWS[name], 3)
    again, same = made(VIEWS[name], 3, ("strong", "labeled"))  # asked in another order and company
    assert torch.equal(pixels["strong"], same["strong"])
    assert torch.equal(first["strong"].matrix, again["strong"].matrix)
    others = [made(VIEWS[name], seed)[1]["strong"] for seed in range(4, 8)]
    assert any(o.shape != pixels["strong"].shape or not torch.equal(o, pixels["strong"]) for o in others)


@pytest.mark.parametrize("name", ["unbiased_teacher", "co_mining", "sparsedet"])
def test_aligned_views_differ_in_color_alone(name: str) -> None:
    for seed in range(6):
        plans, seen = made(VIEWS[name], seed)
        assert seen["weak"].shape == seen["strong"].shape
        assert torch.equal(plans["weak"].matrix, plans["strong"].matrix)
    gray = torch.full((3, 80, 90), 128, dtype=torch.uint8)
    gray[:, 20:40, 30:70] = 40  # edges survive every factor; erased parts and noise are excluded below
    quiet = VIEWS[name].model_copy(
        update={"strong": VIEWS[name].strong.model_copy(update={"erase_areas": (), "erase_box": None, "blur": None})}
    )
    plans, seen = made(quiet, 1, image=gray)
    dark = [v[0].int() < (v[0].int().max() + v[0].int().min()) / 2 for v in (seen["weak"], seen["strong"])]
    assert torch.equal(*dark)


def test_the_strong_view_goes_on_from_the_weak_ones_pixels() -> None:
    section = {"weak": OWN["labeled"], "labeled": OWN["labeled"], "strong": {"same_geometry": True, "gray": 1.0}}
    plans, seen = made(ViewParams.model_validate(section), 5, ("strong",))
    assert list(plans) == ["weak", "strong"]  # drawn though not asked for
    assert torch.equal(seen["strong"], photometry.apply(seen["weak"], [("gray", ())]))


def test_erasing_fills_and_leaves_the_weak_view_alone() -> None:
    black = torch.zeros((3, 60, 60), dtype=torch.uint8)
    erase = {"count": [2, 2], "side": [0.1, 0.2]}
    section = {n: {"exact_px": [60, 60]} for n in ("labeled", "weak")} | {
        "strong": {"same_geometry": True, "erase": erase}
    }
    for fill in (125, "noise"):
        section["strong"]["erase"] = erase | {"fill": fill}
        _, seen = made(ViewParams.model_validate(section), 1, image=black)
        assert seen["weak"].max() == 0 and black.max() == 0
        found = set(seen["strong"].unique().tolist())
        assert found == {0, 125} if fill == 125 else len(found) > 50


def test_a_view_that_is_not_described_is_refused() -> None:
    with pytest.raises(ParamsError, match="`raw` is missing"):
        views.check(VIEWS["soft_teacher"], ("raw", "weak"))
    views.check(VIEWS["co_student"], ("raw", "weak", "strong"))


def test_weak_and_strong_are_drawn_apart() -> None:
    params, agree = VIEWS["soft_teacher"], []
    for seed in range(200):
        plans = views.plans(params, ("weak", "strong"), (75, 101), (seed,))
        flips = ["flip_horizontal" in [step.name for step in plans[name].steps] for name in ("weak", "strong")]
        agree.append((flips[0] == flips[1], plans["weak"].size == plans["strong"].size))
    same_flip, same_size = np.mean(agree, axis=0)
    assert 0.35 < same_flip < 0.65 and same_size < 0.2
