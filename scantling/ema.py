"""The exponential moving average of a student: the teacher of every mean-teacher method."""

from __future__ import annotations

from itertools import pairwise
from typing import Literal

import torch
from pydantic import Field, model_validator
from torch import nn

from scantling.params import Params

Buffers = Literal["copy", "keep", "average"]


class EmaParams(Params):
    decay: float = Field(ge=0, lt=1, description="keep rate of the teacher a step")
    warm_up: int = Field(0, ge=0)
    start: Literal["copy", "continue"] = Field(
        "copy", description="copy the student at step 0, or go on from the start"
    )
    changes: tuple[tuple[int, float], ...] = Field(
        (), description="(step, keep rate from there on) in rising steps; a rate of 1 leaves the teacher as it is"
    )
    buffers: Buffers = Field("copy", description="statistics of a normalization: see `update`")

    @model_validator(mode="after")
    def _fits(self) -> EmaParams:
        if any(a[0] >= b[0] for a, b in pairwise(self.changes)) or any(not 0 <= d <= 1 for _, d in self.changes):
            raise ValueError("`changes` are pairs (step, keep rate 0..1) in rising steps")
        return self

    def at(self, step: int) -> float:
        """Keep rate at `step`, from 0."""
        for first, decay in reversed(self.changes):
            if step >= first:
                return decay
        return self.decay if self.start == "continue" else decay_at(step, self.decay, self.warm_up)


def decay_at(step: int, decay: float, warm_up: int = 0) -> float:
    """Keep rate of the teacher at `step` (0-based): min(decay, 1 - (1 + warm_up) / (step + 1 + warm_up)).

    Soft Teacher code, section 3: with warm_up 0 the first update is a plain copy.
    """
    return min(decay, 1.0 - (1.0 + warm_up) / (step + 1.0 + warm_up))


@torch.no_grad()
def update(teacher: nn.Module, student: nn.Module, decay: float, buffers: Buffers = "copy") -> None:
    """teacher <- decay * teacher + (1 - decay) * student over parameters; a decay of 1 changes nothing.

    Buffers (statistics of a normalization): `copy` takes the student's, right for any network; `keep` leaves the
    teacher's, as Soft Teacher does with its frozen ones; `average` treats them like parameters and truncates integer
    ones, as Unbiased Teacher does. With frozen statistics all three are the same.
    """
    kept, fresh = list(teacher.parameters()), list(student.parameters())
    if decay == 1.0 or not kept:
        return
    if decay == 0.0:
        torch._foreach_copy_(kept, fresh)
    else:
        torch._foreach_lerp_(kept, fresh, 1.0 - decay)
    if buffers == "keep":
        return
    for old, new in zip(teacher.buffers(), student.buffers(), strict=True):
        if buffers == "average":
            old.copy_(new * (1.0 - decay) + old * decay)  # in float32: what is truncated depends on it
        else:
            old.copy_(new)
