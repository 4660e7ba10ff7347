"""How long a training is, how much it takes a step, how fast it goes; and the rule that carries it to other batches."""

from __future__ import annotations

from itertools import pairwise
from typing import Any, Literal

import numpy as np
from pydantic import Field, model_validator

from scantling.data import sampler
from scantling.data.loader import ViewsOn
from scantling.ema import EmaParams
from scantling.optimizer import Optimizer
from scantling.params import Params
from scantling.schedule import Schedule
from scantling.stage import BadInput


class TrainingParams(Params):
    """Lengths in steps of the optimizer, batches in images of all processes together."""

    steps: int = Field(ge=0)
    labeled_per_step: int = Field(gt=0)
    unlabeled_per_step: int = Field(ge=0)
    reference_batch: int | None = Field(
        None, gt=0, description="images a step that steps, rates and decays are given for; null: those of this file"
    )
    accumulate: int = Field(
        1, gt=0, description="parts that each process takes its images of a step in, to save memory"
    )
    sampling: sampler.Sampling = "fixed"
    sampling_groups: int = Field(1, gt=0, description="by_probability: parts of the batch that are drawn by themselves")
    group_by_aspect: bool = False
    optimizer: Optimizer
    schedule: Schedule = Schedule()
    clip_norm: float | None = Field(None, gt=0)
    unlabeled_factors: tuple[tuple[int, float], ...] = Field(
        (), description="(step, factor of the losses of unlabeled images), linear in between; none: 1 throughout"
    )
    ema: EmaParams
    empty_images: bool = Field(
        True, description="labeled images without a box are drawn: that a person found nothing is worth learning"
    )
    min_side_px: int = Field(0, ge=0, description="images with a shorter side are not drawn, labeled or not")
    min_visible: float = Field(0.0, ge=0, le=1, description="area share of a labeled box a view must show to count")
    background_from_iou: float = Field(
        0.0,
        ge=0,
        lt=1,
        description="IoU with a labeled box that background needs; 0: whatever is no object is background",
    )
    precision: Literal["float32", "bfloat16"] = "float32"
    channels_last: bool = True
    compile: bool = Field(False, description="backbone and neck through torch.compile: a slow start, faster steps")
    rehearse: bool = Field(True, description="one step on the largest images before the first, then forgotten")
    workers: int = Field(0, ge=0)
    views_on: ViewsOn = Field("workers", description="who resizes, warps and colors: loader workers or the device")
    checkpoint_every_steps: int = Field(100, gt=0)
    log_every_steps: int = Field(10, gt=0)

    @model_validator(mode="after")
    def _fits(self) -> TrainingParams:
        points = self.unlabeled_factors
        if any(a[0] >= b[0] for a, b in pairwise(points)) or any(factor < 0 for _, factor in points):
            raise ValueError("`unlabeled_factors` are pairs (step, factor of 0 or more) in rising steps")
        if self.sampling == "by_probability" and self.unlabeled_per_step and 2 * self.sampling_groups > self.batch:
            raise ValueError(
                f"`sampling_groups` = {self.sampling_groups}: each group needs a labeled and an unlabeled image, "
                f"and a step has {self.batch} images"
            )
        return self

    def unlabeled_factor(self, step: int) -> float:
        """What the losses of unlabeled images are multiplied by at `step`, beside the method's own weights.

        A ramp at the start stands for the few labels of a teacher that is young (soft_teacher.md section 14.1), one at
        the end for the paper's change of the sampling ratio (section 3.1).
        """
        if not self.unlabeled_factors:
            return 1.0
        steps, factors = zip(*self.unlabeled_factors, strict=True)
        return float(np.interp(step, steps, factors))

    @property
    def batch(self) -> int:
        """Images a step."""
        return self.labeled_per_step + self.unlabeled_per_step

    def scaled(self) -> TrainingParams:
        """The same training with its own batch: what is given for `reference_batch` images a step, carried over.

        With r = batch / reference_batch: learning rate * r; all lengths in steps / r, so that as many images are seen;
        keep rates of the average ^ r, so that it remembers as many images. (Linear scaling of the rate: Goyal 2017,
        section 2.1; the only advice of Soft Teacher's authors, section 3.1. The rate of Adam is scaled alike.)
        """
        if self.reference_batch is None or self.reference_batch == self.batch:
            return self
        r = self.batch / self.reference_batch

        def steps(given: int) -> int:
            return round(given / r)

        def first(given: int) -> int:
            """Step 1 of the average is the one after its copy at step 0, whatever a step holds: it stays."""
            return given if given <= 1 else max(1, steps(given))

        optimizer = self.optimizer.model_copy(update={"learning_rate": self.optimizer.learning_rate * r})
        schedule = self.schedule.model_copy(
            update={
                "warm_up_steps": steps(self.schedule.warm_up_steps),
                "milestones": tuple(steps(m) for m in self.schedule.milestones),
            }
        )
        ema = self.ema.model_copy(
            update={
                "decay": self.ema.decay**r,
                "warm_up": steps(self.ema.warm_up),
                "changes": tuple((first(s), d**r) for s, d in self.ema.changes),
            }
        )
        changed = {"optimizer": optimizer, "schedule": schedule, "ema": ema, "steps": steps(self.steps)}
        changed["unlabeled_factors"] = tuple((steps(s), factor) for s, factor in self.unlabeled_factors)
        return self.model_copy(update=changed | {"reference_batch": self.batch})

    def sentence(self, *, unlabeled: bool = True) -> str:
        """What a person wants to see at the start, after the scaling rule was applied.

        unlabeled: whether the method looks at unlabeled images and there are any.
        """
        done, own = self.scaled(), self.optimizer.learning_rate
        more = f" + {done.unlabeled_per_step} unlabeled" if unlabeled and done.unlabeled_per_step else ""
        text = (
            f"{done.steps} steps of {done.labeled_per_step} labeled{more} images, "
            f"learning rate {done.optimizer.learning_rate:g}, keep rate {done.ema.decay:g}"
        )
        if done is not self:
            text += f" (for {self.reference_batch} images: {self.steps} steps, {own:g}, {self.ema.decay:g})"
        return text

    def summary(self) -> dict[str, Any]:
        """What the scaling rule decides, after it was applied: for the log and the header of the weights."""
        done = self.scaled()
        return {
            "batch": done.batch,
            "steps": done.steps,
            "learning_rate": done.optimizer.learning_rate,
            "warm_up_steps": done.schedule.warm_up_steps,
            "milestones": list(done.schedule.milestones),
            "ema_decay": done.ema.decay,
            "ema_warm_up": done.ema.warm_up,
            "ema_changes": [list(change) for change in done.ema.changes],
        }


def check_parts(params: TrainingParams, processes: int, *, unlabeled: bool) -> None:
    """Every process must have an image of each kind in each part of a step, or it would wait for the others forever."""
    parts = processes * params.accumulate
    sides = {"labeled_per_step": params.labeled_per_step}
    if unlabeled and params.unlabeled_per_step:
        sides["unlabeled_per_step"] = params.unlabeled_per_step
        if params.sampling == "by_probability":
            sides = {"sampling_groups": params.sampling_groups}
    for name, images in sides.items():
        if images < parts:
            raise BadInput(
                f"training: {name} = {images}, but a step is dealt to {processes} processes in {params.accumulate} "
                f"parts each: raise {name} to {parts}, lower `accumulate`, or start fewer processes"
            )
