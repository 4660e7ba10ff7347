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
