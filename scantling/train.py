"""THE loop, one for burn-in and every method: views -> losses -> finite check -> optimizer -> EMA -> log -> checkpoint.

Everything a step draws is seeded by (seed, step), so a run that was killed goes on with the same bits on the CPU.
"""

from __future__ import annotations

import json
import math
import resource
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import pandas as pd
import torch
from pydantic import Field
from torch import Tensor, nn

from scantling import checkpoint, ema, log
from scantling.augment.views import ViewParams, torch_seed
from scantling.data import loader, sampler
from scantling.data.loader import Pool, TrainingStep
from scantling.params import Params


class Optimizer(Params):
    name: Literal["sgd", "adam", "adamw"]
    learning_rate: float = Field(gt=0)
    backbone_factor: float = Field(1.0, ge=0, description="learning rate of the backbone over the rest's")
    momentum: float = Field(0.9, ge=0, lt=1, description="sgd only")
    weight_decay: float = Field(0.0, ge=0)


class Schedule(Params):
    warm_up_steps: int = Field(0, ge=0)
    warm_up_factor: float = Field(0.001, gt=0, le=1, description="of the learning rate at step 0, linear from there")
    milestones: tuple[int, ...] = Field((), description="steps at which the rate is multiplied by `factor`")
    factor: float = Field(0.1, gt=0, le=1)


class EmaParams(Params):
    decay: float = Field(ge=0, lt=1, description="keep rate of the teacher a step")
    warm_up: int = Field(0, ge=0)
    start: Literal["copy", "continue"] = Field(
        "copy", description="copy the student at step 0, or go on from the start"
    )


class TrainingParams(Params):
    """How long, how much a step, how fast. Lengths in steps, batches in images."""

    steps: int = Field(ge=0)
    labeled_per_step: int = Field(gt=0)
    unlabeled_per_step: int = Field(ge=0)
    sampling: sampler.Sampling = "fixed"
    group_by_aspect: bool = False
    optimizer: Optimizer
    schedule: Schedule = Schedule()
    clip_norm: float | None = Field(None, gt=0)
    ema: EmaParams
    min_visible: float = Field(0.0, ge=0, le=1, description="area share of a labeled box a view must show to count")
    precision: Literal["float32", "bfloat16"] = "float32"
    channels_last: bool = True
    workers: int = Field(0, ge=0)
    views_on: loader.ViewsOn = Field(
        "workers", description="who resizes, warps and colors: loader workers or the device"
    )
    checkpoint_every_steps: int = Field(100, gt=0)
    log_every_steps: int = Field(10, gt=0)


class NotFinite(RuntimeError):
    """A loss became NaN or infinite; the text names it and the dump."""


@dataclass
class Training:
    """What a finished training hands on."""

    student: nn.Module
    teacher: nn.Module  # EMA of the student
    history: pd.DataFrame


def learning_rate_factor(step: int, schedule: Schedule) -> float:
    """Linear warm-up to 1, then a product of `factor` for each milestone passed."""
    warm = 1.0
    if step < schedule.warm_up_steps:
        warm = schedule.warm_up_factor + (1 - schedule.warm_up_factor) * step / schedule.warm_up_steps
    return warm * schedule.factor ** sum(step >= m for m in schedule.milestones)


def make_optimizer(model: nn.Module, params: Optimizer) -> torch.optim.Optimizer:
    """Two groups: the pretrained trunk (parameters named `backbone.`) and the rest; frozen ones are left out."""
    trainable = [(n, p) for n, p in model.named_parameters() if p.requires_grad]
    trunk = [p for n, p in trainable if n.startswith("backbone.")]
    rest = [p for n, p in trainable if not n.startswith("backbone.")]
    rate = params.learning_rate
    groups = [
        g for g in ({"params": rest, "lr": rate}, {"params": trunk, "lr": rate * params.backbone_factor}) if g["params"]
    ]
    match params.name:
        case "sgd":
            return torch.optim.SGD(groups, momentum=params.momentum, weight_decay=params.weight_decay)
        case "adam":
            return torch.optim.Adam(groups, weight_decay=params.weight_decay)
        case "adamw":
            return torch.optim.AdamW(groups, weight_decay=params.weight_decay)


