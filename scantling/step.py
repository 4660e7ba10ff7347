"""One step of the optimizer: losses of a method on a batch, in one part or several, on one process or several."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from scantling import distributed
from scantling.augment.views import torch_seed
from scantling.data.loader import TrainingStep
from scantling.finite import FiniteCheck
from scantling.recipe import TrainingParams

Losses = dict[str, Tensor]


class MethodStep(nn.Module):
    """The step of a method as one forward pass over everything that learns, so that gradients are shared once.

    Every parameter takes part with every process: a detector's in any of its losses, also without boxes; a method's
    own networks with zero where a step has no use for them.
    """

    def __init__(self, method: Any, student: nn.Module, labeler: nn.Module | None):
        super().__init__()
        self.student, self.networks = student, method.networks
        self.outside = (method, labeler)  # in a tuple: the teacher is no part of what learns

    def forward(self, batch: TrainingStep) -> tuple[Losses, dict[str, float]]:
        method, labeler = self.outside
        losses, logged = method.step(self.student, labeler, batch)
        if own := [p for p in self.networks.parameters() if p.requires_grad]:
            name = next(iter(losses))
            losses = losses | {name: losses[name] + 0.0 * torch.stack([p.sum() for p in own]).sum()}
        return losses, logged


def take(
    whole: Callable[..., Any],
    optimizer: torch.optim.Optimizer,
    parts: Sequence[TrainingStep],
    params: TrainingParams,
    seed: int,
    device: str,
    check: FiniteCheck | None,
) -> tuple[Losses, dict[str, float]]:
    """Gradients of `whole` (a MethodStep) on the parts of a step, and what the optimizer makes of them.

    Gives the loss terms and what else to log, as if the parts were one batch. The loss of each part counts as much as
    the part's share of the images. That is the loss of the whole batch exactly where a term is divided by something
    each image has as much of (sampled anchors, RoIs), and nearly where the divisor varies (positive anchors of
    RetinaNet): then it is a mean of ratios instead of the ratio of the sums.
    """
    kind, rank = torch.device(device).type, distributed.rank()
    optimizer.zero_grad(set_to_none=True)
    sums: Losses = {}
    seen: dict[str, list[float]] = {}
    for number, batch in enumerate(parts):
        # for methods that draw from torch's own stream; what is drawn image by image has seeds of its own
        torch.manual_seed(torch_seed(seed, batch.step, *((number, rank) if number or rank else ())))
        batch = batch.to(device)
        with distributed.gradients_held_back(whole, number + 1 < len(parts)):
            with torch.autocast(kind, torch.bfloat16, enabled=params.precision == "bfloat16"):
                losses, logged = whole(batch)
            if (factor := params.unlabeled_factor(batch.step)) != 1:
                losses = {n: factor * loss if n.startswith("unlabeled/") else loss for n, loss in losses.items()}
            if check is not None:
                check.see(batch.step, losses, batch)
            if len(parts) > 1:
                even = 1 / len(parts)
                losses = {n: loss * batch.shares.get(n.partition("/")[0], even) for n, loss in losses.items()}
            torch.stack([loss.float() for loss in losses.values()]).sum().backward()
        for name, loss in losses.items():
            sums[name] = sums[name] + loss.detach() if name in sums else loss.detach()
        for name, value in logged.items():
            seen.setdefault(name, []).append(value)
    if params.clip_norm is not None:
        learning = [p for group in optimizer.param_groups for p in group["params"]]
        nn.utils.clip_grad_norm_(learning, params.clip_norm)
    optimizer.step()
    return sums, {name: sum(values) / len(values) for name, values in seen.items()}
