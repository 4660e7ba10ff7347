"""One step in one part or several."""

from pathlib import Path

import pytest
import torch
from torch import nn

from scantling import step
from scantling.data import sampler
from scantling.data.loader import TrainingStep, training_steps
from scantling.methods import supervised
from scantling.optimizer import make_optimizer
from tests import tiny, toy


def parts_of(folder: Path, accumulate: int, rank: int = 0, world: int = 1) -> list[TrainingStep]:
    pool = toy.pool(folder)
    stream = sampler.steps(pool.labeled, [], labeled_per_step=4, unlabeled_per_step=0, seed=1)
    wanted = {"labeled_views": ("labeled",), "unlabeled_views": ()}
    cut = {"accumulate": accumulate, "rank": rank, "world": world}
    return list(training_steps(pool, toy.VIEWS, **wanted, stream=stream, first=0, last=1, seed=1, **cut))


def stepped(folder: Path, accumulate: int) -> tuple[nn.Module, dict[str, torch.Tensor]]:
    student = tiny.detector("faster_rcnn").train()
    params = toy.training(1, optimizer={"name": "sgd", "learning_rate": 0.1}, clip_norm=None, accumulate=accumulate)
    method = supervised.Method(supervised.Params(), tiny.CLASSES, None)
    whole = step.MethodStep(method, student, None)
    optimizer = make_optimizer(student, params.optimizer)
    losses, _ = step.take(whole, optimizer, parts_of(folder, accumulate), params, 1, "cpu", None)
    return student, losses


def test_in_parts_as_at_once_where_each_image_has_as_many_samples(tmp_path: Path) -> None:
    (whole, once), (parted, parts) = stepped(tmp_path, 1), stepped(tmp_path, 4)
    assert once.keys() == parts.keys()
    for name in once:
        torch.testing.assert_close(once[name], parts[name], rtol=1e-4, atol=1e-6)
    for (name, one), other in zip(whole.named_parameters(), parted.parameters(), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-6, msg=name)


class Sometimes(nn.Module):
    """Logs something about batches that have an even number only."""

    def forward(self, batch: int) -> tuple[dict[str, torch.Tensor], dict[str, float]]:
        loss = {"labeled/known": torch.zeros((), requires_grad=True)}
        return loss, {"always": 1.0} | ({"even": 3.0} if batch % 2 == 0 else {})


def test_what_only_some_parts_log_is_their_mean() -> None:
    class Part(int):
        step, shares = 1, {}  # type: ignore[var-annotated]

        def to(self, device: str) -> int:
            return self

    params = toy.training(1, accumulate=3, clip_norm=None)
    optimizer = torch.optim.SGD([nn.Parameter(torch.zeros(1))], 0.1)
    _, logged = step.take(Sometimes(), optimizer, [Part(1), Part(2), Part(3)], params, 1, "cpu", None)
    assert logged == {"always": 1.0, "even": 3.0}


class Known(nn.Module):
    """The weight times a number, for each side of the batch."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.tensor(1.0))

    def forward(self, batch: TrainingStep) -> tuple[dict[str, torch.Tensor], dict[str, float]]:
        return {name: self.weight * value for name, value in batch.labeled.items()}, {"seen": len(batch.labeled)}


def test_a_part_counts_as_much_as_it_has_images() -> None:
    class Part(TrainingStep):
        def to(self, device: object) -> TrainingStep:
            return self

    whole = Known()
    parts = [
        Part({"labeled/a": 3.0, "unlabeled/a": 1.0}, {}, 0, {"labeled": 1 / 3, "unlabeled": 0.5}),
        Part({"labeled/a": 6.0, "unlabeled/a": 2.0}, {}, 0, {"labeled": 2 / 3, "unlabeled": 0.5}),
    ]
    params = toy.training(1, clip_norm=None)
    optimizer = torch.optim.SGD(whole.parameters(), lr=1.0)
    losses, logged = step.take(whole, optimizer, parts, params, 0, "cpu", None)
    assert float(losses["labeled/a"]) == pytest.approx(5.0) and float(losses["unlabeled/a"]) == pytest.approx(1.5)
    assert float(whole.weight) == pytest.approx(1 - 6.5) and logged == {"seen": 2}


def test_the_gradient_is_clipped_over_everything_that_learns() -> None:
    whole = Known()
    optimizer = torch.optim.SGD(whole.parameters(), lr=1.0)

    class Steep(Known):
        def forward(self, batch: TrainingStep) -> tuple[dict[str, torch.Tensor], dict[str, float]]:
            return {"labeled/a": whole.weight * 8.0}, {}

    step.take(Steep(), optimizer, [TrainingStep({}, {})], toy.training(1, clip_norm=2.0), 0, "cpu", None)
    assert float(whole.weight.detach()) == pytest.approx(-1.0, abs=1e-4)


def test_losses_of_unlabeled_images_are_weighed_as_the_training_says() -> None:
    class Side(Known):
        def forward(self, batch: TrainingStep) -> tuple[dict[str, torch.Tensor], dict[str, float]]:
            return {"labeled/class": 2.0 * self.weight, "unlabeled/class": 8.0 * self.weight}, {}

    gradients = []
    for factors in ([], [[0, 0.25]]):
        whole = Side()
        params = toy.training(1, clip_norm=None, unlabeled_factors=factors)
        losses, _ = step.take(
            whole, torch.optim.SGD(whole.parameters(), 0.0), [TrainingStep({}, {})], params, 1, "cpu", None
        )
        gradients.append(float(whole.weight.grad))
    assert gradients == [10.0, 4.0] and float(losses["unlabeled/class"]) == 2.0
