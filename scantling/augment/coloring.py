"""Draw the color steps of a view; what each does to the pixels is in photometry."""

from __future__ import annotations

import numpy as np

from scantling.augment.plan import Step, Steps
from scantling.augment.settings import Jitter, OneOf, View


def draw(view: View, rng: np.random.Generator) -> Steps:
    """The color steps of a view: one of a pool, jitter, lighting, gray, blur."""
    steps: list[Step] = []
    if view.color is not None and rng.random() < view.color.probability:
        operation = view.color.operations[rng.integers(len(view.color.operations))]
        low, high = view.color.magnitude
        steps += one_of(view.color, operation, int(rng.integers(low, high + 1)))
    if view.jitter is not None and rng.random() < view.jitter.probability:
        steps += _jitter(view.jitter, rng)
    if view.lighting > 0:
        steps.append(Step("lighting", _lighting(view.lighting, rng)))
    if rng.random() < view.gray:
        steps.append(Step("gray"))
    if view.blur is not None and rng.random() < view.blur.probability:
        steps.append(Step("blur", (rng.uniform(*view.blur.sigma_px),)))
    return tuple(steps)


def one_of(pool: OneOf, operation: str, magnitude: int) -> list[Step]:
    """A color operation of the pool at `magnitude` 0..10 (golden rand_aug_magnitudes); the identity is no step."""
    match operation:
        case "identity":
            return []
        case "auto_contrast" | "equalize":
            return [Step(operation)]
        case "solarize":
            return [Step(operation, (min(pool.solarize * magnitude // 10, 255),))]
        case "posterize":
            return [Step(operation, (pool.posterize - pool.posterize * magnitude // 10,))]
    low, high = pool.enhance
    return [Step(operation, (low + (high - low) * magnitude / 10,))]


_JITTERED = {"brightness": "brightness", "contrast": "contrast", "saturation": "color", "hue": "hue"}


def _jitter(jitter: Jitter, rng: np.random.Generator) -> list[Step]:
    order = jitter.order or [list(_JITTERED)[i] for i in rng.permutation(len(_JITTERED))]
    steps = []
    for name in order:
        amount = getattr(jitter, name)
        low, high = (-amount, amount) if name == "hue" else (max(0.0, 1 - amount), 1 + amount)
        if amount > 0:
            steps.append(Step(_JITTERED[name], (rng.uniform(low, high),)))
    return steps


# Principal components of ImageNet's colors and their eigenvalues on a 0..1 scale (Krizhevsky et al. 2012; detectron2).
_COMPONENTS = np.array([[-0.5675, 0.7192, 0.4009], [-0.5808, -0.0045, -0.8140], [-0.5836, -0.6948, 0.4203]])
_EIGENVALUES = np.array([0.2175, 0.0188, 0.0045])


def _lighting(deviation: float, rng: np.random.Generator) -> tuple[float, ...]:
    return tuple((_COMPONENTS @ (rng.normal(0, deviation, 3) * _EIGENVALUES)).tolist())
