"""Does a score of 0.8 mean that four of five labels are right? Reliability by score, and the score worth using."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from scantling.evaluate.counting import Judged, rounded
from scantling.evaluate.sums import Sums


@dataclass(frozen=True)
class Bins(Sums):
    """(C, B) for each class and range of the score: labels that count, how many are right, sum of scores."""

    count: np.ndarray
    right: np.ndarray
    score: np.ndarray


def edges_of(bins: int) -> np.ndarray:
    """(B + 1,) equal ranges of the score 0..1; a range has its lower edge, the last one both."""
    return np.linspace(0, 1, bins + 1)


def binned(judged: Judged, classes: int, bins: int) -> Bins:
    """Count the labels of each class in `bins` ranges of the score."""
    place = np.searchsorted(edges_of(bins)[1:-1].astype(np.float32), judged.scores, side="right")
    used = judged.counted
    cell = judged.labels[used] * bins + place[used]

    def table(weights: np.ndarray | None = None) -> np.ndarray:
        return np.bincount(cell, weights, minlength=classes * bins).reshape(classes, bins).astype(np.float64)

    return Bins(table(), table(judged.right[used]), table(judged.scores[used].astype(np.float64)))


def reliability(sums: Bins, classes: Sequence[str]) -> dict[str, Any]:
    """Labels in equal ranges of the score 0..1, of all classes and of each.

    Gives `edges` (scores between the ranges, see edges_of) and for `all` and `classes` by name
    count, mean_score, precision (lists along the ranges, None where nothing lies in one) and error: the expected
    calibration error, sum over ranges of count / N * |precision - mean score| (Guo et al., ICML 2017, equation 5);
    None without labels.
    """
    count, right, score = (np.vstack([one.sum(axis=0), one]) for one in (sums.count, sums.right, sums.score))
    with np.errstate(divide="ignore", invalid="ignore"):
        precision, mean_score = right / count, score / count
    gap = np.where(count > 0, count * np.abs(precision - mean_score), 0).sum(axis=1)
    rows = [
        {
            "count": count[k].astype(int).tolist(),
            "mean_score": [rounded(v) for v in mean_score[k]],
            "precision": [rounded(v) for v in precision[k]],
            "error": rounded(gap[k] / count[k].sum()) if count[k].any() else None,
        }
        for k in range(len(classes) + 1)
    ]
    return {"edges": [round(float(e), 6) for e in edges_of(sums.count.shape[1])], "all": rows[0]} | {
        "classes": dict(zip(classes, rows[1:], strict=True))
    }


def suggested(numbers: dict[str, dict[str, Any]], thresholds: Sequence[float]) -> dict[str, Any]:
    """The grid point with the best F1 = 2PR / (P + R), the lowest of equals, for `all` and each of `classes`.

    numbers  as by_threshold of counting gives them
    Gives threshold, precision, recall, f1; all None where no threshold has a right label.
    """
    return {
        "all": _best(numbers["all"], thresholds),
        "classes": {name: _best(one, thresholds) for name, one in numbers["classes"].items()},
    }


def _best(numbers: dict[str, Any], thresholds: Sequence[float]) -> dict[str, float | None]:
    pairs = list(zip(numbers["precision"], numbers["recall"], strict=True))
    f1 = [2 * p * r / (p + r) if p and r else 0.0 for p, r in pairs]
    if not any(f1):
        return dict.fromkeys(("threshold", "precision", "recall", "f1"))
    at = int(np.argmax(f1))
    return {"threshold": thresholds[at], "precision": pairs[at][0], "recall": pairs[at][1], "f1": round(f1[at], 6)}
