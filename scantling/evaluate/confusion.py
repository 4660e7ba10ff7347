"""Which classes a detector takes for which, at one score."""

from __future__ import annotations

import numpy as np
import pandas as pd

from scantling.data.index import Index
from scantling.evaluate.fast import Matches, Scene
from scantling.evaluate.matching import match


def count(index: Index, detections: pd.DataFrame, at: Scene, matches: Matches, shown: np.ndarray) -> list[list[int]]:
    """The confusion matrix as [true, named, count], ascending, zeros left out.

    Numbers of classes 0..C-1; C is background: [true, C, n] n boxes were not found, [C, named, n] n detections lie on
    nothing. Only detections in `shown` (P,) take part. Those that are right at IoU 0.5 are confused with nothing; then,
    best first, each takes the true box left in its image that it overlaps most, by 0.5 or more, whatever its class.
    Crowd and difficult boxes, and the detections on them, are left out.
    """
    assert index.boxes is not None
    right = matches.right[:, 0] & shown
    wrong = np.flatnonzero(shown & ~matches.right[:, 0] & ~matches.ignored[:, 0])
    left = matches.counted.copy()
    left[matches.taken[right, 0]] = False
    left = np.flatnonzero(left)
    found = detections.iloc[at.found["row"].to_numpy()[wrong]].assign(label=0)
    true = index.boxes.iloc[at.true["row"].to_numpy()[left]].assign(label=0)
    taken, _ = match(found, true, np.argsort(-found["score"].to_numpy(), kind="stable"), 0.5)

    background = at.classes
    true_label, label = at.true["label"].to_numpy(np.int64), at.found["label"].to_numpy(np.int64)
    of_wrong = np.full(len(wrong), background)
    of_wrong[taken >= 0] = true_label[left[taken[taken >= 0]]]
    lost = np.delete(left, taken[taken >= 0])
    pairs = np.concatenate(
        [
            np.stack([label[right], label[right]], axis=1),
            np.stack([of_wrong, label[wrong]], axis=1),
            np.stack([true_label[lost], np.full(len(lost), background)], axis=1),
        ]
    )
    cells, counts = np.unique(pairs, axis=0, return_counts=True)
    return np.column_stack([cells, counts]).tolist()
