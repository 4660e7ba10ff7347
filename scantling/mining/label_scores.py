"""How sure a labeler is of the boxes that a person drew: the yardstick for the boxes that it finds itself.

A detector trained where most boxes are missing has learned to call objects background: its score of an object tends to
the share of objects that are labeled, and no fixed threshold fits. But which boxes are labeled is an accident, so the
labeled and the missing boxes of a class score alike (the premise of learning from positive and unlabeled examples:
Elkan and Noto, KDD 2008). A threshold for a class can then be a quantile of the scores on its labeled boxes. Ours.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from scantling import boxes as box_ops

SAME_IOU = 0.5  # IoU from which a found box is a labeled one; PASCAL VOC's rule
LEAST = 5  # labeled boxes of a class without which nothing is known of it
MEMORY = 50  # labeled boxes of a class that are remembered


def on_labels(truth: Tensor, truth_labels: Tensor, boxes: Tensor, labels: Tensor, scores: Tensor) -> Tensor:
    """(G,) the best score of a found box of the same class on each labeled box; 0 where it was missed.

    truth (G, 4), boxes (N, 4) in one frame; classes (G,) and (N,); scores (N,) 0..1.
    """
    if not len(truth) or not len(boxes):
        return scores.new_zeros(len(truth))
    meets = (box_ops.iou(truth, boxes) >= SAME_IOU) & (truth_labels[:, None] == labels[None])
    return torch.where(meets, scores[None], scores.new_zeros(())).amax(1)


def quantiles(labels: Tensor, scores: Tensor, classes: int, share: float) -> Tensor:
    """(C,) the score below which `share` of a class's labeled boxes lie; infinite for a class with too few of them."""
    of_class = [scores[labels == c] for c in range(classes)]
    return torch.stack([s.quantile(share) if len(s) >= LEAST else scores.new_tensor(float("inf")) for s in of_class])


class LabelScores(nn.Module):
    """The scores on the labeled boxes that were seen last, for each class; part of the checkpoint. No parameters."""

    scores: Tensor  # (C, MEMORY), the newest last
    counts: Tensor  # (C,) how many of them are filled

    def __init__(self, classes: int):
        super().__init__()
        self.register_buffer("scores", torch.zeros(classes, MEMORY))
        self.register_buffer("counts", torch.zeros(classes, dtype=torch.int64))

    @torch.no_grad()
    def update(self, labels: Tensor, scores: Tensor) -> None:
        """Take in the scores (G,) on labeled boxes of classes (G,), in their order."""
        for c in labels.unique().tolist():
            mine = scores[labels == c][-MEMORY:].to(self.scores)
            self.scores[c] = torch.cat([self.scores[c, len(mine) :], mine])
            self.counts[c] = (self.counts[c] + len(mine)).clamp(max=MEMORY)

    def quantiles(self, share: float) -> Tensor:
        """(C,) as the function of that name, of what is remembered."""
        filled = torch.arange(MEMORY, device=self.scores.device)[None] >= MEMORY - self.counts[:, None]
        classes, places = filled.nonzero(as_tuple=True)
        return quantiles(classes, self.scores[classes, places], len(self.counts), share)
