"""A score threshold for each class above which enough of a teacher's boxes are right, as held-out images tell.

The calibrated threshold of the single-stage Soft Teacher (soft_teacher.md section 13.2), whose sigmoid scores mean less
than softmax ones; it says nothing of one or two stages, so any detector may have it.
"""

from __future__ import annotations

import numpy as np
import pandas as pd
import torch
from torch import Tensor

ENOUGH = 20  # boxes of a class that say something of it; with fewer all classes together decide. Ours


def thresholds(found: pd.DataFrame, classes: int, *, share: float, limits: tuple[float, float]) -> Tensor:
    """(C,) float32: the lowest scores above which (strictly) a `share` of the boxes is right, within `limits`.

    found  label, score (0..1), right (bool) of the teacher's boxes in the held-out images
    A class of which no threshold is good enough gets the highest of `limits`.
    """
    counts = found.loc[found["score"] > limits[0], "label"].value_counts()
    result = torch.full((classes,), _lowest(found, share, limits), dtype=torch.float32)
    for label, of_class in found.groupby("label"):
        if counts.get(label, 0) >= ENOUGH:
            result[int(label)] = _lowest(of_class, share, limits)  # type: ignore[call-overload]
    return result


def _lowest(found: pd.DataFrame, share: float, limits: tuple[float, float]) -> float:
    best_first = found.sort_values("score", ascending=False, kind="stable")
    scores = best_first["score"].to_numpy(np.float64)
    precision = best_first["right"].to_numpy(np.float64).cumsum() / np.arange(1, len(scores) + 1)
    good = np.flatnonzero(precision >= share)
    if not len(good):
        return limits[1]
    beyond = good[-1] + 1  # the first box that is one too many
    return float(np.clip(scores[beyond] if beyond < len(scores) else 0.0, *limits))
