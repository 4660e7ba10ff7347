"""A training that was stopped, politely or not, goes on as if nothing had been."""

import copy
import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import torch
from torch import Tensor, nn

from scantling import checkpoint, train
from scantling.data.loader import TrainingStep
from scantling.ema import EmaParams
from scantling.methods import supervised
from scantling.stage import Stopped
from tests import tiny, toy

STEPS = 6


class Polishing(supervised.Method):
    """A toy with everything a method can have: a network of its own, its average at a rate of its own, and a count."""

    ema = EmaParams(decay=0.5, warm_up=1, start="continue")

    def __init__(self, stop_at: int | None = None, by: signal.Signals = signal.SIGTERM):
        super().__init__(supervised.Params(), tiny.CLASSES, None)
        self.seen, self.stop_at, self.by = torch.zeros(2), stop_at, by

    def modules(self, student: nn.Module) -> dict[str, nn.Module]:
        return {"polish": nn.Linear(3, 1), "idle": nn.Linear(2, 2)}

    def step(self, student: nn.Module, teacher: nn.Module | None, batch: TrainingStep) -> Any:
        losses, logged = super().step(student, teacher, batch)
        if batch.step == self.stop_at:
            os.kill(os.getpid(), self.by)
        colors = batch.labeled["labeled"].images.float().mean((2, 3)) / 255
        wanted: Tensor = self.averages["polish"](colors).detach() + self.seen.mean()
        losses["labeled/polish"] = (self.networks["polish"](colors) - 1 - 0.1 * wanted).square().mean()
        self.seen = 0.9 * self.seen + 0.1 * torch.tensor([len(t) for t in batch.labeled["labeled"].targets]).float()
        return losses, logged

    def state_dict(self) -> dict[str, Any]:
        return {"seen": self.seen}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.seen = state["seen"]


def run(folder: Path, method: Polishing, **changes: Any) -> train.Training:
    student = tiny.detector("retinanet")
    return train.run(
        student=student, average=copy.deepcopy(student), labeler=None, method=method, pool=toy.pool(folder),
        views=toy.VIEWS, params=toy.training(STEPS, **changes), seed=2, device="cpu", work=folder / "work", what="toy",
    )  # fmt: skip


def assert_equal(one: train.Training, other: train.Training) -> None:
    for part in ("student", "teacher", "networks", "averages"):
        a, b = getattr(one, part).state_dict(), getattr(other, part).state_dict()
        assert a.keys() == b.keys() and all(torch.equal(a[k], b[k]) for k in a), part
    same = [c for c in one.history if c not in ("images_per_second", "peak_memory_mib")]
    pd.testing.assert_frame_equal(one.history[same], other.history[same])


@pytest.fixture
def whole(tmp_path: Path) -> tuple[train.Training, Polishing]:
    folder = tmp_path / "whole"
    folder.mkdir()
    method = Polishing()
    return run(folder, method), method


@pytest.mark.parametrize(("workers", "by"), [(0, signal.SIGTERM), (1, signal.SIGTERM), (0, signal.SIGINT)])
def test_asked_to_end_it_saves_and_goes_on_with_the_same_bits(
    tmp_path: Path, whole: tuple[train.Training, Polishing], workers: int, by: signal.Signals
) -> None:
    with pytest.raises(Stopped, match=rf"asked to end \({by.name}\) at step 3; the same command goes on from there"):
        run(tmp_path, Polishing(stop_at=2, by=by), checkpoint_every_steps=100, workers=workers)
    assert signal.getsignal(signal.SIGTERM) == signal.SIG_DFL, "what SIGTERM did before, it does again"
    assert signal.getsignal(signal.SIGINT) == signal.default_int_handler
    method = Polishing()
    assert_equal(whole[0], run(tmp_path, method, checkpoint_every_steps=100, workers=workers))
    assert torch.equal(method.seen, whole[1].seen) and method.seen.any()


@pytest.fixture(autouse=True)
def ctrl_c() -> Iterator[None]:
    """As in a terminal, also where the tests were started behind a shell."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


def test_who_ignores_ctrl_c_goes_on_ignoring_it(tmp_path: Path) -> None:
    """As a shell has it for what it starts behind itself."""
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        assert run(tmp_path, Polishing(stop_at=2, by=signal.SIGINT)).history["step"].iloc[-1] >= STEPS - 1
        assert signal.getsignal(signal.SIGINT) == signal.SIG_IGN
    finally:
        signal.signal(signal.SIGINT, before)


def test_a_damaged_last_state_costs_steps_not_bits(
    tmp_path: Path, whole: tuple[train.Training, Polishing], capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(Stopped):
        run(tmp_path, Polishing(stop_at=4), checkpoint_every_steps=2)
    states = sorted((tmp_path / "work").glob("state_*"))
    assert [int(p.name.split("_")[1]) for p in states] == [4, 5]
    states[-1].write_bytes(states[-1].read_bytes()[:-1])
    capsys.readouterr()
    assert_equal(whole[0], run(tmp_path, Polishing(), checkpoint_every_steps=2))
    said = capsys.readouterr().out
    assert "damaged" in said and "resumed at step 4" in said


def test_networks_of_a_method_learn_and_are_averaged_at_their_own_rate(whole: tuple[train.Training, Polishing]) -> None:
    trained = whole[0]
    torch.manual_seed(train.torch_seed(2))
    start = Polishing().modules(nn.Identity())["polish"].weight
    learned, average = trained.networks["polish"].weight, trained.averages["polish"].weight
    assert not torch.equal(start, learned) and not torch.equal(average, learned)
    distance = [float((w - start).norm()) for w in (average, learned)]
    assert 0 < distance[0] < distance[1]
    assert not any(p.requires_grad for p in trained.averages.parameters())


def test_the_state_says_how_many_processes_wrote_it(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(Stopped):
        run(tmp_path, Polishing(stop_at=2))
    saved = checkpoint.load_state(tmp_path / "work", "cpu")
    assert saved is not None and saved["processes"] == 1
    checkpoint.save_state(tmp_path / "work", 3, saved | {"processes": 4})
    for path in (tmp_path / "work").glob("state_*3_*.pt"):
        kept = torch.load(path, weights_only=True)
        if kept["processes"] == 1:
            path.unlink()
    run(tmp_path, Polishing())
    assert "which 4 processes wrote: equal up to rounding" in capsys.readouterr().out
