"""The committed recipes hold the published views, and every one of them can be drawn and made."""

import pytest
import torch

from scantling.augment import batched, views
from scantling.augment.settings import ViewParams
from tests import toy
from tests.augment.published import VIEWS

FOLDER = toy.ROOT / "params/training"
RECIPES = sorted(file.stem for file in FOLDER.glob("*.yaml"))
SIZES = {"short_px", "short_px_choices", "long_px"}  # those of VIEWS are small, for speed
PUBLISHED = {f"coco_{name}": name for name in VIEWS if name != "own"} | {
    "coco_polishing_teacher": "soft_teacher",
    "coco_ci_ssod": "soft_teacher",
}


def load(name: str) -> ViewParams:
    return ViewParams.load(f"{FOLDER}/{name}.yaml:views")


@pytest.mark.parametrize("name", PUBLISHED)
def test_a_recipe_is_the_published_one(name: str) -> None:
    recipe, expected = load(name), VIEWS[PUBLISHED[name]]
    for view in ("raw", "weak", "strong"):
        own, other = getattr(recipe, view), getattr(expected, view)
        assert (own is None) == (other is None)
        if own is not None:
            assert own.model_dump(exclude=SIZES) == other.model_dump(exclude=SIZES)


def test_published_sizes() -> None:
    for name in ("coco_soft_teacher", "coco_polishing_teacher", "coco_ci_ssod"):
        recipe = load(name)
        for view in (recipe.labeled, recipe.weak, recipe.strong):
            assert view.short_px == (400, 1200) and view.long_px == 1333
        assert recipe.labeled.color == recipe.strong.color and recipe.labeled.geometric is None
    assert load("coco_unbiased_teacher").weak.short_px_choices == (640, 672, 704, 736, 768, 800)
    assert load("coco_sparsedet").weak.short_px_choices == tuple(range(480, 801, 32))
    student = load("coco_co_student")
    assert student.raw is not None
    for view in (student.raw, student.weak, student.strong, load("coco_co_mining").weak):
        assert view.short_px == (800, 800) and view.long_px == 1333


@pytest.mark.parametrize("name", RECIPES)
def test_a_recipe_makes_its_views_on_either_path(name: str) -> None:
    recipe = load(name)
    names = [n for n in views.NAMES if getattr(recipe, n) is not None]
    image = torch.randint(0, 256, (3, 37, 53), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    plans = views.plans(recipe, names, (37, 53), (1,), torch.tensor([[5.0, 5.0, 30.0, 30.0]]))
    seen = views.apply_all(image, plans)
    for view in names:
        assert (seen[view].shape[1], seen[view].shape[2]) == plans[view].size
        canvas = batched.apply([image], [views.chain(plans, view)])[0]
        assert ((canvas.int() - seen[view].int()).abs() > 1).float().mean() < 1e-3
