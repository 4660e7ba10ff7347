"""Candidate boxes of unlabeled images: what a teacher says, live or read from a table, before any threshold of use."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from scantling import boxes as box_ops
from scantling.data.index import XYXY


@dataclass
class Candidates:
    """boxes (N, 4) xyxy; labels (N,) int64; scores (N,) 0..1; spread (N,) box uncertainty (NaN = not known)."""

    boxes: Tensor
    labels: Tensor
    scores: Tensor
    spread: Tensor

    def __len__(self) -> int:
        return len(self.boxes)

    def moved(self, matrix: Tensor, size: tuple[int, int]) -> Candidates:
        """The same candidates in another view of (height, width) `size`; boxes may lose their area there."""
        return replace(self, boxes=box_ops.transform(self.boxes, matrix, size))

    def keep(self, which: Tensor) -> Candidates:
        return Candidates(self.boxes[which], self.labels[which], self.scores[which], self.spread[which])

    def to(self, device: torch.device | str) -> Candidates:
        return Candidates(*(t.to(device) for t in (self.boxes, self.labels, self.scores, self.spread)))


class CandidateTable:
    """Candidates by image id, in original pixels, from a pseudo-label or refined table."""

    def __init__(self, table: pd.DataFrame):
        table = table.reset_index(drop=True)
        self._boxes = torch.from_numpy(table[XYXY].to_numpy(np.float32, copy=True)).reshape(-1, 4)
        self._labels = torch.from_numpy(table["label"].to_numpy(np.int64, copy=True))
        self._scores = torch.from_numpy(table["score"].to_numpy(np.float32, copy=True))
        self._spread = torch.from_numpy(table["spread"].to_numpy(np.float32, copy=True))
        self._rows = {int(i): torch.from_numpy(r) for i, r in table.groupby("image_id").indices.items()}

    def of(self, image_id: int) -> Candidates:
        rows = self._rows.get(image_id, torch.zeros(0, dtype=torch.int64))
        return Candidates(self._boxes[rows], self._labels[rows], self._scores[rows], self._spread[rows])
