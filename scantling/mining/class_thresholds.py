"""Score thresholds of each class, from the teacher's running scores and the class weights (CI-SSOD, section 3)."""

from __future__ import annotations

import torch
from torch import Tensor, nn

FIRST = 1000  # detections of a class that make its first mean, as released
KEEP = 0.999  # keep rate after them


class ClassThresholds(nn.Module):
    """Running mean score of each class; part of the checkpoint (the reference loses it). No parameters."""

    scores: Tensor
    counts: Tensor

    def __init__(self, classes: int, *, highest: float, lowest: float):
        super().__init__()
        self.highest, self.lowest = highest, lowest
        self.register_buffer("scores", torch.zeros(classes))
        self.register_buffer("counts", torch.zeros(classes))

    @torch.no_grad()
    def update(self, labels: Tensor, scores: Tensor) -> None:
        """Take in detections (N,) in their order: mean over the first 1000 of a class (from zero), then running.

        Within a class the order matters, between classes it does not: all classes advance together, place by place.
        """
        for c in labels.unique().tolist():
            mine = scores[labels == c].double()
            first = mine[: max(0, FIRST - int(self.counts[c]))]
            mean = self.scores[c].double() + first.sum() / FIRST
            rest = mine[len(first) :]
            if len(rest):
                decay = KEEP ** torch.arange(len(rest) - 1, -1, -1, dtype=torch.float64, device=rest.device)
                mean = mean * KEEP ** len(rest) + (1 - KEEP) * (decay * rest).sum()
            self.scores[c] = mean.to(self.scores)
            self.counts[c] += len(first)

    def thresholds(self, class_weights: Tensor | None = None) -> Tensor:
        """(C,) in lowest..highest: in proportion to the mean scores, and at most highest / weight of the class.

        class_weights (C,) or None (scores alone). A class never seen gets the lowest.
        """
        wanted = self.highest * self.scores / self.scores.mean().clamp(min=1e-12)
        if class_weights is not None:
            wanted = torch.minimum(wanted, self.highest / class_weights)
        return wanted.clamp(self.lowest, self.highest)
