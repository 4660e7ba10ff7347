"""Unbiased Teacher (Liu et al., ICLR 2021): confident boxes of an averaged teacher train the class losses alone.

Weak and strong view share their geometry. The focal loss of the second stage is a setting of the detector
(`roi.focal_gamma`), the average over the whole state one of the training (`ema.buffers`). Sections are those of the
specification of the released code.
"""

from __future__ import annotations

from typing import Literal

import pandas as pd
import torch
from pydantic import Field
from torch import Tensor, nn

from scantling import boxes as box_ops
from scantling.candidates import FLAGS, Candidates, CandidateTable
from scantling.data.loader import TrainingStep
from scantling.methods import MethodParams, supervised
from scantling.mining import found
from scantling.target import Batch, Target

BOX_LOSSES = ("rpn_box", "box", "centerness")  # what a pseudo box's exact place decides


class Params(MethodParams):
    method: Literal["unbiased_teacher"] = "unbiased_teacher"
    class_weight: float = Field(ge=0)
    box_weight: float = Field(ge=0)
    pseudo_score: float = Field(ge=0, le=1)
    candidate_floor: float = Field(ge=0, le=1)
    nms_iou: float = Field(gt=0, le=1)
    limit: int = Field(gt=0)


class Method(supervised.Method):
    labeled_views = ("weak", "strong")
    unlabeled_views = ("weak", "strong")
    threshold = "pseudo_score"

    def __init__(self, params: Params, classes: tuple[str, ...], refined: pd.DataFrame | None):
        super().__init__(params, classes, refined)
        self.params: Params = params
        self.table = CandidateTable(refined) if params.teacher == "cached" and refined is not None else None

    def step(
        self, student: nn.Module, teacher: nn.Module | None, batch: TrainingStep
    ) -> tuple[supervised.Losses, dict[str, float]]:
        losses: supervised.Losses = {}
        if batch.labeled:
            both = Batch.joined([batch.labeled["strong"], batch.labeled["weak"]])  # one pass over twice the images
            labeled = self.view_losses(student, both, both.targets, "labeled", batch.step)
            losses = {f"labeled/{name}": loss for name, loss in labeled.items()}
        if not batch.unlabeled:
            return losses, {}
        weak, strong = batch.unlabeled["weak"], batch.unlabeled["strong"]
        move = strong.matrices @ torch.linalg.inv(weak.matrices)  # identity where the views share their geometry
        seen = self._candidates(teacher, weak)
        self.scores.add(torch.cat([c.scores for c in seen]), len(seen))
        boxes = [c.moved(m, s) for c, m, s in zip(seen, move, strong.sizes, strict=True)]
        targets = [self._target(c, t.seed) for c, t in zip(boxes, strong.targets, strict=True)]
        self.record.see(strong, targets)
        for name, loss in self.view_losses(student, strong, targets, "unlabeled", batch.step).items():
            weight = self.params.box_weight if name in BOX_LOSSES else self.params.class_weight
            losses[f"unlabeled/{name}"] = weight * loss
        return losses, {"pseudo_boxes": sum(len(t) for t in targets) / max(len(targets), 1)}

    @torch.no_grad()
    def _candidates(self, teacher: nn.Module | None, weak: Batch) -> list[Candidates]:
        if teacher is None:
            assert self.table is not None, "teacher mode cached needs the refined labels"
            return found.read(self.table, weak)
        p, features = self.params, teacher.features(weak.images, weak.sizes)
        return found.seen(teacher, features, weak, score_threshold=p.candidate_floor, nms_iou=p.nms_iou, limit=p.limit)

    def _target(self, candidates: Candidates, seed: int | None = None) -> Target:
        """The pseudo boxes; an image without any is background all over, as published (section 2)."""
        kept = candidates.keep(self._sure(candidates))
        return Target.of(kept.boxes, kept.labels, weights=kept.weights, scores=kept.scores, seed=seed)

    def _sure(self, candidates: Candidates) -> Tensor:
        solid = box_ops.has_area(candidates.boxes)  # ours: a box without area is no target a detector can code
        if candidates.flags is not None:  # polish, and whoever looked at its table, decided
            return solid & candidates.flags[:, FLAGS.index("for_class")]
        return solid & (candidates.scores > self.params.pseudo_score)  # strict, in float32 (section 3)

    def refine(self, pseudo: pd.DataFrame, split: pd.DataFrame) -> tuple[pd.DataFrame, dict[str, object]]:
        """The confident boxes of unlabeled images; exact for a frozen teacher (section 8)."""
        refined = supervised.unused(pseudo)
        unlabeled = pseudo["image_id"].isin(split.loc[~split["labeled"], "image_id"])
        sure = unlabeled & (pseudo["score"].astype("float32") > self.params.pseudo_score)
        refined["for_objectness"] = refined["for_class"] = sure
        refined["for_box"] = sure & (self.params.box_weight > 0)
        return refined, {"rows": len(refined), "kept": int(sure.sum())}
