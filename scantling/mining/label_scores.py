"""How sure a labeler is of the boxes that a person drew: the yardstick for the boxes that it finds itself. Ours.

A detector trained where most boxes are missing has learned to call objects background: its score of an object tends to
the share of objects that are labeled, and no fixed threshold fits. But which boxes are labeled is an accident, so the
labeled and the missing boxes of a class score alike (the premise of learning from positive and unlabeled examples:
Elkan and Noto, KDD 2008). A threshold for a class can then be a quantile of the scores on its labeled boxes. Where the
labeler has not learned a class at all, its labeled boxes score like anything else; there the count is limited in
proportion to the labeled boxes of the class, as LabelMatch (CVPR 2022) matches the classes' shares.
"""

from __future__ import annotations

import torch
from torch import Tensor

from scantling import boxes as box_ops

SAME_IOU = 0.5  # IoU from which a found box is a labeled one; PASCAL VOC's rule
LEAST = 5  # labeled boxes of a class without which nothing is known of it


def on_labels(truth: Tensor, truth_labels: Tensor, boxes: Tensor, labels: Tensor, scores: Tensor) -> Tensor:
    """(G,) the best score of a found box of the same class on each labeled box; 0 where it was missed.

    truth (G, 4), boxes (N, 4) in one frame; classes (G,) and (N,); scores (N,) 0..1.
    """
    if not len(truth) or not len(boxes):
        return scores.new_zeros(len(truth))
    meets = (box_ops.iou(truth, boxes) >= SAME_IOU) & (truth_labels[:, None] == labels[None])
    return torch.where(meets, scores[None], scores.new_zeros(())).amax(1)


def limits(
    known: tuple[Tensor, Tensor], found: tuple[Tensor, Tensor], classes: int, *, quantile: float, per_label: float
) -> Tensor:
    """(C,) the score above which a box of a class is taken; infinite for a class with fewer than 5 labeled boxes.

    known      classes (G,) of the labeled boxes and the scores (G,) on them, from `on_labels`
    found      classes (N,) and scores (N,) of the boxes that are no labeled ones
    quantile   share of a class's labeled boxes that score lower, 0..1
    per_label  boxes taken per labeled box of the class at most; equal scores at the limit are all left out
    """
    out = known[1].new_full((classes,), float("inf"))
    for c in range(classes):
        own, others = known[1][known[0] == c], found[1][found[0] == c]
        if len(own) < LEAST:
            continue
        out[c] = own.quantile(quantile)
        most = int(per_label * len(own))
        if len(others) > most:
            out[c] = torch.maximum(out[c], others.sort(descending=True).values[most])
    return out
