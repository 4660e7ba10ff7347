"""The boxes known of the images of a view: by a network that looks at it, or from a table."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from scantling.candidates import Candidates, CandidateTable
from scantling.target import Batch


def read(table: CandidateTable, view: Batch) -> list[Candidates]:
    """Per image the table's candidates in pixels of the view, clipped to it; some may have lost their area there."""
    rows = [table.of(i).to(view.images.device) for i in view.image_ids]
    return [c.moved(m, s) for c, m, s in zip(rows, view.matrices, view.sizes, strict=True)]


@torch.no_grad()
def seen(
    network: nn.Module, features: list[Tensor], view: Batch, *, score_threshold: float, nms_iou: float, limit: int
) -> list[Candidates]:
    """Per image what a network detects in a view of which it has made the features; the box spread is not known."""
    found = network.detect(
        [level.detach() for level in features],
        view.sizes,
        score_threshold=score_threshold,
        nms_iou=nms_iou,
        limit=limit,
        labeling=True,
    )
    return [
        Candidates(
            f.boxes,
            f.labels,
            f.scores,
            torch.full_like(f.scores, float("nan")),
            class_probabilities=f.probabilities.gather(1, f.labels[:, None])[:, 0],
        )
        for f in found
    ]


def unless(found: list[Candidates], view: Batch, finished: frozenset[int]) -> list[Candidates]:
    """The same, but nothing in images that a person has finished."""
    return [f.keep(slice(0, 0)) if i in finished else f for f, i in zip(found, view.image_ids, strict=True)]
