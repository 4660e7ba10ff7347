"""The loop's own arithmetic."""

import copy
from pathlib import Path

import pytest
import torch

from scantling import train
from scantling.methods import supervised
from tests import toy


def run(folder: Path, steps: int, **changes: object) -> tuple[train.Training, torch.nn.Module]:
    student = toy.detector("faster_rcnn_lite")
    start = copy.deepcopy(student)
    trained = train.run(
        student=student, average=copy.deepcopy(student), labeler=None,
        method=supervised.Method(supervised.Params(), ("square", "bar"), None),
        pool=toy.pool(folder), views=toy.VIEWS, params=toy.training(steps, **changes), seed=1, device="cpu",
        work=folder / "work", what="toy",
    )  # fmt: skip
    return trained, start


def test_no_step_leaves_the_weights_alone(tmp_path: Path) -> None:
    trained, start = run(tmp_path, 0)
    for model in (trained.student, trained.teacher):
        assert all(
            torch.equal(a, b) for a, b in zip(model.state_dict().values(), start.state_dict().values(), strict=True)
        )
    assert trained.history.columns.tolist() == ["step"]


def test_history_holds_every_term_and_the_average_lags_behind(tmp_path: Path) -> None:
    trained, start = run(tmp_path, 3, ema={"decay": 0.9, "start": "continue"})
    history = trained.history
    assert history["step"].tolist() == [1, 2, 3]
    for name in ("loss", "learning_rate", "labeled/class", "labeled/rpn_box", "images_per_second", "peak_memory_mib"):
        assert history[name].notna().all(), name
    terms = history[[c for c in history if c.startswith("labeled/")]].sum(axis=1)
    assert terms.tolist() == pytest.approx(history["loss"].tolist(), rel=1e-5)

    def distance(a: torch.nn.Module, b: torch.nn.Module) -> float:
        return sum(float((x - y).norm()) for x, y in zip(a.parameters(), b.parameters(), strict=True))

    assert 0 < distance(trained.teacher, start) < distance(trained.student, start)


def test_workers_change_nothing(tmp_path: Path) -> None:
    alone, _ = run(tmp_path, 2)
    helped, _ = run(tmp_path, 2, workers=2)
    for a, b in zip(alone.student.state_dict().values(), helped.student.state_dict().values(), strict=True):
        assert torch.equal(a, b)