def run(
    *,
    student: nn.Module,
    average: nn.Module,
    labeler: nn.Module | None,
    method: Any,
    pool: Pool,
    views: ViewParams,
    params: TrainingParams,
    seed: int,
    device: str,
    work: Path,
    what: str,
) -> Training:
    """Train `student`; `average` becomes its EMA. `labeler` makes pseudo labels: `average` itself, another, or None.

    `work` keeps the rolling state and belongs to exactly these inputs; it is read at the start if a killed run left it.
    """
    torch.use_deterministic_algorithms(device == "cpu")
    torch.utils.deterministic.fill_uninitialized_memory = False  # a debugging aid that costs a tenth of a step
    memory_format = torch.channels_last if params.channels_last else torch.contiguous_format
    student.to(device, memory_format=memory_format).train()
    average.to(device, memory_format=memory_format).eval().requires_grad_(False)
    if labeler is not None and labeler is not average:
        labeler.to(device, memory_format=memory_format).eval().requires_grad_(False)
    optimizer = make_optimizer(student, params.optimizer)
    rates = [group["lr"] for group in optimizer.param_groups]
    first, rows = _resume(work, student, average, optimizer, device)
    progress = log.Progress(what, params.steps, "steps", done=first)
    started, images_seen = time.monotonic(), 0

    for step, batch in enumerate(_batches(pool, views, params, method, seed, first), start=first):
        torch.manual_seed(torch_seed(seed, step))
        batch = _to(batch, device)
        images_seen += _count(batch)
        if step > 0 or params.ema.start == "copy":  # before the forward pass, as published
            ema.update(average, student, _decay(step, params.ema))
        factor = learning_rate_factor(step, params.schedule)
        for group, rate in zip(optimizer.param_groups, rates, strict=True):
            group["lr"] = rate * factor
        with torch.autocast(device, torch.bfloat16, enabled=params.precision == "bfloat16"):
            losses, logged = method.step(student, labeler, batch)
        total = torch.stack([loss.float() for loss in losses.values()]).sum()
        if not math.isfinite(total.item()):
            raise NotFinite(_dump(work, step, losses, batch))
        optimizer.zero_grad(set_to_none=True)
        total.backward()
        if params.clip_norm is not None:
            nn.utils.clip_grad_norm_(student.parameters(), params.clip_norm)
        optimizer.step()

        done = step + 1
        if done % params.log_every_steps == 0 or done == params.steps:
            values = {name: loss.item() for name, loss in losses.items()} | logged
            speed = images_seen / (time.monotonic() - started)
            rows.append({"step": done, "learning_rate": params.optimizer.learning_rate * factor, "loss": total.item()})
            rows[-1] |= values | {"images_per_second": round(speed, 2), "peak_memory_mib": _peak_mib(device)}
        boxes = f" pseudo boxes {logged['pseudo_boxes']:.1f}/image" if "pseudo_boxes" in logged else ""
        progress.advance(1, f"loss {total.item():.3f}{boxes}")
        if done % params.checkpoint_every_steps == 0 and done < params.steps:
            _save(work, done, student, average, optimizer, rows)

    if params.steps:  # the last optimizer step belongs to the average as well
        ema.update(average, student, _decay(params.steps, params.ema))
    return Training(student, average, pd.DataFrame(rows, columns=_columns(rows)))


def _decay(step: int, params: EmaParams) -> float:
    return params.decay if params.start == "continue" else ema.decay_at(step, params.decay, params.warm_up)


def _batches(
    pool: Pool, views: ViewParams, params: TrainingParams, method: Any, seed: int, first: int
) -> Iterator[TrainingStep]:
    unlabeled = pool.unlabeled if method.unlabeled_views else []
    stream = sampler.steps(
        pool.labeled,
        unlabeled,
        labeled_per_step=params.labeled_per_step,
        unlabeled_per_step=params.unlabeled_per_step if unlabeled else 0,
        seed=seed,
        sampling=params.sampling,
        wide=pool.wide if params.group_by_aspect else None,
    )
    return loader.training_steps(
        pool,
        views,
        labeled_views=method.labeled_views,
        unlabeled_views=method.unlabeled_views,
        stream=stream,
        first=first,
        last=params.steps,
        seed=seed,
        workers=params.workers,
        min_visible=params.min_visible,
        views_on=params.views_on,
    )


def _to(batch: TrainingStep, device: str) -> TrainingStep:
    return TrainingStep(*({k: v.to(device) for k, v in side.items()} for side in (batch.labeled, batch.unlabeled)))


def _count(batch: TrainingStep) -> int:
    return sum(len(next(iter(side.values()))) for side in (batch.labeled, batch.unlabeled) if side)


def _peak_mib(device: str) -> float:
    if device.startswith("cuda"):
        return round(torch.cuda.max_memory_allocated() / 2**20, 1)
    return round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024, 1)


def _columns(rows: list[dict[str, float]]) -> list[str]:
    """Columns in order of appearance; `step` is there even when nothing was logged."""
    return list(dict.fromkeys(["step", *(name for row in rows for name in row)]))


def _save(
    work: Path,
    step: int,
    student: nn.Module,
    average: nn.Module,
    optimizer: torch.optim.Optimizer,
    rows: list[dict[str, float]],
) -> None:
    state = {"student": student.state_dict(), "average": average.state_dict(), "optimizer": optimizer.state_dict()}
    checkpoint.save_state(work / "last.pt", {"step": step, "rows": rows, **state})


def _resume(
    work: Path, student: nn.Module, average: nn.Module, optimizer: torch.optim.Optimizer, device: str
) -> tuple[int, list[dict[str, float]]]:
    state = checkpoint.load_state(work / "last.pt", device)
    if state is None:
        return 0, []
    student.load_state_dict(state["student"])
    average.load_state_dict(state["average"])
    optimizer.load_state_dict(state["optimizer"])
    log.line(f"resumed at step {state['step']} from {work / 'last.pt'}")
    return state["step"], state["rows"]


def _dump(work: Path, step: int, losses: dict[str, Tensor], batch: TrainingStep) -> str:
    bad = [name for name, loss in losses.items() if not math.isfinite(loss.item())] or ["sum of the losses"]
    work.mkdir(parents=True, exist_ok=True)
    path = work / f"not_finite_step_{step}.json"
    seen = {
        f"{side}/{name}": [
            {"image_id": i, "size": list(size), "boxes": t.boxes.tolist(), "labels": t.labels.tolist()}
            for i, size, t in zip(view.image_ids, view.sizes, view.targets, strict=True)
        ]
        for side, group in (("labeled", batch.labeled), ("unlabeled", batch.unlabeled))
        for name, view in group.items()
    }
    values = {name: loss.item() for name, loss in losses.items()}
    path.write_text(
        json.dumps({"step": step, "losses": {k: str(v) for k, v in values.items()}, "batch": seen}, indent=1)
    )
    return (
        f"loss {', '.join(bad)} is not finite at step {step}; the batch is in {path}; "
        "lower optimizer.learning_rate, set clip_norm, or look at the boxes of that batch"
    )
