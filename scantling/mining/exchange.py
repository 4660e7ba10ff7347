"""Boxes that views and networks hand to each other: moved, corrected by a teacher, fused with what a person drew.

The family of Co-mining and Co-Student. Shapes: T teacher boxes, S student boxes, G truth boxes, N boxes.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd
import torch
from torch import Tensor
from torchvision.ops import batched_nms

from scantling import boxes as box_ops
from scantling.candidates import Candidates
from scantling.data.by_image import ByImage
from scantling.data.index import XYXY


def moved(found: Candidates, matrix: Tensor, size: tuple[int, int]) -> Candidates:
    """The boxes in another view of (height, width) `size`; those that have no area there are left out.

    Co-Student section 3: hull of the four corners, clipped.
    """
    there = found.moved(matrix, size)
    return there.keep(box_ops.has_area(there.boxes))


def is_new(
    truth: Tensor, truth_labels: Tensor, boxes: Tensor, labels: Tensor, iou: float, *, any_class: bool = False
) -> Tensor:
    """(N,) bool: no truth box of the same class overlaps by more than `iou` (strict). Co-mining section 5.

    any_class (ours): nor one of another class.
    """
    if len(truth) == 0 or len(boxes) == 0:
        return torch.ones(len(boxes), dtype=torch.bool, device=boxes.device)
    same = (labels[:, None] == truth_labels[None]) | any_class
    return ~((box_ops.iou(boxes, truth) > iou) & same).any(1)


def new_rows(table: pd.DataFrame, split: pd.DataFrame, iou: float, *, any_class: bool = False) -> np.ndarray:
    """(N,) bool, `is_new` for the rows of a table of boxes against the boxes that a split kept of their images."""
    kept, fresh = split[split["box_id"] >= 0], np.ones(len(table), dtype=bool)
    of_truth, of_table = (ByImage(rows["image_id"].to_numpy()) for rows in (kept, table))
    truth, found = (
        (torch.tensor(rows[XYXY].to_numpy("float32")), torch.tensor(rows["label"].to_numpy("int64")))
        for rows in (kept, table)
    )
    for image_id in np.intersect1d(of_truth.ids, of_table.ids).tolist():
        known, seen = of_truth.rows(image_id), of_table.rows(image_id)
        pair = (*(column[known] for column in truth), *(column[seen] for column in found))
        fresh[seen] = is_new(*pair, iou, any_class=any_class).numpy()
    return fresh


def revised(teacher: Candidates, student: Candidates, iou: float) -> Candidates:
    """The student's boxes corrected by the teacher's: teacher boxes that no student box meets, then the student's.

    A student box becomes the teacher box that it overlaps most among those that overlap it by more than `iou` and
    score at least as much, whatever their classes. A teacher box that overlaps some student box by `iou` or more is
    not added by itself, even if it lost. Co-Student section 6. Both sets are in one frame; student boxes are cut at 0
    where there are boxes of both.
    """
    if not len(teacher) or not len(student):
        return _joined(teacher, student)
    overlap = box_ops.iou(teacher.boxes, student.boxes)  # (T, S)
    stronger = (overlap > iou) & (teacher.scores[:, None] >= student.scores[None])
    best = torch.where(stronger, overlap, overlap.new_full((), -1.0)).argmax(0)  # (S,)
    replaced = stronger.any(0)
    corrected = replace(
        student,
        boxes=torch.where(replaced[:, None], teacher.boxes[best], student.boxes).clamp(min=0),
        labels=torch.where(replaced, teacher.labels[best], student.labels),
        scores=torch.where(replaced, teacher.scores[best], student.scores),
    )
    alone = (overlap < iou).all(1)
    return _joined(teacher.keep(alone), corrected)


def without_copies(found: Candidates) -> Candidates:
    """Of boxes with exactly the same corners and class, only the first; for detectors that sample anchors or RoIs.

    `revised` may turn two student boxes into one teacher box; FCOS does not mind (Co-Student section 12, item 4).
    """
    if not len(found):
        return found
    rows = torch.cat([found.boxes, found.labels[:, None].to(found.boxes)], 1)
    equal = (rows[:, None] == rows[None]).all(2)
    return found.keep(equal.int().argmax(1) == torch.arange(len(rows), device=rows.device))


def confident_added(
    truth: Tensor, truth_labels: Tensor, found: Candidates, *, score: float, nms_iou: float, truth_protected: bool
) -> tuple[Candidates, int]:
    """The truth (scored 1) and what was found above `score`, after class-wise NMS, and how many of them are truth.

    truth_protected: a truth box is never suppressed; the reference lets truth boxes of one class suppress each other.
    SparseDet section 5, step 5, and section 11, item 2. Truth first, then best score first.
    """
    drawn = Candidates(truth, truth_labels, *truth.new_tensor([1.0, float("nan")])[:, None].expand(2, len(truth)))
    sure = found.keep(found.scores > score)
    if truth_protected:
        sure = sure.keep(is_new(truth, truth_labels, sure.boxes, sure.labels, nms_iou))
        sure = sure.keep(batched_nms(sure.boxes, sure.scores, sure.labels, nms_iou))
    both = _joined(drawn, sure)
    if truth_protected:
        return both, len(truth)
    kept = batched_nms(both.boxes, both.scores, both.labels, nms_iou)
    found_ones = kept >= len(truth)
    return both.keep(kept[found_ones.int().argsort(stable=True)]), int((~found_ones).sum())


def _joined(first: Candidates, second: Candidates) -> Candidates:
    return Candidates(
        torch.cat([first.boxes, second.boxes]),
        torch.cat([first.labels, second.labels]),
        torch.cat([first.scores, second.scores]),
        torch.cat([first.spread, second.spread]),
    )
