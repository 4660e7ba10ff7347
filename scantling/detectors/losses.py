"""Loss formulas of the detectors, as functions of tensors.

Shapes: R samples (anchors or RoIs), C classes.
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional as F
from torchvision.ops import generalized_box_iou_loss

from scantling import distributed


def normalizer(amount: Tensor | float, like: Tensor, least: float = 1.0) -> Tensor:
    """What a loss is divided by: max(amount, least), a scalar on the device of `like`.

    `amount` is a count of samples or a sum of their weights over the batch. Every loss of a detector comes here exactly
    once a call, whatever the batch holds: several processes add their amounts here, and each gets its share of the sum.
    The mean of their losses (and so of their gradients) then is the loss of the whole batch.
    """
    own = torch.as_tensor(amount, dtype=torch.float32, device=like.device)
    return distributed.mean(own).clamp(min=least / distributed.world())


def softmax_class_loss(logits: Tensor, labels: Tensor, weights: Tensor, shares: Tensor, gamma: float = 0.0) -> Tensor:
    """sum(weights * shares * CE) / max(sum(shares), 1), a scalar.

    logits (R, C+1) with background LAST, labels (R,) 0..C. `shares` (R,): how much of a sample each RoI is, 1 or the
    teacher's background probability (Soft Teacher, eq. 5-6 as released: one joint normalizer). `weights` (R,): factors
    of the loss that leave the normalizer alone. With ones in both this is the mean cross-entropy.
    gamma > 0: focal, factor (1 - p)^gamma with p = softmax of the label (Unbiased Teacher). No sample gives 0.
    """
    log_p = F.log_softmax(logits, dim=1).gather(1, labels[:, None])[:, 0]
    loss = -log_p
    if gamma > 0:
        # clamp: exp(log p) may round to 1 and (1 - p)^gamma has no finite slope at 0 for gamma < 1
        loss = loss * (1 - log_p.exp()).clamp(min=1e-12) ** gamma
    return (loss * weights * shares).sum() / normalizer(shares.sum(), logits)


def binary_loss(logits: Tensor, wanted: Tensor, weights: Tensor, *, count: Tensor | int) -> Tensor:
    """sum(weights * BCE) / max(count, 1), a scalar; logits, wanted (bool or 0..1), weights (R,)."""
    loss = F.binary_cross_entropy_with_logits(logits, wanted.to(logits.dtype), reduction="none")
    return (loss * weights).sum() / normalizer(count, logits)


def box_loss(predicted: Tensor, wanted: Tensor, weights: Tensor, *, beta: float, count: Tensor | int) -> Tensor:
    """sum(weights * smooth L1) / max(count, 1), a scalar; predicted and wanted deltas (R, 4), weights (R,).

    beta 0 is plain L1.
    """
    loss = F.smooth_l1_loss(predicted, wanted, reduction="none", beta=beta).sum(dim=1)
    return (loss * weights).sum() / normalizer(count, predicted)


def overlap_losses(predicted: Tensor, wanted: Tensor, kind: Literal["giou", "iou"]) -> Tensor:
    """(P,) of boxes (P, 4): 1 - generalized IoU (Rezatofighi 2019), or -log IoU (Yu 2016; IoU at least 1e-6)."""
    if kind == "giou":
        return generalized_box_iou_loss(predicted, wanted)
    sides = torch.minimum(predicted[:, 2:], wanted[:, 2:]) - torch.maximum(predicted[:, :2], wanted[:, :2])
    common = sides.clamp(min=0).prod(dim=1)
    union = (predicted[:, 2:] - predicted[:, :2]).prod(dim=1) + (wanted[:, 2:] - wanted[:, :2]).prod(dim=1) - common
    return -(common / union.clamp(min=1e-6)).clamp(min=1e-6).log()


def focal_loss(logits: Tensor, labels: Tensor, weights: Tensor, *, alpha: float, gamma: float) -> Tensor:
    """Sum of the sigmoid focal loss over samples and classes (Lin 2017, eq. 5), a scalar, not normalized.

    logits (R, C), labels (R,) 0..C-1 or C for background (no class is the right one), weights (R,).
    """
    wanted = F.one_hot(labels, logits.shape[1] + 1)[:, :-1].to(logits.dtype)
    crossed = F.binary_cross_entropy_with_logits(logits, wanted, reduction="none")
    p = torch.sigmoid(logits)
    missed = (p + wanted - 2 * p * wanted).clamp(min=1e-12)  # |wanted - p|; a power below 1 has no slope at 0
    balance = alpha * wanted + (1 - alpha) * (1 - wanted)
    return (balance * missed**gamma * crossed * weights[:, None]).sum()
