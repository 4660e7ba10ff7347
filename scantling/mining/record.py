"""What a training learned from beside the labels: the machine's boxes in some of the views it saw, to be looked at.

The loop keeps one and tells it the step; a method shows it the targets it made. Of a long training a part of the steps
is kept, so that it stays a small table, and only on the first of several processes, whose images are as good as any.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pandas as pd
import torch
from torch import Tensor

from scantling import distributed
from scantling.boxes import transform
from scantling.data.index import XYXY
from scantling.target import Batch, Target

MOST = 4000  # views of a training
VIEW = -1  # label of the row that says which part of its image a view shows
COLUMNS = ["step", "view", "image_id", "label", "score", *XYXY]


class Record:
    """Rows of COLUMNS; boxes in pixels of the original image. Nothing is kept before `of` was told how long it is."""

    def __init__(self) -> None:
        self.every, self.open, self.step, self.views = 0, False, 0, 0
        self.whole: list[Tensor] = []  # (N, 4) int64: step, view, image id, label
        self.parts: list[Tensor] = []  # (N, 5) float32: score, corners

    def of(self, steps: int, views_per_step: int) -> None:
        """From now on keep the views of so many steps that they are no more than about MOST of `steps` steps."""
        self.every = max(1, -(-steps * views_per_step // MOST))

    def at(self, step: int) -> None:
        """What is shown next belongs to this step, counted from 1."""
        self.step = step
        self.open = bool(self.every) and step % self.every == 0 and distributed.is_first()

    def see(self, view: Batch, targets: Sequence[Target], known: Sequence[int] | None = None) -> None:
        """Note the boxes for the class loss that `targets` have in a view after the first `known` ones, labels."""
        if not self.open:
            return
        back = torch.linalg.inv(view.matrices).cpu()
        for i, (target, size) in enumerate(zip(targets, view.sizes, strict=True)):
            fresh = torch.arange(len(target)) >= (0 if known is None else known[i])
            fresh &= target.for_class.cpu() & (target.labels.cpu() >= 0)
            frame = torch.tensor([[0.0, 0.0, size[1], size[0]]])
            boxes = torch.cat([frame, target.boxes.detach().cpu()[fresh]])
            labels = torch.cat([torch.tensor([VIEW]), target.labels.cpu()[fresh]])
            scores = torch.cat([torch.ones(1), target.scores.detach().float().cpu()[fresh]])
            place = torch.tensor([[self.step, self.views, int(view.image_ids[i])]]).expand(len(labels), 3)
            self.whole.append(torch.cat([place, labels[:, None]], 1))
            self.parts.append(torch.cat([scores[:, None], transform(boxes, back[i], None)], 1))
            self.views += 1

    def table(self) -> pd.DataFrame:
        """All rows, in the order in which they were seen."""
        packed = self.state_dict()
        whole = pd.DataFrame(packed["whole"].numpy(), columns=COLUMNS[:4])
        parts = pd.DataFrame(packed["parts"].numpy(), columns=COLUMNS[4:])
        return pd.concat([whole, parts], axis=1).astype({"step": "int32", "view": "int32", "label": "int32"})

    def state_dict(self) -> dict[str, Any]:
        whole = torch.cat([torch.zeros((0, 4), dtype=torch.int64), *self.whole])
        parts = torch.cat([torch.zeros((0, 5)), *self.parts])
        return {"views": self.views, "whole": whole, "parts": parts}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.views, self.whole, self.parts = state["views"], [state["whole"].cpu()], [state["parts"].cpu()]
