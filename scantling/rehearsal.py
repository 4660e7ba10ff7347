"""One step of the heaviest kind before a training starts: what does not fit into memory fails now, not in an hour."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch

from scantling import log
from scantling.augment import geometry
from scantling.augment.settings import View, ViewParams
from scantling.data.loader import Pool
from scantling.data.sampler import StepImages
from scantling.recipe import TrainingParams
from scantling.resume import State
from scantling.stage import BadInput


def largest_views(params: ViewParams) -> ViewParams:
    """The same views, each as large as it can become."""
    views = {}
    for name, view in params:
        if isinstance(view, View) and (view.short_px or view.short_px_choices):
            longest = max(view.short_px or view.short_px_choices)
            views[name] = view.model_copy(update={"short_px": (longest, longest), "short_px_choices": ()})
    return params.model_copy(update=views)


def largest_images(pool: Pool, params: ViewParams, training: TrainingParams) -> list[StepImages]:
    """Steps of the images whose views are largest; the highest and the widest first, as a batch is padded to both.

    One step, or where the kinds of images are drawn by probability two: almost all labeled, almost all unlabeled.
    """
    view = largest_views(params).labeled

    def size(file: tuple[int, int]) -> tuple[int, int]:
        if view.exact_px is not None:
            return view.exact_px
        assert view.short_px is not None and view.long_px is not None
        return geometry.resized(file, view.short_px[0], view.long_px)

    def chosen(ids: list[int], count: int) -> list[int]:
        if not ids:
            return []
        files, which = np.unique(pool.sizes[pool.places(ids)], axis=0, return_inverse=True)
        sizes = np.array([size((height, width)) for height, width in files.tolist()])[which.reshape(-1)]
        boxes = pool.of_image.counts(np.array(ids, np.int64))
        order = [ids[i] for i in np.lexsort((-boxes, -sizes.prod(axis=1)))[:count]]
        if not training.group_by_aspect:
            extreme = [ids[i] for i in sizes.argmax(axis=0)]  # the highest, the widest
            order = list(dict.fromkeys(extreme + order))
        return (order * (count // len(order) + 1))[:count]

    counts = [(training.labeled_per_step, training.unlabeled_per_step)]
    if training.sampling == "by_probability" and training.unlabeled_per_step and pool.labeled and pool.unlabeled:
        few, most = training.sampling_groups, training.batch - training.sampling_groups
        counts = [(most, few), (few, most)]
    return [StepImages(chosen(pool.labeled, a), chosen(pool.unlabeled, b)) for a, b in counts]


def rehearse(state: State, steps: Callable[[], None], what: str, device: str) -> None:
    """Run `steps` and put everything they changed back. BadInput if the memory does not suffice."""
    before = _copy(state.pack())
    on_gpu = torch.device(device).type == "cuda"
    with torch.random.fork_rng(devices=[device] if on_gpu else []):
        try:
            steps()
        except RuntimeError as error:
            if not _out_of_memory(error):
                raise
            raise BadInput(
                f"training: {what} does not fit into the memory of {device} ({str(error).splitlines()[0]}): raise "
                "`accumulate`, lower labeled_per_step and unlabeled_per_step (with `reference_batch` set, rates and "
                "lengths follow), lower short_px and long_px of the views, or set precision: bfloat16"
            ) from None
    state.optimizer.zero_grad(set_to_none=True)
    state.unpack(before)
    if on_gpu:
        log.line(f"{what}: peak memory {torch.cuda.max_memory_allocated() / 2**20:.0f} MiB")
        torch.cuda.reset_peak_memory_stats()


def _copy(value: Any) -> Any:
    """Plain values and tensors, these on the CPU: a copy on the GPU would need the memory that is being measured."""
    match value:
        case torch.Tensor():
            return value.detach().to("cpu", copy=True)
        case dict():
            return {k: _copy(v) for k, v in value.items()}
        case list() | tuple():
            return type(value)(_copy(v) for v in value)
        case _:
            return value


def _out_of_memory(error: RuntimeError) -> bool:
    text = str(error).lower()  # the CPU's allocator raises no kind of its own
    return isinstance(error, torch.OutOfMemoryError) or "can't allocate memory" in text or "not enough memory" in text
