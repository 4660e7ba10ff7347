"""Candidate boxes of unlabeled images: what a teacher says, live or read from a table, before any threshold of use."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import torch
from torch import Tensor

from scantling import boxes as box_ops
from scantling.data import parquet
from scantling.data.by_image import ByImage
from scantling.data.index import XYXY

FLAGS = ["for_objectness", "for_class", "for_box", "ignore"]
COLUMNS = ["image_id", "label", "score", "spread", *XYXY, "source", "weight", *FLAGS]


@dataclass
class Candidates:
    """boxes (N, 4) xyxy; labels (N,) int64; scores (N,) 0..1; spread (N,) box uncertainty (NaN = not known).

    From a refined table also weights (N,) and flags (N, 4) bool in the order of FLAGS: polish has decided already.
    Of a network that just looked also class_probabilities (N,), which the scores of a detector may lie below (FCOS).
    """

    boxes: Tensor
    labels: Tensor
    scores: Tensor
    spread: Tensor
    weights: Tensor | None = None
    flags: Tensor | None = None
    class_probabilities: Tensor | None = None

    def __len__(self) -> int:
        return len(self.boxes)

    def moved(self, matrix: Tensor, size: tuple[int, int]) -> Candidates:
        """The same candidates in another view of (height, width) `size`; boxes may lose their area there."""
        return replace(self, boxes=box_ops.transform(self.boxes, matrix, size))

    def keep(self, which: Tensor | slice) -> Candidates:
        """The rows chosen by a mask or by indices."""
        return Candidates(**{k: None if v is None else v[which] for k, v in vars(self).items()})

    def to(self, device: torch.device | str) -> Candidates:
        return Candidates(**{k: None if v is None else v.to(device) for k, v in vars(self).items()})


def load(file: Path, more: Sequence[str] = ()) -> pd.DataFrame:
    """Of a refined table, which may be large, the columns that training reads, and `more`."""
    parquet.check(file)
    there = [name for name in (*COLUMNS, *more) if name in pq.read_schema(file).names]
    return pd.DataFrame({name: parquet.column(file, name).array for name in there}, copy=False)


class CandidateTable:
    """Candidates by image id, in original pixels, from a pseudo-label or a refined table."""

    def __init__(self, table: pd.DataFrame):
        named = (table["label"] >= 0).to_numpy()  # -1: an image corrected to be empty
        table = table if named.all() else table[named]
        self._of_image = ByImage(table["image_id"].to_numpy())
        if self._of_image.order is not None:
            table = table.iloc[self._of_image.order]
        self._all = Candidates(
            boxes=torch.from_numpy(table[XYXY].to_numpy(np.float32, copy=True)).reshape(-1, 4),
            labels=torch.from_numpy(table["label"].to_numpy(np.int32, copy=True)),  # int64 from `of` on
            scores=torch.from_numpy(table["score"].to_numpy(np.float32, copy=True)),
            spread=torch.from_numpy(table["spread"].to_numpy(np.float32, copy=True)),
        )
        if set(FLAGS) <= set(table):
            self._all.weights = torch.from_numpy(table["weight"].to_numpy(np.float32, copy=True))
            self._all.flags = torch.from_numpy(table[FLAGS].to_numpy(bool, copy=True)).reshape(-1, len(FLAGS))

    def of(self, image_id: int) -> Candidates:
        """The candidates of one image, its own copies; an image without any gives an empty set."""
        rows = self._of_image.sorted(image_id)
        found = self._all.keep(torch.arange(rows.start, rows.stop))
        return replace(found, labels=found.labels.long())
