"""The moving average against the published updates and torch's own."""

import json
from pathlib import Path
from typing import Literal

import numpy as np
import pytest
import torch
from torch import nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from scantling import ema

GOLDEN = Path(__file__).parent / "golden" / "soft_teacher"


class Tiny(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.fc, self.bn = nn.Linear(3, 2), nn.BatchNorm1d(2)


def test_published_schedule() -> None:
    case = json.loads((GOLDEN / "ema_momentum_schedule.json").read_text())
    found = [ema.decay_at(i, case["momentum"], case["warm_up"]) for i in case["iters"]]
    assert found == pytest.approx(case["value"])


@pytest.mark.parametrize(
    ("name", "rate", "buffers"),
    [("ema_soft_teacher", "momentum", "keep"), ("ema_unbiased_teacher", "keep_rate", "average")],
)
def test_published_updates(name: str, rate: str, buffers: Literal["keep", "average"]) -> None:
    with np.load(GOLDEN / f"{name}.npz") as file:
        case = {k: torch.from_numpy(np.asarray(file[k])) for k in file.files}

    def state(prefix: str) -> dict[str, torch.Tensor]:
        return {k.removeprefix(prefix + "."): v for k, v in case.items() if k.startswith(prefix + ".")}

    teacher, student = Tiny(), Tiny()
    teacher.load_state_dict(state("teacher_init"))
    for i, decay in enumerate(case[rate].tolist()):
        student.load_state_dict(state(f"student_{i}"))
        ema.update(teacher, student, decay, buffers)
        for key, value in state(f"teacher_after_{i}").items():
            torch.testing.assert_close(teacher.state_dict()[key], value, rtol=1e-4, atol=1e-4, msg=key)


@pytest.mark.parametrize(("value", "after"), [(15, 14), (16, 16)])
def test_an_integer_buffer_is_averaged_in_float32_and_truncated(value: int, after: int) -> None:
    """15 * 0.0004 + 15 * 0.9996 is below 15 in float32 and not in float64; the published code has float32."""
    teacher, student = Tiny(), Tiny()
    for one in (teacher, student):
        one.bn.num_batches_tracked.fill_(value)
    ema.update(teacher, student, 0.9996, "average")
    assert teacher.bn.num_batches_tracked.item() == after


def test_parameters_as_torch_averages_them_and_buffers_copied() -> None:
    torch.manual_seed(0)
    student, teacher = Tiny(), Tiny()
    teacher.load_state_dict(student.state_dict())
    theirs = AveragedModel(student, multi_avg_fn=get_ema_multi_avg_fn(0.9))
    theirs.update_parameters(student)  # its first update is a copy
    for _ in range(3):
        with torch.no_grad():
            for p in student.parameters():
                p.add_(torch.randn_like(p))
        student.bn.running_mean.add_(1)
        theirs.update_parameters(student)
        ema.update(teacher, student, 0.9)
    for ours, other in zip(teacher.parameters(), theirs.module.parameters(), strict=True):
        torch.testing.assert_close(ours, other)
    assert torch.equal(teacher.bn.running_mean, student.bn.running_mean)


def golden(name: str) -> dict[str, np.ndarray]:
    with np.load(GOLDEN.parent / name) as file:
        return {k: np.asarray(file[k]) for k in file.files}


def test_co_student_follows_before_each_step() -> None:
    case = golden("co_student/ema_first_steps.npz")
    params = ema.EmaParams(decay=0.999)
    student, teacher = nn.ParameterList([torch.zeros(3)]), nn.ParameterList([torch.zeros(3)])
    for step, fresh in enumerate(case["in_student_params_before_step"]):
        assert params.at(step) == pytest.approx(case["out_momentum"][step])
        student[0].data.copy_(torch.from_numpy(fresh))
        ema.update(teacher, student, params.at(step))
        expected = torch.from_numpy(case["out_teacher_params_after_update"][step]).float()
        torch.testing.assert_close(teacher[0].data, expected, rtol=1e-4, atol=1e-5)


def test_polishing_teacher_is_frozen_after_the_first_milestone() -> None:
    case = golden("polishing_teacher/ema_momentum.npz")
    first = int(case["first_lr_step"])
    detector = ema.EmaParams(decay=0.999, changes=((first + 1, 1.0),))
    polish = ema.EmaParams(decay=0.99, warm_up=100)
    for step, expected, of_polish in zip(
        case["iters"], case["detector_momentum"], case["polish_momentum"], strict=True
    ):
        assert detector.at(int(step)) == pytest.approx(1.0 if np.isnan(expected) else expected)
        assert polish.at(int(step)) == pytest.approx(of_polish)
    assert (detector.at(first), detector.at(first + 1), detector.at(first + 5)) == (0.999, 1.0, 1.0)


def test_a_rate_of_one_leaves_everything_alone() -> None:
    teacher, student = Tiny(), Tiny()
    student.bn.running_mean.fill_(3.0)
    before = {k: v.clone() for k, v in teacher.state_dict().items()}
    ema.update(teacher, student, 1.0)
    assert all(torch.equal(v, before[k]) for k, v in teacher.state_dict().items())


def test_changes_must_rise_and_be_rates() -> None:
    for changes in (((5, 0.9), (5, 1.0)), ((5, 1.5),)):
        with pytest.raises(ValueError, match="in rising steps"):
            ema.EmaParams(decay=0.9, changes=changes)
