"""Soft Teacher (Xu et al., ICCV 2021): three subsets of the teacher's boxes train three losses.

Score decides for objectness and class, the spread of jittered boxes for regression; the class loss trusts a background
sample as far as the teacher calls it background. Follows the published code where it and the paper disagree
(sections of the specification are named in the parameters). On single-stage detectors (section 13) the boxes before NMS
stand for jittered ones, and 1 - the best class probability of a place for its background probability.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Annotated, Literal, Self

import pandas as pd
import torch
from pydantic import Field, model_validator
from torch import Tensor, nn

from scantling import agreement, pseudo
from scantling import boxes as box_ops
from scantling.candidates import FLAGS, Candidates, CandidateTable
from scantling.data.loader import TrainingStep
from scantling.methods import MethodParams, supervised
from scantling.mining import background, density_limits, exchange, found, precision_limits
from scantling.params import ParamsError
from scantling.stage import BadInput
from scantling.target import Batch, Target


class Params(MethodParams):
    method: Literal["soft_teacher"] = "soft_teacher"
    unlabeled_weight: float = Field(ge=0)
    candidate_floor: float = Field(ge=0, le=1)
    candidate_score: float = Field(ge=0, le=1)
    nms_iou: float = Field(gt=0, le=1)
    limit: int = Field(gt=0)
    objectness_score: float = Field(ge=0, le=1)
    class_score: float = Field(ge=0, le=1)
    class_score_of: dict[str, Annotated[float, Field(ge=0, le=1)]] = Field(default_factory=dict)
    scores_by_density: tuple[float, float] | None = None
    scores_by_precision: tuple[float, float, float] | None = None
    box_filter: Literal["spread", "tta", "score", "none"]
    box_spread: float = Field(gt=0)
    jitter_times: int = Field(ge=2)
    jitter_fraction: float = Field(gt=0)
    background: Literal["live", "cached", "off"]
    background_iou: float = Field(0.5, gt=0, le=1)
    ignore_above: float | None = Field(None, ge=0, le=1)
    mine_labeled: bool = False
    labeled_views: tuple[Literal["labeled", "weak", "strong"], ...] = Field(("labeled",), min_length=1)

    @model_validator(mode="after")
    def _possible(self) -> Self:
        if self.teacher == "cached" and self.background == "live":
            raise ValueError("`background: live` asks a live teacher; with `teacher: cached` use cached or off")
        if self.scores_by_density is not None:
            _check_scores_of_table("scores_by_density", self, *self.scores_by_density)
        if self.scores_by_precision is not None:
            share, *limits = self.scores_by_precision
            if not 0 < share <= 1:
                raise ValueError(f"`scores_by_precision` wants a share of {share} right boxes: write one from 0 to 1")
            _check_scores_of_table("scores_by_precision", self, *limits)
        if self.scores_by_density is not None and self.scores_by_precision is not None:
            raise ValueError(
                "`scores_by_density` and `scores_by_precision` set the same thresholds: write null for one"
            )
        if self.teacher == "cached" and self.box_filter == "tta":
            raise ValueError("`box_filter: tta` asks a live teacher; with `teacher: cached` use spread, score or none")
        return self


class Method(supervised.Method):
    unlabeled_views = ("weak", "strong")
    threshold = "class_score"

    def __init__(self, params: Params, classes: tuple[str, ...], refined: pd.DataFrame | None):
        super().__init__(params, classes, refined)
        self.params: Params = params
        self.labeled_views = params.labeled_views
        unknown = sorted(set(params.class_score_of) - set(classes))
        if unknown:
            raise ParamsError(f"`class_score_of` names {unknown}, but the classes are {list(classes)}")
        # a class with a threshold of its own has it for objectness too: else its objects are taught as background
        self.class_threshold = torch.tensor([params.class_score_of.get(c, params.class_score) for c in classes])
        self.objectness_threshold = torch.tensor(
            [params.class_score_of.get(c, params.objectness_score) for c in classes]
        )
        self.mines_labeled = params.mine_labeled
        if params.objectness_score < params.class_score:  # it decides what passes at all
            self.threshold = "objectness_score"
        self.table = CandidateTable(refined) if params.teacher == "cached" and refined is not None else None

    def step(
        self, student: nn.Module, teacher: nn.Module | None, batch: TrainingStep
    ) -> tuple[supervised.Losses, dict[str, float]]:
        mined = {}
        if self.params.mine_labeled and batch.labeled:
            completed = {n: replace(v, targets=self._completed(teacher, v)) for n, v in batch.labeled.items()}
            added = [
                sum(int(t.for_class.sum()) for t in completed[n].targets) - sum(map(len, v.targets))
                for n, v in batch.labeled.items()
            ]
            mined["pseudo_boxes_labeled"] = sum(added) / max(sum(map(len, batch.labeled.values())), 1)
            for name, view in batch.labeled.items():
                self.record.see(view, completed[name].targets, [len(t) for t in view.targets])
            batch = replace(batch, labeled=completed)
        losses, logged = super().step(student, teacher, batch)
        logged |= mined
        if not batch.unlabeled:
            return losses, logged
        weak, strong = batch.unlabeled["weak"], batch.unlabeled["strong"]
        with torch.no_grad():
            weak_features = teacher.features(weak.images, weak.sizes) if teacher is not None else []
            candidates = self._candidates(teacher, weak_features, weak)
        self.scores.add(torch.cat([c.scores for c in candidates]), len(candidates))
        weak_to_strong = strong.matrices @ torch.linalg.inv(weak.matrices)
        moved = [c.moved(m, s) for c, m, s in zip(candidates, weak_to_strong, strong.sizes, strict=True)]
        targets = [self._target(c, t.seed) for c, t in zip(moved, strong.targets, strict=True)]
        self.record.see(strong, targets)
        p = self.params
        weigh = background.reliability(
            p.background, teacher, weak_features, weak, strong, weak_to_strong, moved, p.background_iou
        )
        unlabeled = self.view_losses(student, strong, targets, "unlabeled", batch.step, background_weight=weigh)
        losses |= {f"unlabeled/{name}": self.params.unlabeled_weight * loss for name, loss in unlabeled.items()}
        count = max(len(targets), 1)
        logged["pseudo_boxes"] = sum(int((t.for_class | t.for_objectness).sum()) for t in targets) / count
        logged["pseudo_boxes_for_box"] = sum(int(t.for_box.sum()) for t in targets) / count
        return losses, logged

    @torch.no_grad()
    def _completed(self, teacher: nn.Module | None, view: Batch) -> list[Target]:
        """Sparse labels and what the teacher sees beside them in the same view, used as in unlabeled images; ours."""
        features = teacher.features(view.images, view.sizes) if teacher is not None else []
        # not a subclass's, whose statistics are of unlabeled images
        seen = Method._candidates(self, teacher, features, view)
        targets = []
        for truth, one in zip(view.targets, found.unless(seen, view, self.corrected), strict=True):
            new = exchange.is_new(truth.boxes, truth.labels, one.boxes, one.labels, self.params.nms_iou)
            extra = self._target(one.keep(new), truth.seed)
            both = {k: torch.cat([getattr(truth, k), v]) for k, v in vars(extra).items() if isinstance(v, Tensor)}
            targets.append(replace(truth, **both))
        return targets

    def _candidates(self, teacher: nn.Module | None, features: list[Tensor], weak: Batch) -> list[Candidates]:
        """Candidates in the weak view: the live teacher's (section 6), or the cached ones."""
        if teacher is None:
            assert self.table is not None, "teacher mode cached needs the refined labels"
            device = weak.images.device
            read = [self.table.of(i).to(device) for i in weak.image_ids]
            return [c.moved(m, s) for c, m, s in zip(read, weak.matrices, weak.sizes, strict=True)]
        p = self.params
        asked = {"score_threshold": p.candidate_floor, "nms_iou": p.nms_iou, "limit": p.limit, "labeling": True}
        seen = teacher.detect(features, weak.sizes, **asked)
        if p.box_filter == "tta":
            again = {"score_floor": p.candidate_floor, "nms_iou": p.nms_iou, "limit": p.limit}
            spreads = agreement.tta_spread(teacher, weak, seen, **again, score_above=p.candidate_score)
        elif p.box_filter == "spread" and not teacher.has_background:
            limits = {"score_floor": p.candidate_floor, "score_above": p.candidate_score}
            spreads = agreement.cluster_spread(teacher, features, seen, weak.sizes, **limits)
        elif p.box_filter == "spread":
            spreads = pseudo.box_spread(
                teacher, features, seen, weak.sizes,
                times=p.jitter_times, fraction=p.jitter_fraction, score_above=p.candidate_score,
                generators=pseudo.target_generators(weak.targets),
            )  # fmt: skip
        else:
            spreads = [torch.full_like(one.scores, float("nan")) for one in seen]
        return [Candidates(f.boxes, f.labels, f.scores, s) for f, s in zip(seen, spreads, strict=True)]

    def _target(self, candidates: Candidates, seed: int | None = None) -> Target:
        """The boxes of section 7 with their visibility; all comparisons are strict."""
        flags = self._flags(candidates)
        used = flags["for_objectness"] | flags["for_class"] | flags["for_box"]
        kept = candidates.keep(used)
        return Target.of(
            kept.boxes,
            kept.labels,
            weights=kept.weights,
            scores=kept.scores,
            for_objectness=flags["for_objectness"][used],
            for_class=flags["for_class"][used],
            for_box=flags["for_box"][used],
            ignore=candidates.boxes[flags["ignore"]],
            seed=seed,
        )

    def _flags(self, candidates: Candidates) -> dict[str, Tensor]:
        p, scores = self.params, candidates.scores
        solid = box_ops.has_area(candidates.boxes)
        if candidates.flags is not None:  # polish, and whoever looked at its table, decided
            return {name: solid & flag for name, flag in zip(FLAGS, candidates.flags.unbind(1), strict=True)}
        for_class = solid & (scores > self.class_threshold.to(scores.device)[candidates.labels])
        for_objectness = solid & (scores > self.objectness_threshold.to(scores.device)[candidates.labels])
        for_box = for_class if p.box_filter == "score" else torch.zeros_like(solid)
        if p.box_filter in ("spread", "tta"):  # where no spread was measured (infinite: it was), the class set: ours
            certain = solid & (scores > p.candidate_score) & (candidates.spread < p.box_spread)
            for_box = torch.where(candidates.spread.isnan(), for_class, certain)
        ignore = torch.zeros_like(solid)
        if p.ignore_above is not None:
            ignore = solid & ~for_class & (scores > p.ignore_above)
        return {"for_objectness": for_objectness, "for_class": for_class, "for_box": for_box, "ignore": ignore}

    def refine(self, table: pd.DataFrame, split: pd.DataFrame) -> tuple[pd.DataFrame, dict[str, object]]:
        """Which loss sees which box: the cached form of section 7, thresholds applied here and not by the teacher."""
        refined = supervised.unused(table)
        here = table["image_id"].isin(split.loc[~split["labeled"], "image_id"]).to_numpy()
        if self.params.mine_labeled:
            here = here | exchange.new_rows(table, split, self.params.nms_iou)
        part = table[here]
        if self.params.scores_by_density is not None:
            options = {"default": self.class_threshold, "limits": self.params.scores_by_density}
            self.class_threshold = density_limits.thresholds(part, split, len(self.class_threshold), **options)
            self.objectness_threshold = self.class_threshold
        if self.params.scores_by_precision is not None:
            if self.held_out is None:
                raise BadInput(
                    "`scores_by_precision` asks held-out images how many boxes are right, but no labeled image is in "
                    "`val`: give the data a `val_share`, or write `scores_by_precision: null`"
                )
            share, *limits = self.params.scores_by_precision
            options = {"share": share, "limits": tuple(limits)}
            self.class_threshold = precision_limits.thresholds(self.held_out, len(self.class_threshold), **options)
            # classes that are often wrong teach no class; the places of their objects are still learned
            self.objectness_threshold = self.class_threshold.clamp(max=self.params.objectness_score)
        everything = CandidateTable(part.assign(image_id=0)).of(0)
        for name, flag in self._flags(everything).items():
            refined.loc[here, name] = flag.numpy()
        used = refined[FLAGS[:3]].any(axis=1) & table["image_id"].isin(split.loc[split["labeled"], "image_id"])
        refined.loc[used, "source"] = "mined"
        counts = {name: int(refined[name].sum()) for name in FLAGS}
        scores = {"class_scores": [round(score, 4) for score in self.class_threshold.tolist()]}
        return refined, {"rows": len(refined), **counts, **scores}


def _check_scores_of_table(name: str, params: Params, low: float, high: float) -> None:
    if not 0 <= low <= high <= 1:
        raise ValueError(f"`{name}` has the limits {low}, {high}: write the lowest score first, both from 0 to 1")
    if params.teacher != "cached":
        raise ValueError(f"`{name}` looks at the boxes of all images: it needs `teacher: cached`")
    if params.mine_labeled:
        raise ValueError(f"`{name}` takes labeled images as completely labeled: it needs `mine_labeled: false`")
