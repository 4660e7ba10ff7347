"""The batched path against the CPU path: the same plans give the same pixels, within rounding."""

import copy
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from scantling import train
from scantling.augment import batched, batched_color, photometry, views
from scantling.augment.settings import ViewParams
from scantling.data import loader, sampler
from scantling.methods import supervised
from tests import tiny, toy
from tests.augment.published import VIEWS

SIZES = [(75, 101), (64, 40), (120, 90), (33, 77), (75, 101), (50, 50), (61, 87), (90, 120), (40, 64), (99, 51)]


def pictures() -> list[Tensor]:
    """Smooth color gradients with some noise, of many sizes: more images than one operation takes at once."""
    rng, found = np.random.default_rng(0), []
    for height, width in SIZES:
        waves = np.sin(np.linspace(0, 9, width)[None, :, None] * rng.uniform(0.3, 1, 3) + rng.uniform(0, 6, 3))
        levels = (
            128 + 90 * waves * np.cos(np.linspace(0, 5, height))[:, None, None] + rng.normal(0, 5, (height, width, 3))
        )
        found.append(torch.from_numpy(levels.clip(0, 255).astype(np.uint8)).permute(2, 0, 1))
    return found


OPERATIONS = {
    **dict.fromkeys(("color", "sharpness", "brightness", "contrast"), [(0.28,), (0.9,), (1.72,)]),
    **dict.fromkeys(("auto_contrast", "equalize", "gray"), [()]),
    "solarize": [(128,)],
    "posterize": [(2,)],
    "lighting": [(3.0, -4.0, 0.2)],
    "hue": [(-0.2,), (0.1,)],
    "blur": [(0.1,), (1.0,), (2.0,)],
}


@pytest.mark.parametrize("name", OPERATIONS)
def test_a_color_operation_within_each_images_own_size(name: str) -> None:
    images = pictures()[:5]
    sizes = [(i.shape[1], i.shape[2]) for i in images]
    canvas = torch.full((5, 3, 120, 101), 200, dtype=torch.uint8)  # what lies in the padding must not matter
    for row, image in zip(canvas, images, strict=True):
        row[:, : image.shape[1], : image.shape[2]] = image
    for values in OPERATIONS[name]:
        made = batched_color.operation(name)(canvas.clone(), [values] * 5, sizes)
        for row, image in zip(made, images, strict=True):
            expected = photometry.apply(image, [(name, values)])
            assert torch.equal(row[:, : image.shape[1], : image.shape[2]], expected)


def test_every_color_operation_is_tested() -> None:
    assert set(OPERATIONS) == set(photometry.TABLES) | set(photometry.MIXING)


@pytest.mark.parametrize("name", VIEWS)
def test_views_made_in_a_batch_are_those_of_the_workers(name: str) -> None:
    images, boxes = pictures(), torch.tensor([[5.0, 5.0, 30.0, 28.0]])
    names = ("labeled", "weak", "strong")
    plans = [
        views.plans(VIEWS[name], names, (image.shape[1], image.shape[2]), (7, i), boxes)
        for i, image in enumerate(images)
    ]
    one_by_one = [views.apply_all(image, own) for image, own in zip(images, plans, strict=True)]
    apart = []
    for view in names:
        canvas = batched.apply(images, [views.chain(own, view) for own in plans])
        for row, alone in zip(canvas, one_by_one, strict=True):
            height, width = alone[view].shape[1:]
            apart.append((row[:, :height, :width].int() - alone[view].int()).abs().flatten())
            assert row[:, height:].sum() == 0 and row[:, :, width:].sum() == 0
    everything = torch.cat(apart)
    # Only a warp rounds otherwise; a level before equalize, posterize or hue can become many.
    assert (everything > 1).float().mean() < 1e-4 and (everything > 0).float().mean() < 1e-3


def test_a_training_step_with_views_on_the_device(tmp_path: Path) -> None:
    pool = toy.pool(tmp_path)
    shared = toy.VIEWS.model_dump() | {"strong": {"same_geometry": True, "gray": 1.0}}
    for params in (toy.VIEWS, ViewParams.model_validate(shared)):
        steps = {}
        for where in ("workers", "device"):
            stream = sampler.steps(pool.labeled, pool.unlabeled, labeled_per_step=2, unlabeled_per_step=2, seed=3)
            asked = {"labeled_views": ("labeled",), "unlabeled_views": ("weak", "strong")}
            steps[where] = list(
                loader.training_steps(
                    pool, params, **asked, stream=stream, first=0, last=3, seed=3, views_on=where, workers=0
                )
            )
        for here, there in zip(steps["workers"], steps["device"], strict=True):
            for side in ("labeled", "unlabeled"):
                for name, batch in getattr(here, side).items():
                    other = getattr(there, side)[name]
                    assert isinstance(other, batched.Pending) and len(other) == len(batch)
                    made = other.to("cpu")
                    assert made.sizes == batch.sizes and made.image_ids == batch.image_ids
                    assert torch.equal(made.matrices, batch.matrices) and made.images.shape == batch.images.shape
                    for a, b in zip(made.targets, batch.targets, strict=True):
                        assert torch.equal(a.boxes, b.boxes) and torch.equal(a.labels, b.labels)
                    assert (made.images.int() - batch.images.int()).abs().max() <= 1


def test_a_training_with_views_on_the_device_learns_the_same(tmp_path: Path) -> None:
    def trained(where: str) -> torch.nn.Module:
        student = tiny.detector("retinanet")
        method = supervised.Method(supervised.Params(), tiny.CLASSES, None)
        return train.run(
            student=student, average=copy.deepcopy(student), labeler=None, method=method, pool=toy.pool(tmp_path),
            views=toy.VIEWS, params=toy.training(3, views_on=where), seed=1, device="cpu",
            work=tmp_path / where, what="toy",
        ).student  # fmt: skip

    for a, b in zip(trained("workers").parameters(), trained("device").parameters(), strict=True):
        assert torch.equal(a, b)  # the labeled view has no warp: not a gray level differs
