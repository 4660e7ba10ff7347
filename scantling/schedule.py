"""The learning rate as a function of the step: linear warm-up, then a constant for each stretch between milestones."""

from __future__ import annotations

from itertools import pairwise

from pydantic import Field, model_validator

from scantling.params import Params


class Schedule(Params):
    """Without milestones the rate is constant after the warm-up."""

    warm_up_steps: int = Field(0, ge=0)
    warm_up_factor: float = Field(0.001, gt=0, le=1, description="of the learning rate at step 0, linear from there")
    milestones: tuple[int, ...] = Field((), description="steps, rising")
    factor: float = Field(0.1, gt=0, le=1, description="the rate is multiplied by it at each milestone")
    factors: tuple[float, ...] | None = Field(
        None, description="instead of `factor`: of the learning rate before the first milestone, after it, ..."
    )

    @model_validator(mode="after")
    def _fits(self) -> Schedule:
        if any(a >= b for a, b in pairwise(self.milestones)):
            raise ValueError("`milestones` must rise")
        if self.factors is not None and len(self.factors) != len(self.milestones) + 1:
            raise ValueError(f"`factors` has {len(self.factors)} values for {len(self.milestones) + 1} stretches")
        if self.factors is not None and min(self.factors) < 0:
            raise ValueError("`factors` must not be negative")
        return self


def learning_rate_factor(step: int, schedule: Schedule) -> float:
    """What the learning rate is multiplied by at `step`, from 0.

    Linear warm-up to 1 (Soft Teacher section 3.1) times `factor` for each milestone passed, or times the factor of the
    stretch (the two-stage schedule of Unbiased Teacher section 5, whose factors do not multiply each other).
    """
    warm, passed = 1.0, sum(step >= m for m in schedule.milestones)
    if step < schedule.warm_up_steps:
        warm = schedule.warm_up_factor + (1 - schedule.warm_up_factor) * step / schedule.warm_up_steps
    return warm * (schedule.factor**passed if schedule.factors is None else schedule.factors[passed])
