"""Whether every loss is a number; if not, which one and on which images."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from scantling import distributed
from scantling.data.loader import TrainingStep
from scantling.stage import Stopped
from scantling.target import Target


class NotFinite(Stopped):
    """A loss became NaN or infinite; the text names it and the dump."""


@dataclass
class _Seen:
    """The losses of a step, still on the device, and what is needed to say where they come from (no pixels)."""

    step: int
    names: list[str]
    values: Tensor
    views: dict[str, tuple[list[int], list[tuple[int, int]], list[Target]]]


class FiniteCheck:
    """Looks at the losses every `every` steps.

    Each look waits for the device, so on a GPU it is rare. Nothing is lost by that: the state is looked at before it is
    written anywhere, and what was seen since the last look is kept, so that the first bad step is the one named.
    """

    def __init__(self, folder: Path, every: int, seed: int):
        self.folder, self.every, self.seed = folder, every, seed
        self.waiting: list[_Seen] = []

    def see(self, step: int, losses: Mapping[str, Tensor], batch: TrainingStep) -> None:
        """Note the losses of a step; NotFinite if it is time to look and one is no number."""
        values = torch.stack([loss.detach().float() for loss in losses.values()])
        sides = (("labeled", batch.labeled), ("unlabeled", batch.unlabeled))
        views = {f"{s}/{n}": (v.image_ids, v.sizes, v.targets) for s, side in sides for n, v in side.items()}
        self.waiting.append(_Seen(step, list(losses), values, views))
        if len(self.waiting) >= self.every:
            self.look()

    def look(self) -> None:
        """Wait for the device and look at what was noted; all processes look at the same steps."""
        waiting, self.waiting = self.waiting, []
        if not waiting:
            return
        whole = torch.stack([seen.values.sum() for seen in waiting]).tolist()
        bad = [seen for seen, value in zip(waiting, whole, strict=True) if not math.isfinite(value)]
        own = bad[0].step if bad else waiting[-1].step + 1
        # every step is looked at on the CPU: the others wait for this process then, and torchrun ends them
        first = own if self.every == 1 else distributed.lowest(own)
        if bad and first == own:
            raise NotFinite(self._dump(bad[0]))
        if first <= waiting[-1].step:
            raise NotFinite(f"another process found a loss that is not finite at step {first}; see what it says")

    def _dump(self, seen: _Seen) -> str:
        values = dict(zip(seen.names, seen.values.tolist(), strict=True))
        bad = [name for name, value in values.items() if not math.isfinite(value)] or ["sum of the losses"]
        self.folder.mkdir(parents=True, exist_ok=True)
        rank = f"_process_{distributed.rank()}" if distributed.world() > 1 else ""
        path = self.folder / f"not_finite_step_{seen.step}{rank}.json"
        batch = {
            name: [
                {"image_id": i, "size": list(size), "boxes": t.boxes.tolist(), "labels": t.labels.tolist()}
                for i, size, t in zip(*view, strict=True)
            ]
            for name, view in seen.views.items()
        }
        # with the seed the step's views can be drawn again
        record = {
            "seed": self.seed,
            "step": seen.step,
            "losses": {k: str(v) for k, v in values.items()},
            "batch": batch,
        }
        path.write_text(json.dumps(record, indent=1))
        return (
            f"loss {', '.join(bad)} is not finite at step {seen.step}; the batch is in {path}; "
            "lower optimizer.learning_rate, set clip_norm, or look at the boxes of that batch"
        )
