"""A score threshold for each class, at which a table of found boxes is as dense as the labels of people.

Not of Soft Teacher, whose threshold is one number for all classes. That pseudo labels should be distributed like labels
is the idea of Chen et al., "Label Matching Semi-Supervised Object Detection" (CVPR 2022).
"""

from __future__ import annotations

import pandas as pd
import torch
from torch import Tensor


def thresholds(
    found: pd.DataFrame, split: pd.DataFrame, classes: int, *, default: Tensor, limits: tuple[float, float]
) -> Tensor:
    """(C,) float32: scores above which (strictly) unlabeled images have as many boxes of a class as labeled ones have.

    found    label, score (0..1) of boxes in unlabeled images
    split    image_id, labeled, box_id (< 0: no box), label; labeled images are completely labeled
    default  (C,) for classes that no label is of, and for all where one kind of images is missing
    limits   lowest and highest threshold
    """
    images = split.groupby("image_id")["labeled"].first()
    labeled, others = int(images.sum()), int((~images).sum())
    if not labeled or not others:
        return default
    kept = split.loc[split["labeled"] & (split["box_id"] >= 0), "label"]
    result = default.clone().float()
    for c, count in kept.value_counts().items():
        scores = torch.tensor(found.loc[found["label"] == c, "score"].to_numpy("float32")).sort(descending=True).values
        wanted = round(int(count) * others / labeled)
        # the first score that is too many, so that those above it are as many as wanted
        result[int(c)] = scores[wanted] if wanted < len(scores) else 0.0  # type: ignore[call-overload]
        result[int(c)] = result[int(c)].clamp(*limits)
    return result
