"""THE loop, one for burn-in and every method: views -> losses -> finite check -> optimizer -> EMA -> log -> checkpoint.

Everything a step draws is seeded by (seed, step), so a run that was killed goes on with the same bits on the CPU. With
several processes (`distributed`) each takes its slice of every step; with `accumulate` it takes it in parts.
"""

from __future__ import annotations

import copy
import resource
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from itertools import chain, islice, repeat
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from torch import Tensor, nn

from scantling import compiling, distributed, ema, guards, log, recipe, rehearsal, step
from scantling.augment.views import ViewParams, torch_seed
from scantling.data import loader, sampler
from scantling.data.loader import Pool, TrainingStep
from scantling.finite import FiniteCheck, NotFinite
from scantling.optimizer import make_optimizer
from scantling.recipe import TrainingParams
from scantling.resume import Interrupt, State
from scantling.schedule import learning_rate_factor

__all__ = ["NotFinite", "Training", "TrainingParams", "run"]


@dataclass
class Training:
    """What a finished training hands on."""

    student: nn.Module
    teacher: nn.Module  # EMA of the student
    history: pd.DataFrame
    networks: nn.Module  # what the method trained beside the student (nn.ModuleDict, mostly empty)
    averages: nn.Module  # EMA of these
    aids: dict[str, Any]  # what the method found out beside the weights


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
    count = distributed.world()
    unlabeled = bool(method.unlabeled_views and pool.unlabeled)
    told = params.sentence(unlabeled=unlabeled)
    log.line(f"{what}: {told}; {count} process{'es' if count > 1 else ''} on {device}")
    params = params.scaled().model_copy(update={"workers": loader.workers(params.workers)})
    recipe.check_parts(params, count, unlabeled=unlabeled)
    _place(student, average, labeler, params, device)
    torch.manual_seed(torch_seed(seed))
    method.networks = nn.ModuleDict(method.modules(student)).to(device).train()
    method.averages = copy.deepcopy(method.networks).eval().requires_grad_(False)
    state = State(student, average, make_optimizer(student, params.optimizer, method.networks), method)
    rates = [group["lr"] for group in state.optimizer.param_groups]
    whole = distributed.wrap(step.MethodStep(method, student, labeler))
    if params.rehearse and params.steps and (pool.labeled or pool.unlabeled):
        _rehearse(state, whole, pool, views, params, seed, device)
    state.load(work, device)
    method.record.of(params.steps, params.labeled_per_step * len(method.labeled_views) + params.unlabeled_per_step)

    guard = guards.Guard(method, pool.boxes_per_labeled(), device)
    check = FiniteCheck(work, 1 if torch.device(device).type == "cpu" else params.log_every_steps, seed)
    progress = log.Progress(what, params.steps, "steps", done=state.step)
    started, images = time.monotonic(), 0
    batches = _remaining(state, pool, views, params, seed)
    with Interrupt() as interrupt:
        for now in range(state.step, params.steps):
            _follow(state, params, now)  # before the forward pass, as published
            factor = learning_rate_factor(now, params.schedule)
            for group, rate in zip(state.optimizer.param_groups, rates, strict=True):
                group["lr"] = rate * factor
            parts = list(islice(batches, params.accumulate))
            method.record.at(now + 1)
            losses, logged = step.take(whole, state.optimizer, parts, params, seed, device, check)
            images += sum(map(len, parts)) * count
            state.step = done = now + 1

            guard.see(done, logged, last=done == params.steps)
            if done % params.log_every_steps == 0 or done == params.steps:
                check.look()
                row = {"step": done, "learning_rate": params.optimizer.learning_rate * factor}
                speed = images / (time.monotonic() - started)
                row |= _common(losses, logged) | {"images_per_second": round(speed, 2)}
                state.rows.append(row | {"peak_memory_mib": _peak_mib(device)})
            progress.advance(1, _text(state.rows[-1] if state.rows else {}, logged))
            if done % params.checkpoint_every_steps == 0 and done < params.steps:
                check.look()
                state.save(work)
            if done < params.steps:
                interrupt.look(state, work)

    if params.steps:  # the last optimizer step belongs to the average as well
        _follow(state, params, params.steps)
    history = pd.DataFrame(state.rows, columns=_columns(state.rows))
    aids = method.aids(pool, params.steps)
    return Training(student, average, history, method.networks, method.averages, aids)


def _place(
    student: nn.Module, average: nn.Module, labeler: nn.Module | None, params: TrainingParams, device: str
) -> None:
    """Everything on its device; what learns in training mode, what labels in evaluation mode."""
    on_cpu = torch.device(device).type == "cpu"
    torch.use_deterministic_algorithms(on_cpu)
    torch.utils.deterministic.fill_uninitialized_memory = False  # a debugging aid that costs a tenth of a step
    memory_format = torch.channels_last if params.channels_last else torch.contiguous_format
    student.to(device, memory_format=memory_format).train()
    for model in (average, labeler):
        if model is not None:
            model.to(device, memory_format=memory_format).eval().requires_grad_(False)
    for model in (student, labeler):
        if params.compile and model is not None:
            compiling.compile_parts(model, device)


