"""The loop's own arithmetic."""

import copy
from pathlib import Path

import pytest
import torch

from scantling import train
from scantling.methods import supervised
from tests import toy


def test_warm_up_and_milestones() -> None:
    schedule = train.Schedule(warm_up_steps=10, warm_up_factor=0.1, milestones=(20, 30), factor=0.1)
    found = [train.learning_rate_factor(step, schedule) for step in (0, 5, 10, 19, 20, 30)]
    assert found == pytest.approx([0.1, 0.55, 1, 1, 0.1, 0.01])


def test_the_trunk_has_its_own_rate_and_frozen_parameters_none() -> None:
    model = toy.detector("faster_rcnn_lite")
    params = train.Optimizer(name="adamw", learning_rate=1e-3, backbone_factor=0.3)
    optimizer = train.make_optimizer(model, params)
    assert [g["lr"] for g in optimizer.param_groups] == pytest.approx([1e-3, 3e-4])
    held = {id(p) for g in optimizer.param_groups for p in g["params"]}
    assert held == {id(p) for p in model.parameters() if p.requires_grad}
    trunk = {id(p) for n, p in model.named_parameters() if n.startswith("backbone.")}
    assert {id(p) for p in optimizer.param_groups[1]["params"]} <= trunk


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
