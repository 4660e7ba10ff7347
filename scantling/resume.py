"""What lets a killed training go on with the same bits: everything a step changes, and a polite end when asked for."""

from __future__ import annotations

import signal
import threading
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType
from typing import Any, Self

import torch
from torch import nn

from scantling import checkpoint, distributed, elapsed, log
from scantling.stage import Stopped


@dataclass
class State:
    """Everything a step changes. What a step draws is a function of (seed, step), so no generator is part of it."""

    student: nn.Module
    average: nn.Module
    optimizer: torch.optim.Optimizer
    method: Any
    step: int = 0
    rows: list[dict[str, float]] = field(default_factory=list)
    drawn: list[list[int]] | None = None  # ids that are drawn from now; kept where the method changes them on the way

    def pack(self) -> dict[str, Any]:
        """Tensors, numbers and strings; the tensors are those of the state, not copies."""
        return {
            "step": self.step,
            "rows": self.rows,
            "drawn": self.drawn if self.method.redraw_every else None,
            "processes": distributed.world(),
            "student": self.student.state_dict(),
            "average": self.average.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "networks": self.method.networks.state_dict(),
            "averages": self.method.averages.state_dict(),
            "method": self.method.state_dict(),
            "record": self.method.record.state_dict(),
        }

    def unpack(self, saved: dict[str, Any]) -> None:
        """Go back to what `pack` gave."""
        self.step, self.rows, self.drawn = saved["step"], list(saved["rows"]), saved["drawn"]
        self.student.load_state_dict(saved["student"])
        self.average.load_state_dict(saved["average"])
        self.optimizer.load_state_dict(saved["optimizer"])
        self.method.networks.load_state_dict(saved["networks"])
        self.method.averages.load_state_dict(saved["averages"])
        self.method.load_state_dict(saved["method"])
        self.method.record.load_state_dict(saved["record"])

    def save(self, work: Path) -> None:
        """All processes call this; the first one writes, as the state of the others is the same."""
        packed = self.pack()  # in all of them: a method may put together what each has
        if distributed.is_first():
            checkpoint.save_state(work, self.step, packed)
            elapsed.keep(work)

    def load(self, work: Path, device: str) -> None:
        """Go on from what a killed run left in `work`, if there is anything."""
        saved = checkpoint.load_state(work, device)
        if saved is None:
            return
        self.unpack(saved)
        elapsed.take_up(work)
        others = saved["processes"] != distributed.world()
        note = f", which {saved['processes']} processes wrote: equal up to rounding" if others else ""
        log.line(f"resumed at step {self.step} from {work}{note}")


NOT_ASKED = 1000  # above the number of any signal


class Interrupt:
    """SIGTERM (a cluster takes the machine back) or Ctrl-C ends the training at the next step, with its state saved.

    More of them mean the same: Slurm sends one to every process, and torchrun passes its own on. SIGKILL ends at once.
    A shell that starts something behind itself has it ignore SIGINT: it stays so. Outside the main thread signals
    cannot be caught: then nothing is.
    """

    def __enter__(self) -> Self:
        self.asked = NOT_ASKED
        self.before: dict[signal.Signals, Any] = {}
        if threading.current_thread() is threading.main_thread():
            for one in (signal.SIGTERM, signal.SIGINT):
                if one == signal.SIGTERM or signal.getsignal(one) != signal.SIG_IGN:
                    self.before[one] = signal.signal(one, self._ask)
        return self

    def __exit__(self, *error: object) -> None:
        for one, handler in self.before.items():
            signal.signal(one, handler)

    def _ask(self, number: int, frame: FrameType | None) -> None:
        self.asked = number

    def look(self, state: State, work: Path) -> None:
        """Between two steps: save and end if any process was asked to."""
        number = distributed.lowest(self.asked)
        if number != NOT_ASKED:
            state.save(work)
            distributed.barrier()  # nobody ends, and so is missed, before the state is written
            why = f"asked to end ({signal.Signals(number).name}) at step {state.step}"
            raise Stopped(f"{why}; the same command goes on from there")
