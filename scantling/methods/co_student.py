"""Co-Student (Wu et al., ECCV 2024): two views of a sparsely labeled image teach each other, corrected by a teacher.

One detector sees a `weak` and a `strong` view; an averaged teacher sees the plain image (`raw`). The teacher's boxes
correct each view's, and each view is trained on its sparse labels and the corrected boxes of the OTHER view. Sections
are those of the specification of the released code.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Literal

import pandas as pd
import torch
from pydantic import Field, model_validator
from torch import Tensor, nn

from scantling import boxes as box_ops
from scantling import pseudo
from scantling.candidates import FLAGS, Candidates, CandidateTable
from scantling.data.loader import TrainingStep, Views
from scantling.methods import MethodParams, supervised
from scantling.mining import exchange, found, label_limits
from scantling.target import Batch, Target


class Params(MethodParams):
    method: Literal["co_student"] = "co_student"
    second_view: Literal["strong", "labeled"] = "strong"
    student_score: float = Field(ge=0, le=1)
    teacher_score: float = Field(ge=0, le=1)
    nms_iou: float = Field(gt=0, le=1)
    limit: int = Field(gt=0)
    revise: bool
    revise_iou: float = Field(ge=0, le=1)
    merge_iou: float = Field(ge=0, le=1)
    drop_copies: bool
    keep_empty_images: bool
    unlabeled: bool
    by_labels: label_limits.LabelLimits | None = None

    _offline = model_validator(mode="after")(label_limits.offline)


class Method(supervised.Method):
    threshold = "student_score"
    mines_labeled = True

    def __init__(self, params: Params, classes: tuple[str, ...], refined: pd.DataFrame | None):
        super().__init__(params, classes, refined)
        self.params: Params = params
        if params.by_labels is not None:
            self.threshold = "mine_quantile"
        self.keep_empty_images = params.keep_empty_images
        self.pair = ("weak", params.second_view)
        views = self.pair if params.teacher == "cached" or not params.revise else ("raw", *self.pair)
        self.labeled_views = views
        self.unlabeled_views = views if params.unlabeled else ()
        cached = params.teacher == "cached" and refined is not None
        self.table = CandidateTable(refined[refined["for_class"]]) if cached else None
        self.uncertain = CandidateTable(refined[refined["ignore"]]) if cached and params.by_labels else None

    def step(
        self, student: nn.Module, teacher: nn.Module | None, batch: TrainingStep
    ) -> tuple[supervised.Losses, dict[str, float]]:
        losses: supervised.Losses = {}
        logged = {}
        for side, views in (("labeled", batch.labeled), ("unlabeled", batch.unlabeled)):
            if not views:
                continue
            targets, features, mined = self._targets(student, teacher, views)
            for name in self.pair:
                sizes = views[name].sizes
                for term, loss in student.losses(features[name], targets[name], sizes).items():
                    losses[f"{side}/{term}"] = losses.get(f"{side}/{term}", 0.0) + loss
            logged["pseudo_boxes" if side == "labeled" else "pseudo_boxes_unlabeled"] = mined
        return losses, logged

    def _targets(
        self, student: nn.Module, teacher: nn.Module | None, views: Views
    ) -> tuple[dict[str, list[Target]], dict[str, list[Tensor]], float]:
        """Targets and student features of both views, and the mean number of mined boxes (sections 5 to 7)."""
        p = self.params
        features = {n: student.features(views[n].images, views[n].sizes) for n in self.pair}
        limits = {"nms_iou": p.nms_iou, "limit": p.limit}
        sets = {
            n: found.seen(student, features[n], views[n], score_threshold=p.student_score, **limits) for n in features
        }
        if p.revise:
            for name, sure in self._teacher_sets(teacher, views).items():
                revised = [exchange.revised(t, s, p.revise_iou) for t, s in zip(sure, sets[name], strict=True)]
                sets[name] = [exchange.without_copies(r) for r in revised] if p.drop_copies else revised
        targets, mined = {}, 0
        for name, other in (self.pair, self.pair[::-1]):
            view = views[name]
            move = view.matrices @ torch.linalg.inv(views[other].matrices)
            open_ = found.unless(sets[other], view, self.corrected)
            self.scores.add(torch.cat([c.scores for c in open_]), len(open_))
            there = [exchange.moved(f, m, s) for f, m, s in zip(open_, move, view.sizes, strict=True)]
            truth = view.targets if self.uncertain is None else self._beside_uncertain(view, self.uncertain)
            targets[name] = [self._target(t, f) for t, f in zip(truth, there, strict=True)]
            self.record.see(view, targets[name], [len(t) for t in view.targets])
            mined += sum(len(t) for t in targets[name]) - sum(len(t) for t in view.targets)
        return targets, features, mined / max(2 * len(views["weak"]), 1)

    @torch.no_grad()
    def _teacher_sets(self, teacher: nn.Module | None, views: Views) -> dict[str, list[Candidates]]:
        """The teacher's boxes in both views: seen in the plain image, or those of the refined table (section 4)."""
        both = {name: views[name] for name in self.pair}
        if teacher is None:
            assert self.table is not None, "teacher mode cached needs the refined labels"
            return {  # a box that a view cut down to a line would have an area again in the other one
                name: [c.keep(box_ops.has_area(c.boxes)) for c in found.read(self.table, view)]
                for name, view in both.items()
            }
        p, raw = self.params, views["raw"]
        features = teacher.features(raw.images, raw.sizes)
        sure = found.seen(teacher, features, raw, score_threshold=p.teacher_score, nms_iou=p.nms_iou, limit=p.limit)
        back = torch.linalg.inv(raw.matrices)
        return {
            name: [exchange.moved(f, m, s) for f, m, s in zip(sure, view.matrices @ back, view.sizes, strict=True)]
            for name, view in both.items()
        }

    def _beside_uncertain(self, view: Batch, table: CandidateTable) -> list[Target]:
        """The truth with the boxes that are neither mined nor background (ours, with `by_labels`)."""
        uncertain = found.unless(found.read(table, view), view, self.corrected)
        return [replace(t, ignore=torch.cat([t.ignore, u.boxes])) for t, u in zip(view.targets, uncertain, strict=True)]

    def _target(self, truth: Target, other: Candidates) -> Target:
        """The sparse labels and the other view's boxes that they do not have; an empty one teaches no background."""
        fresh = exchange.is_new(truth.boxes, truth.labels, other.boxes, other.labels, self.params.merge_iou)
        mined = other.keep(fresh)
        boxes = torch.cat([truth.boxes, mined.boxes])
        return Target.of(
            boxes,
            torch.cat([truth.labels, mined.labels]),
            scores=torch.cat([truth.scores, mined.scores]),
            ignore=truth.ignore,
            background_from_iou=truth.background_from_iou,
            seed=truth.seed,
            background=len(boxes) > 0,  # section 8
        )

    def refine(self, table: pd.DataFrame, split: pd.DataFrame) -> tuple[pd.DataFrame, dict[str, object]]:
        """The boxes that a frozen teacher would correct with, and add to the sparse labels (section 13)."""
        p, refined = self.params, supervised.unused(table)
        seen = split["image_id"] if p.unlabeled else split.loc[split["labeled"], "image_id"]
        sure = table["image_id"].isin(seen) & (pseudo.class_probability(table) > p.teacher_score)  # as in training
        if p.by_labels is not None:
            fresh = table["image_id"].isin(seen) & exchange.new_rows(table, split, p.merge_iou)
            kept = split[split["box_id"] >= 0]
            high, low = label_limits.rows(table, kept, fresh, len(self.classes), p.by_labels)
            sure = fresh & (table["score"] > high)
            refined["ignore"] = fresh & ~sure & (table["score"] > low)
        for flag in FLAGS[:3]:
            refined[flag] = sure
        refined.loc[sure, "source"] = "mined"
        return refined, {"rows": len(refined), "sure": int(sure.sum())}
