"""The exponential moving average of a student: the teacher of every mean-teacher method."""

from __future__ import annotations

from typing import Literal

import torch
from torch import nn


def decay_at(step: int, decay: float, warm_up: int = 0) -> float:
    """Keep rate of the teacher at `step` (0-based): min(decay, 1 - (1 + warm_up) / (step + 1 + warm_up)).

    Soft Teacher code, section 3: with warm_up 0 the first update is a plain copy.
    """
    return min(decay, 1.0 - (1.0 + warm_up) / (step + 1.0 + warm_up))


@torch.no_grad()
def update(
    teacher: nn.Module, student: nn.Module, decay: float, buffers: Literal["copy", "keep", "average"] = "copy"
) -> None:
    """teacher <- decay * teacher + (1 - decay) * student over parameters.

    Buffers (statistics of a normalisation): `copy` takes the student's, right for any network; `keep` leaves the
    teacher's, as Soft Teacher does with its frozen ones; `average` treats them like parameters and truncates integer
    ones, as Unbiased Teacher does. With frozen statistics all three are the same.
    """
    kept, fresh = list(teacher.parameters()), list(student.parameters())
    if decay == 0.0:
        torch._foreach_copy_(kept, fresh)
    else:
        torch._foreach_lerp_(kept, fresh, 1.0 - decay)
    if buffers == "keep":
        return
    for old, new in zip(teacher.buffers(), student.buffers(), strict=True):
        if buffers == "average":
            old.copy_(old.double() * decay + new.double() * (1.0 - decay))
        else:
            old.copy_(new)
