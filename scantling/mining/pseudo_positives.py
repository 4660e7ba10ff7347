"""Proposals that look like objects where nobody drew a box (SparseDet): out of the supervised loss, into a feature one.

Shapes: P proposals, G truth boxes, R mined regions, D features.
"""

from __future__ import annotations

from torch import Tensor
from torchvision.ops import nms

from scantling import boxes as box_ops


def mine(
    proposals: Tensor, objectness: Tensor, truth: Tensor, *, score: float, iou: float, nms_iou: float
) -> tuple[Tensor, Tensor]:
    """Indices of the mined regions, best first, after NMS; and those of the proposals that stay in the loss.

    proposals (P, 4), objectness (P,) probabilities, truth (G, 4). Mined is what scores above `score` (strict) and
    overlaps no truth box by more than `iou`; ALL of it leaves the loss, also what NMS then drops. SparseDet section 5,
    step 2. An image without truth has no overlap to test.
    """
    mined = (objectness > score) & box_ops.has_area(proposals)
    if len(truth):
        mined &= (box_ops.iou(proposals, truth) <= iou).all(1)
    rows = mined.nonzero().flatten()
    kept = rows[nms(proposals[rows], objectness[rows], nms_iou)]
    return kept, (~mined).nonzero().flatten()


def agreement_loss(weak: Tensor, strong: Tensor, *, stop_gradient: bool) -> Tensor:
    """Mean squared difference of the features (R, D) of the same regions in two views; 0 where there is none.

    The reference lets the gradient into both sides (SparseDet section 5, step 8); stop_gradient holds the weak one.
    """
    difference = strong - (weak.detach() if stop_gradient else weak)
    return (difference**2).sum() / max(difference.numel(), 1)
