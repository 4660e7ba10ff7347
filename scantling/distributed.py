"""More processes on one training: torchrun starts them, each takes its slice of every step.

With one process nothing here does anything, and torch.distributed is never started. torch is imported where it is
needed only, because every stage imports this module and most need no torch.
"""

from __future__ import annotations

import contextlib
import inspect
import os
from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import Tensor, nn

# How long a process waits for the others before it gives up. A process that DIES ends the job at once: torchrun ends
# the others.
WAIT = timedelta(seconds=int(os.environ.get("SCANTLING_WAIT_S", "1800")))
# How long it waits at the end of a job's common work, while the first one writes and measures: large tables take long.
PATIENCE = max(timedelta(days=1), WAIT)

_control: Any = None  # a gloo group for decisions of the hosts, which need no GPU; None: this process is alone
_patient: Any = None  # the same processes, for barriers


def launched() -> bool:
    """Whether torchrun (or who sets its variables) started this process as one of several."""
    return int(os.environ.get("WORLD_SIZE", "1")) > 1 and "RANK" in os.environ


def start(device: str) -> None:
    """Meet the other processes, if there are any: NCCL on GPUs, gloo on CPUs."""
    global _control, _patient
    if not launched() or _control is not None:
        return
    import torch
    import torch.distributed as dist

    on_gpu = device.startswith("cuda")
    if on_gpu:
        torch.cuda.set_device(device)
    dist.init_process_group("nccl" if on_gpu else "gloo", timeout=WAIT)
    _control = dist.new_group(backend="gloo", timeout=WAIT)
    _patient = dist.new_group(backend="gloo", timeout=PATIENCE)


def finish() -> None:
    """Leave the group, after the last common call."""
    global _control, _patient
    if _control is not None:
        import torch.distributed as dist

        dist.destroy_process_group()
        _control = _patient = None


def world() -> int:
    """How many processes work on this."""
    if _control is None:
        return 1
    import torch.distributed as dist

    return dist.get_world_size()


def rank() -> int:
    """Which of them this is, 0..world - 1."""
    if _control is None:
        return 0
    import torch.distributed as dist

    return dist.get_rank()


def is_first() -> bool:
    """The first process writes; what the others would write is the same or nothing."""
    return rank() == 0


def prefix() -> str:
    """What a message of this process begins with."""
    return f"process {os.environ['RANK']}: " if launched() else ""


def deserted(error: Exception) -> bool:
    """Whether `error` only says that another process is gone."""
    lost = (
        "connection closed by peer",
        "connection reset by peer",
        "broken pipe",
        "application timeout caused pair closure",
        "remote process exited",  # NCCL
    )
    return launched() and any(text in str(error).lower() for text in lost)


def barrier() -> None:
    """Wait until all processes are here, be it hours: the first one may be writing."""
    if _control is not None:
        import torch.distributed as dist

        dist.barrier(group=_patient)


def lowest(value: int) -> int:
    """The smallest `value` of all processes, without waiting for a GPU."""
    if _control is None:
        return value
    import torch
    import torch.distributed as dist

    shared = torch.tensor(value)
    dist.all_reduce(shared, dist.ReduceOp.MIN, group=_control)
    return int(shared)


def mean(values: Tensor) -> Tensor:
    """The mean over processes of a tensor of the same shape in each; without gradient."""
    if _control is None:
        return values
    import torch.distributed as dist

    shared = values.detach().clone()
    dist.all_reduce(shared)
    return shared / dist.get_world_size()


def total(values: Tensor) -> Tensor:
    """The sum over processes of a tensor of the same shape in each; without gradient."""
    return mean(values) * world()


def gathered(*columns: Tensor) -> tuple[Tensor, ...]:
    """Columns (N,) of all processes one after the other, in the order of the processes; N may differ."""
    if _control is None:
        return columns
    import torch
    import torch.distributed as dist

    parts: list[Any] = [None] * dist.get_world_size()
    dist.all_gather_object(parts, [c.cpu() for c in columns], group=_control)
    return tuple(torch.cat(one).to(c.device) for one, c in zip(zip(*parts, strict=True), columns, strict=True))


def joined(part: dict[Any, Any]) -> dict[Any, Any]:
    """The dicts of all processes as one; of equal keys the last process's value."""
    if _control is None:
        return part
    import torch.distributed as dist

    parts: list[Any] = [None] * dist.get_world_size()
    dist.all_gather_object(parts, part, group=_control)
    return {key: value for one in parts for key, value in one.items()}


def wrap(module: nn.Module) -> Callable[..., Any]:
    """`module` so that its gradients are the mean over the processes after each backward pass.

    Every parameter that is trained must take part in the loss of every process, be it with zero.
    """
    if _control is None:
        return module
    from torch import nn
    from torch.nn.parallel import DistributedDataParallel

    # statistics of a trained normalization are each process's own while it trains; the first one's are kept
    moving = any(isinstance(m, nn.modules.batchnorm._BatchNorm) for m in module.modules())
    newer = (
        "forward_sync_buffers" in inspect.signature(DistributedDataParallel).parameters
    )  # of the argument's two names
    sync = {"forward_sync_buffers" if newer else "broadcast_buffers": moving}
    return DistributedDataParallel(module, gradient_as_bucket_view=True, **sync)


@contextlib.contextmanager
def gradients_held_back(module: Callable[..., Any], held: bool) -> Iterator[None]:
    """Inside, and while `held`, gradients add up in this process alone: micro-batches before the last one."""
    with module.no_sync() if held and hasattr(module, "no_sync") else contextlib.nullcontext():  # type: ignore[attr-defined]
        yield
