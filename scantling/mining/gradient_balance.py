"""Class weights that give every class as much positive as negative gradient (CI-SSOD, arXiv 2403.15127, as released).

Sections of the specification: 2.1 loss, 2.2 gradient matrix, 2.3 accumulation, 2.4 weights.
Shapes: N samples, C classes, K = C + 1 with background last.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from scantling import distributed

EPSILON = 1e-5  # added to the softmax, not renormalized, as released
KEEP = 0.999  # keep rate of the running means
SCALE = 100.0  # factor of the gradient matrix, as released


def focal_cross_entropy(logits: Tensor, labels: Tensor, gamma: float) -> Tensor:
    """(N,) loss of each sample: (1 - exp(-CE))^gamma * CE. Section 2.1; gamma 0 is cross-entropy."""
    crossed = F.cross_entropy(logits, labels, reduction="none")
    return crossed if gamma == 0 else (1 - torch.exp(-crossed)).clamp(min=1e-12) ** gamma * crossed


def gradient_matrix(logits: Tensor, labels: Tensor, shares: Tensor, *, focal: bool) -> Tensor:
    """(K, K): row a, column b is the mean gradient that samples of class a put on logit b; the diagonal is negative.

    shares (N,) weigh the samples. focal: that of the loss with gamma 1, the only one the formula of the reference
    holds for. All samples count (the reference drops the last N mod 64 off the diagonal). Section 2.2.
    """
    k = logits.shape[1]
    if not len(logits):
        return logits.new_zeros((k, k))
    p = logits.detach().softmax(1) + EPSILON
    own = p.gather(1, labels[:, None])[:, 0]
    slope = (1 - own) / own - own.log() if focal else 1 / own
    rows = (shares * slope * own)[:, None] * p  # (N, K), right off the diagonal
    rows = rows.scatter(1, labels[:, None], -(shares * slope * own * (1 - own))[:, None])
    return torch.zeros_like(p[:1].expand(k, k)).index_add(0, labels, rows) / len(logits)


class GradientBalance(nn.Module):
    """Running gradient statistics and the class weights learned from them; part of the student's checkpoint."""

    matrix: Tensor
    weights: Tensor
    mean_weight: Tensor

    def __init__(
        self, classes: int, *, warm_up_steps: int, labeled_power: float, lower: float, upper: float, gamma: float
    ):
        super().__init__()
        self.warm_up_steps, self.labeled_power, self.gamma = warm_up_steps, labeled_power, gamma
        self.lower, self.upper = lower, upper
        k = classes + 1
        self.log_weights = nn.Parameter(torch.zeros(k))  # theta
        self.register_buffer("matrix", torch.zeros((k, k)))
        self.register_buffer("weights", torch.ones(k))  # w, not held inside its limits
        self.register_buffer("mean_weight", torch.ones(1))  # mu

    def forward(
        self, logits: Tensor, labels: Tensor, shares: Tensor, *, step: int, labeled: bool, scale: float
    ) -> tuple[Tensor, Tensor]:
        """The class loss of N samples and the balance loss, scalars; updates the statistics in training mode.

        shares (N,): 1, or the teacher's background probability of a background sample. scale: weight of this loss in
        the total, which its gradients enter the statistics with. The divisor is of this process alone, as released.
        """
        rows = self.row_weights(labels, shares, labeled)
        count = (shares > 0).sum() if labeled else shares.sum()
        loss = (rows * focal_cross_entropy(logits, labels, self.gamma)).sum() / count.clamp(min=1)
        return loss, self.collect(logits, labels, shares, step=step, scale=scale)

    def row_weights(self, labels: Tensor, shares: Tensor, labeled: bool) -> Tensor:
        """(N,) omega of section 2.1; the running mean of the class weights takes these samples in first."""
        power = self.labeled_power if labeled else 1.0
        of_class = self.weights.clamp(self.lower, self.upper)[labels] ** power
        if self.training:  # all processes together, also one without a sample
            own = of_class.mean() if len(labels) else self.mean_weight.new_tensor(0.0)
            value, there = distributed.total(torch.stack([own, own.new_tensor(float(len(labels) > 0))]))
            fresh = KEEP * self.mean_weight + (1 - KEEP) * (value / there.clamp(min=1))
            self.mean_weight.copy_(torch.where(there > 0, fresh, self.mean_weight))
        return shares * of_class / self.mean_weight

    def collect(self, logits: Tensor, labels: Tensor, shares: Tensor, *, step: int, scale: float) -> Tensor:
        """The balance loss alone, after the statistics took these samples in: for weights that no loss uses."""
        self._collect(logits.detach(), labels, shares, step, scale)
        return self.balance_loss(step)

    @torch.no_grad()
    def _collect(self, logits: Tensor, labels: Tensor, shares: Tensor, step: int, scale: float) -> None:
        """Sections 2.3 and 2.4: called twice a step (or each part of it), labeled first; then the new weights."""
        if self.training:
            fresh = gradient_matrix(logits.float(), labels, shares, focal=self.gamma > 0)
            fresh = distributed.total(SCALE * scale * fresh)
            keep = KEEP if step >= self.warm_up_steps else step / (step + 1)
            self.matrix.mul_(keep).add_((1 - keep) * fresh)
            if step >= self.warm_up_steps:
                self.weights.copy_(len(self.weights) * self.log_weights.softmax(0))

    def targets(self, step: int) -> Tensor:
        """(K,) the weights that would balance each class now; held inside the limits after the warm-up. Section 2.4."""
        positive = -self.matrix.diagonal()
        # with the diagonal, hence + weights; a matrix product would be one of half precision in mixed trainings
        negative = (self.weights[:, None] * self.matrix).sum(0)
        wanted = negative / (positive + 1e-6) + self.weights
        if step <= self.warm_up_steps:
            return wanted
        background = len(wanted) - wanted[:-1].sum()
        wanted = torch.cat([wanted[:-1], background[None]]).clamp(self.lower, self.upper)
        return torch.cat([wanted[:-1], wanted[-1:].clamp(max=1)])

    def balance_loss(self, step: int) -> Tensor:
        """Mean squared distance of log targets and log weights; its gradient reaches `log_weights` alone."""
        if step <= self.warm_up_steps:
            return 0 * self.log_weights.sum()
        return ((self.targets(step).log() - self.log_weights) ** 2).mean()
