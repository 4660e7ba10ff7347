"""From a split to batches."""

from pathlib import Path
from typing import Any

import pytest
import torch

from scantling.augment.views import ViewParams
from scantling.data import loader, sampler
from scantling.stage import BadInput
from tests import toy


def steps(
    pool: loader.Pool, first: int = 0, last: int = 3, views: ViewParams = toy.VIEWS, background_from_iou: float = 0.0
) -> list[loader.TrainingStep]:
    stream = sampler.steps(pool.labeled, pool.unlabeled, labeled_per_step=2, unlabeled_per_step=2, seed=3)
    asked: dict[str, Any] = {"labeled_views": ("labeled",), "unlabeled_views": ("weak", "strong")}
    asked |= {"first": first, "last": last, "background_from_iou": background_from_iou}
    return list(loader.training_steps(pool, views, **asked, stream=stream, seed=3))


def parts(pool: loader.Pool, accumulate: int, rank: int, world: int, sampling: str) -> list[loader.TrainingStep]:
    stream = sampler.steps(
        pool.labeled, pool.unlabeled, labeled_per_step=4, unlabeled_per_step=5, seed=3, sampling=sampling, groups=4
    )
    asked = {"labeled_views": ("labeled",), "unlabeled_views": ("weak", "strong")}
    cut = {"accumulate": accumulate, "rank": rank, "world": world}
    return list(loader.training_steps(pool, toy.VIEWS, **asked, stream=stream, first=0, last=2, seed=3, **cut))


Seen = dict[tuple[int, str], list[tuple[int, int | None, torch.Tensor]]]


def seen_by(everything: list[list[loader.TrainingStep]]) -> Seen:
    """What was seen in each step of each view: image, seed and pixels of the image, whoever saw it."""
    seen: Seen = {}
    for number in range(len(everything[0])):
        for part in (steps[number] for steps in everything):
            for name, view in {**part.labeled, **part.unlabeled}.items():
                pixels = [i[:, :h, :w] for i, (h, w) in zip(view.images, view.sizes, strict=True)]
                found = zip(view.image_ids, (t.seed for t in view.targets), pixels, strict=True)
                seen.setdefault((part.step, name), []).extend(found)
    return seen


@pytest.mark.parametrize("sampling", ["fixed", "by_probability"])
@pytest.mark.parametrize(("accumulate", "world"), [(1, 2), (2, 1), (2, 2), (1, 3), (4, 1)])
def test_processes_and_parts_see_together_what_one_sees(
    tmp_path: Path, accumulate: int, world: int, sampling: str
) -> None:
    pool = toy.pool(tmp_path)
    whole = seen_by([parts(pool, 1, 0, 1, sampling)])
    cut = [parts(pool, accumulate, rank, world, sampling) for rank in range(world)]
    together = seen_by(cut)
    assert whole.keys() == together.keys()
    for key, images in whole.items():
        for (a, seed_a, pixels_a), (b, seed_b, pixels_b) in zip(images, together[key], strict=True):
            assert (a, seed_a) == (b, seed_b) and torch.equal(pixels_a, pixels_b)
    for rank in cut:
        shares = [[part.shares[side] for part in rank if part.step == 0] for side in ("labeled", "unlabeled")]
        assert all(sum(of_side) == pytest.approx(1) for of_side in shares)
    assert all(part.labeled and part.unlabeled for rank in cut for part in rank)


def test_what_is_drawn_in_a_view_has_a_seed_of_its_own(tmp_path: Path) -> None:
    seeds = [t.seed for step in steps(toy.pool(tmp_path)) for v in (*step.labeled.values(), *step.unlabeled.values())
             for t in v.targets]  # fmt: skip
    assert len(set(seeds)) == len(seeds) and None not in seeds


def test_pool_keeps_what_the_split_keeps(tmp_path: Path) -> None:
    pool = toy.pool(tmp_path)
    assert pool.labeled == [0, 1, 2, 3] and pool.unlabeled == [4, 5, 6, 7]
    assert len(pool.truth(0)[0]) == 2 and pool.truth(3)[0].shape == (0, 4)  # image 3 is labeled and keeps no box
    assert pool.truth(5)[0].shape == (0, 4)
    assert toy.pool(tmp_path, keep_empty=False).labeled == [0, 1, 2]


def test_unlabeled_images_bring_no_box_and_two_views(tmp_path: Path) -> None:
    for step in steps(toy.pool(tmp_path)):
        assert set(step.labeled) == {"labeled"} and set(step.unlabeled) == {"weak", "strong"}
        weak, strong = step.unlabeled["weak"], step.unlabeled["strong"]
        assert weak.image_ids == strong.image_ids
        assert all(len(t) == 0 for t in weak.targets + strong.targets)


def test_a_resumed_stream_gives_the_same_steps(tmp_path: Path) -> None:
    pool = toy.pool(tmp_path)
    whole, rest = steps(pool), steps(pool, first=2)
    for view in ("weak", "strong"):
        assert torch.equal(whole[2].unlabeled[view].images, rest[0].unlabeled[view].images)
    assert torch.equal(whole[2].labeled["labeled"].images, rest[0].labeled["labeled"].images)


def test_padding_is_zero_and_sizes_say_what_is_image(tmp_path: Path) -> None:
    for step in steps(toy.pool(tmp_path)):
        batch = step.unlabeled["strong"]
        for image, (height, width) in zip(batch.images, batch.sizes, strict=True):
            assert image[:, height:].sum() == 0 and image[:, :, width:].sum() == 0


def test_strong_may_share_the_geometry_of_weak(tmp_path: Path) -> None:
    shared = ViewParams.model_validate(
        toy.VIEWS.model_dump() | {"strong": {"same_geometry": True, "jitter": {"probability": 1, "brightness": 0.5}}}
    )
    for step in steps(toy.pool(tmp_path), views=shared):
        weak, strong = step.unlabeled["weak"], step.unlabeled["strong"]
        assert torch.equal(weak.matrices, strong.matrices) and not torch.equal(weak.images, strong.images)


def test_labeled_views_say_what_background_needs(tmp_path: Path) -> None:
    for step in steps(toy.pool(tmp_path), background_from_iou=0.1):
        assert {t.background_from_iou for view in step.labeled.values() for t in view.targets} == {0.1}
        assert {t.background_from_iou for view in step.unlabeled.values() for t in view.targets} == {0.0}


def test_a_box_mostly_outside_is_neither_target_nor_background() -> None:
    boxes = torch.tensor([[0, 0, 10, 10], [8, 0, 28, 10], [30, 0, 40, 10.0]])
    labels = torch.arange(3)
    seen, kept, rest = loader.seen_boxes(boxes, labels, torch.eye(3, dtype=torch.float64), (10, 12), min_visible=0.3)
    assert torch.equal(seen, boxes[:1]) and kept.tolist() == [0]
    torch.testing.assert_close(rest, torch.tensor([[8, 0, 12, 10.0]]))


def test_the_machine_may_have_another_number_of_workers(monkeypatch):
    monkeypatch.delenv("SCANTLING_WORKERS", raising=False)
    assert loader.workers(3) == 3
    monkeypatch.setenv("SCANTLING_WORKERS", "0")
    assert loader.workers(3) == 0
    monkeypatch.setenv("SCANTLING_WORKERS", "-2")
    with pytest.raises(BadInput, match="SCANTLING_WORKERS=-2: a number of loader processes"):
        loader.workers(3)
