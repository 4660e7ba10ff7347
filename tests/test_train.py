"""The loop's own arithmetic."""

import copy
from pathlib import Path

import pytest
import torch

from scantling import log, methods, train
from scantling.methods import MethodParams, supervised
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


def test_a_teacher_that_labels_nothing_is_told_of(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(log, "_warned", [])
    file = toy.ROOT / "params/methods/unbiased_teacher.yaml"
    method = methods.create(MethodParams.load(file).model_copy(update={"pseudo_score": 1.0}), ("square", "bar"), None)
    student = toy.detector("faster_rcnn_lite")
    average = copy.deepcopy(student)
    trained = train.run(
        student=student, average=average, labeler=average, method=method, pool=toy.pool(tmp_path), views=toy.VIEWS,
        params=toy.training(2), seed=1, device="cpu", work=tmp_path / "work", what="toy",
    )  # fmt: skip
    (said,) = log.warned()
    assert "up to step 2: 0.000 boxes/image" in said and "labeled images have 1.50" in said and "pseudo_score" in said
    history = trained.history
    sides = [history[[c for c in history if c.startswith(side)]].sum(axis=1) for side in ("unlabeled/", "labeled/")]
    assert history["unlabeled_over_labeled"].tolist() == pytest.approx((sides[0] / sides[1]).tolist())
