"""How often an image is drawn, by the rarity of its classes (CI-SSOD section 4; Gupta et al. 2019 for the labeled)."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np


def class_factors(frequency: np.ndarray, threshold: float) -> np.ndarray:
    """(C,) max(1, sqrt(threshold / frequency)) of classes that `frequency` (C,), a share of the images, hold."""
    return np.maximum(1.0, np.sqrt(threshold / np.maximum(frequency, 1e-12)))


def labeled_factors(image_labels: Sequence[Sequence[int]], classes: int, threshold: float) -> np.ndarray:
    """(B,) factor of each labeled image: the largest of its classes, 1 without boxes. RFS, end of section 4."""
    present = [sorted(set(labels)) for labels in image_labels]
    counts = np.bincount([c for labels in present for c in labels], minlength=classes)
    factors = class_factors(counts / max(len(present), 1), threshold)
    return np.array([max((factors[c] for c in labels), default=1.0) for labels in present])


def unlabeled_factors(
    pool: Sequence[tuple[Sequence[int], Sequence[float]]],
    labeled_counts: np.ndarray,
    labeled_images: int,
    rarity: float,
) -> np.ndarray:
    """(B,) factor of each unlabeled image from its pooled (classes, margins above their thresholds). Section 4, item 3.

    labeled_counts (C,): labeled images with the class; rarity: the lambda of item 2.
    """
    filled = [(list(classes), list(margins)) for classes, margins in pool if len(classes)]
    counts = np.bincount([c for classes, _ in filled for c in set(classes)], minlength=len(labeled_counts))
    frequency = (labeled_counts + counts) / (labeled_images + len(filled) + 0.01)
    factors = class_factors(frequency, rarity)
    return np.array([max([1.0, *(factors[c] * m for c, m in zip(cs, ms, strict=True))]) for cs, ms in pool])


def rarity_at(step: int, total_steps: int, highest: float) -> float:
    """lambda = min(highest * step / total, highest). Section 4, item 2."""
    return min(highest * step / max(total_steps, 1), highest)


def repeated(factors: np.ndarray) -> np.ndarray:
    """Positions of the images, each ceil(factor) times in a row."""
    return np.repeat(np.arange(len(factors)), np.ceil(factors).astype(np.int64))


def margins(
    boxes: np.ndarray, labels: np.ndarray, scores: np.ndarray, thresholds: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Rows of the boxes (N, 4) with an area scoring their class's threshold or more, and by how much. Section 4.1."""
    margin = scores - thresholds[labels]
    rows = np.flatnonzero((margin >= 0) & (boxes[:, 2] > boxes[:, 0]) & (boxes[:, 3] > boxes[:, 1]))
    return rows, margin[rows]
