"""Views of an image: drawn as plans, applied on the CPU, each with its exact matrix.

What is drawn depends on (seed, step, position, image, name of the view) and on nothing else.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby

import numpy as np
import torch
from torch import Tensor

from scantling.augment import draw, erasing, geometry, photometry
from scantling.augment.plan import Plan, Size, Step, Steps
from scantling.augment.settings import View, ViewParams
from scantling.params import ParamsError

NAMES = ("labeled", "weak", "strong", "raw")  # the position is part of the seed: append only


def plans(
    params: ViewParams, names: Sequence[str], size: Size, seed: tuple[int, ...], boxes: Tensor | None = None
) -> dict[str, Plan]:
    """A plan for each of the views `names` of an image of (height, width) `size` with labeled `boxes`.

    A strong view with `same_geometry` follows the weak view that the same seed gives, asked for or not: the result then
    holds the weak view first.
    """
    wanted = list(names)
    if "strong" in wanted and params.strong.same_geometry:
        wanted = ["weak", *(name for name in wanted if name != "weak")]
    made: dict[str, Plan] = {}
    for name in wanted:
        made[name] = draw.draw(getattr(params, name), size, seeded(*seed, NAMES.index(name)), boxes, made.get("weak"))
    return made


def check(params: ViewParams, names: Sequence[str]) -> None:
    """Raises ParamsError if a view that a method asks for is not described."""
    for name in names:
        if getattr(params, name) is None:
            raise ParamsError(f"views: `{name}` is missing and the method trains on it; add it to the recipe's views")


def chain(made: dict[str, Plan], name: str) -> tuple[Plan, ...]:
    """The plans that lead from the image to a view: its own, behind the weak view's where it goes on from there."""
    return (made["weak"], made[name]) if made[name].on_weak else (made[name],)


def apply_all(image: Tensor, made: dict[str, Plan]) -> dict[str, Tensor]:
    """The views of a decoded (3, H, W) uint8 image, (3, h, w) uint8 each, by name."""
    seen: dict[str, Tensor] = {}
    for name, plan in made.items():
        seen[name] = apply(seen["weak"] if plan.on_weak else image, plan)
    return seen


def apply(image: Tensor, plan: Plan) -> Tensor:
    """One view (3, h, w) uint8 of the image, or of its finished weak view for a plan `on_weak`."""
    if not plan.on_weak:
        image = geometry.resize(_run(image, plan.before), plan.size, plan.antialias)
    return _run(image, plan.steps)


def make(image: Tensor, view: View, rng: np.random.Generator) -> tuple[Tensor, Tensor]:
    """A view of a decoded (3, H, W) uint8 image and its (3, 3) matrix, original pixels -> view pixels."""
    plan = draw.draw(view, (image.shape[1], image.shape[2]), rng)
    return apply(image, plan), plan.matrix


def _run(image: Tensor, steps: Steps) -> Tensor:
    for kind, group in groupby(steps, key=lambda step: _KIND.get(step.name, "move")):
        if kind == "color":
            image = photometry.apply(image, list(group))
        elif kind == "erase":
            image = image.clone()  # it may be another view's
            for step in group:
                erasing.erase(image, step)
        else:
            for step in group:
                image = _move(image, step)
    return image


_KIND = dict.fromkeys([*photometry.TABLES, *photometry.MIXING], "color") | dict.fromkeys(("erase", "noise"), "erase")


def _move(image: Tensor, step: Step) -> Tensor:
    match step:
        case Step("flip_horizontal"):
            return image.flip(2)
        case Step("flip_vertical"):
            return image.flip(1)
        case Step("warp", (*rows, fill)):
            return geometry.warp(image[None], geometry.from_rows([rows]), fill)[0]
    raise ValueError(f"no step {step.name!r}")


def torch_seed(*parts: int) -> int:
    """A 63-bit seed from any integers: independent of how many random numbers were drawn before."""
    return int(np.random.SeedSequence([abs(p) for p in parts]).generate_state(1, np.uint64)[0] >> 1)


def seeded(*parts: int) -> np.random.Generator:
    """A generator of its own for each combination of integers (seed, step, image, ...)."""
    return np.random.default_rng(np.random.SeedSequence([abs(p) for p in parts]))


def torch_generator(*parts: int) -> torch.Generator:
    return torch.Generator().manual_seed(torch_seed(*parts))
