"""Does a score of 0.8 mean that four of five labels are right? Reliability by score, and the score worth using."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from scantling.evaluate.counting import Judged, rounded


def reliability(judged: Judged, classes: Sequence[str], bins: int) -> dict[str, Any]:
    """Labels in `bins` equal ranges of the score 0..1, of all classes and of each.

    Gives `edges` (bins + 1 scores; a range has its lower edge, the last one both) and for `all` and `classes` by name
    count, mean_score, precision (lists along the ranges, None where nothing lies in one) and error: the expected
    calibration error, sum over ranges of count / N * |precision - mean score| (Guo et al., ICML 2017, equation 5);
    None without labels.
    """
    edges = np.linspace(0, 1, bins + 1)
    place = np.searchsorted(edges[1:-1].astype(np.float32), judged.scores, side="right")
    used = judged.counted
    cell = judged.labels[used] * bins + place[used]
    shape = (len(classes), bins)

    def table(weights: np.ndarray | None = None) -> np.ndarray:
        sums = np.bincount(cell, weights, minlength=len(classes) * bins).reshape(shape).astype(np.float64)
        return np.vstack([sums.sum(axis=0), sums])

    count, right, score = table(), table(judged.right[used]), table(judged.scores[used].astype(np.float64))
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
    return {"edges": [round(float(e), 6) for e in edges], "all": rows[0]} | {
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