def _follow(state: State, params: TrainingParams, step: int) -> None:
    """The averages take in what the optimizer steps before `step` did."""
    if step == 0 and params.ema.start == "continue":
        return
    ema.update(state.average, state.student, params.ema.at(step), params.ema.buffers)
    own = state.method.ema or params.ema
    ema.update(state.method.averages, state.method.networks, own.at(step), own.buffers)


def _rehearse(
    state: State,
    whole: Callable[..., Any],
    pool: Pool,
    views: ViewParams,
    params: TrainingParams,
    seed: int,
    device: str,
) -> None:
    """The first and the last step on the largest images: a method may do more in its later phases."""
    taken = pool if state.method.unlabeled_views else replace(pool, unlabeled=[])
    heaviest = rehearsal.largest_images(taken, views, params)
    largest = rehearsal.largest_views(views)
    alone = params.model_copy(update={"workers": 0})
    batches = list(_batches(iter(heaviest), pool, largest, alone, state.method, seed, 0, len(heaviest)))

    def steps() -> None:
        for number in sorted({0, params.steps - 1}):
            for first in range(0, len(batches), params.accumulate):
                parts = [replace(b, step=number) for b in batches[first : first + params.accumulate]]
                step.take(whole, state.optimizer, parts, params, seed, device, None)

    rehearsal.rehearse(state, steps, f"a step of {params.batch} images of the largest size", device)


def _remaining(
    state: State, pool: Pool, views: ViewParams, params: TrainingParams, seed: int
) -> Iterator[TrainingStep]:
    """The batches from `state.step` on. Where a method draws anew on the way, each stretch has a stream of its own."""
    method, now = state.method, state.step
    every = method.redraw_every or max(params.steps, 1)
    while now < params.steps:
        start = now - now % every
        if now == start or state.drawn is None:
            state.drawn = [list(ids) for ids in method.drawn(pool, start, params.steps)]
        labeled, unlabeled = state.drawn
        stream = sampler.steps(
            labeled,
            unlabeled if method.unlabeled_views else [],
            labeled_per_step=params.labeled_per_step,
            unlabeled_per_step=params.unlabeled_per_step if method.unlabeled_views and unlabeled else 0,
            seed=torch_seed(seed, start) if start else seed,
            sampling=params.sampling,
            groups=params.sampling_groups,
            wide=pool.wide() if params.group_by_aspect else None,
        )
        whole = chain(repeat(sampler.StepImages([], []), start), stream)  # steps are counted from the beginning
        end = min(start + every, params.steps)
        yield from _batches(whole, pool, views, params, method, seed, now, end)
        now = end


def _batches(
    stream: Iterator[sampler.StepImages],
    pool: Pool,
    views: ViewParams,
    params: TrainingParams,
    method: Any,
    seed: int,
    first: int,
    last: int,
) -> Iterator[TrainingStep]:
    return loader.training_steps(
        pool,
        views,
        labeled_views=method.labeled_views,
        unlabeled_views=method.unlabeled_views,
        stream=stream,
        first=first,
        last=last,
        seed=seed,
        workers=params.workers,
        min_visible=params.min_visible,
        background_from_iou=params.background_from_iou,
        views_on=params.views_on,
        accumulate=params.accumulate,
        rank=distributed.rank(),
        world=distributed.world(),
    )


def _common(losses: dict[str, Tensor], logged: dict[str, float]) -> dict[str, float]:
    """`loss` and each term of it, how the unlabeled ones relate to the labeled, then the rest: of all processes."""
    values = torch.stack([loss.float() for loss in losses.values()])
    others = torch.tensor([float(v) for v in logged.values()], device=values.device)
    found = distributed.mean(torch.cat([values.sum()[None], values, others])).tolist()
    named = dict(zip(["loss", *losses, *logged], found, strict=True))
    parts = {side: [named[n] for n in losses if n.startswith(side)] for side in ("labeled/", "unlabeled/")}
    if all(parts.values()):
        named["unlabeled_over_labeled"] = sum(parts["unlabeled/"]) / max(sum(parts["labeled/"]), 1e-12)
    return named


def _text(row: dict[str, float], logged: dict[str, float]) -> str:
    """What is worth seeing of the last logged row and of this step."""
    forms = {"loss": "loss {:.3f}", "unlabeled_over_labeled": "unlabeled/labeled {:.2f}"}
    shown = [form.format(row[name]) for name, form in forms.items() if name in row]
    if "pseudo_boxes" in logged:
        shown.append(f"pseudo boxes {logged['pseudo_boxes']:.1f}/image")
    return " ".join(shown)


def _peak_mib(device: str) -> float:
    if device.startswith("cuda"):
        return round(torch.cuda.max_memory_allocated() / 2**20, 1)
    return round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024, 1)


def _columns(rows: list[dict[str, float]]) -> list[str]:
    """Columns in order of appearance; `step` is there even when nothing was logged."""
    return list(dict.fromkeys(["step", *(name for row in rows for name in row)]))
