"""How far a sample may be trusted to be background: what a teacher says of it (Soft Teacher, eq. 5-6)."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from scantling import boxes as box_ops
from scantling.candidates import Candidates
from scantling.detectors.protocol import BackgroundWeight
from scantling.target import Batch


def reliability(
    mode: str,
    teacher: nn.Module | None,
    features: list[Tensor],
    weak: Batch,
    strong: Batch,
    weak_to_strong: Tensor,
    candidates: Sequence[Candidates],
    iou: float,
) -> BackgroundWeight | Tensor | None:
    """How far each sample of the strong view counts as background, by the key `background` of a method.

    off: fully, None. live: as the teacher says who is asked, or whose places are read off if the detector has one stage
    and the views share them; in all other cases, guessed from the candidates (in the strong view).
    features: the teacher's of the weak view; weak_to_strong (B, 3, 3).
    """
    if mode == "off":
        return None
    if mode == "live" and teacher is not None:
        if teacher.has_background:
            return asked(teacher, features, weak, weak_to_strong)
        if share_places(weak, strong):
            return read_off(teacher, features, weak)
    return guessed(candidates, iou)


def asked(teacher: nn.Module, features: list[Tensor], weak: Batch, weak_to_strong: Tensor) -> BackgroundWeight:
    """Asks a live teacher that has a background class: boxes of the strong view are carried back into the weak one.

    features: the teacher's of the weak view; weak_to_strong (B, 3, 3).
    """

    @torch.no_grad()
    def background_weight(image: int, boxes: Tensor) -> Tensor:
        back = torch.linalg.inv(weak_to_strong[image])
        seen = box_ops.transform(boxes, back, weak.sizes[image])
        own = [level[image : image + 1] for level in features]
        probabilities, _ = teacher.score(own, [seen], [weak.sizes[image]])[0]
        return (1 - probabilities.sum(1)).clamp(0, 1)

    return background_weight


def share_places(weak: Batch, strong: Batch) -> bool:
    """Whether the views have the same pixels in the same places, so that a place of one is that of the other."""
    return weak.sizes == strong.sizes and torch.equal(weak.matrices, strong.matrices)


@torch.no_grad()
def read_off(teacher: nn.Module, features: list[Tensor], weak: Batch) -> Tensor:
    """(B, R) 1 - the teacher's best class probability at each place of a single-stage detector; views share places.

    The sigmoid's form of a background probability (soft_teacher.md section 13.2, i).
    """
    return 1 - teacher.sureness(features, weak.sizes)


def guessed(candidates: Sequence[Candidates], iou: float) -> BackgroundWeight:
    """1 - the best score of a candidate that overlaps by `iou`, 1 where none does; candidates in the student's view.

    The teacher's background probability where it cannot be asked (soft_teacher.md sections 13.2 and 14.1).
    """

    @torch.no_grad()
    def background_weight(image: int, boxes: Tensor) -> Tensor:
        known = candidates[image]
        if len(boxes) == 0 or len(known) == 0:
            return boxes.new_ones(len(boxes))
        return 1 - ((box_ops.iou(boxes, known.boxes) >= iou) * known.scores).amax(1)

    return background_weight
