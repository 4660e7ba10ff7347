"""Co-mining (Wang et al., AAAI 2021): two views label each other's missing objects.

One detector sees an image as it is (`weak`) and color-jittered (`strong`), same geometry. The confident detections of
each view, fused with the sparse labels, are the targets of the other. With `unlabeled`, which is ours, images without
any label take part in the same way; one in which nothing was found teaches no background.
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
from scantling.data.loader import TrainingStep
from scantling.methods import MethodParams, supervised
from scantling.mining import exchange, found, label_limits
from scantling.target import Batch, Target


class Params(MethodParams):
    method: Literal["co_mining"] = "co_mining"
    teacher: Literal["student", "ema", "frozen", "cached"] = "student"  # type: ignore[assignment]
    second_view: Literal["strong", "labeled"] = "strong"
    mine_score: float = Field(ge=0, le=1)
    merge_iou: float = Field(ge=0, le=1)
    merge_any_class: bool = Field(False, description="whether a label of another class drops a mined box as well; ours")
    nms_iou: float = Field(gt=0, le=1)
    limit: int = Field(gt=0)
    keep_empty_images: bool = False
    ignore_above: float | None = Field(None, ge=0, le=1)
    unlabeled: bool = False
    by_labels: label_limits.LabelLimits | None = None

    _offline = model_validator(mode="after")(label_limits.offline)


class Method(supervised.Method):
    threshold = "mine_score"
    mines_labeled = True

    def __init__(self, params: Params, classes: tuple[str, ...], refined: pd.DataFrame | None):
        super().__init__(params, classes, refined)
        self.params: Params = params
        if params.by_labels is not None:
            self.threshold = "mine_quantile"
        self.labeled_views = ("weak", params.second_view)
        self.unlabeled_views = self.labeled_views if params.unlabeled else ()
        self.keep_empty_images = params.keep_empty_images
        cached = params.teacher == "cached" and refined is not None
        self.table = CandidateTable(refined[refined["for_class"] | refined["ignore"]]) if cached else None

    def step(
        self, student: nn.Module, teacher: nn.Module | None, batch: TrainingStep
    ) -> tuple[supervised.Losses, dict[str, float]]:
        losses: supervised.Losses = {}
        logged: dict[str, float] = {}
        for side, views in (("labeled", batch.labeled), ("unlabeled", batch.unlabeled)):
            if views:
                own, mined = self._exchanged(student, teacher, [views[name] for name in self.labeled_views], side)
                losses |= {f"{side}/{name}": loss for name, loss in own.items()}
                logged["pseudo_boxes" if side == "labeled" else "pseudo_boxes_unlabeled"] = mined
        return losses, logged

    def _exchanged(
        self, student: nn.Module, teacher: nn.Module | None, pair: list[Batch], side: str
    ) -> tuple[supervised.Losses, float]:
        """The losses of both views, each with what the other one finds, and the mean number of mined boxes."""
        losses: supervised.Losses = {}
        mined = 0
        features = {id(view): student.features(view.images, view.sizes) for view in pair}
        for view, other in (pair, pair[::-1]):
            if self.table is None:
                mining = found.unless(self._mine(student, teacher, other, features[id(other)]), other, self.corrected)
                move = view.matrices @ torch.linalg.inv(other.matrices)  # identity where the views share their geometry
                moved = [c.moved(m, s) for c, m, s in zip(mining, move, view.sizes, strict=True)]
            else:  # a table knows the boxes in every view, whole; the other one might have cut them
                mining = moved = found.unless(found.read(self.table, view), view, self.corrected)
            self.scores.add(torch.cat([c.scores for c in mining]), len(mining))
            targets = [self._target(t, c) for t, c in zip(view.targets, moved, strict=True)]
            if side == "unlabeled":  # nobody said that nothing is there
                targets = [replace(t, background=len(t) > 0) for t in targets]
            self.record.see(view, targets, [len(t) for t in view.targets])
            mined += sum(len(t) for t in targets) - sum(len(t) for t in view.targets)
            for name, loss in student.losses(features[id(view)], targets, view.sizes).items():
                losses[name] = losses.get(name, 0.0) + loss
        return losses, mined / max(2 * len(pair[0]), 1)

    @torch.no_grad()
    def _mine(
        self, student: nn.Module, teacher: nn.Module | None, view: Batch, features: list[Tensor]
    ) -> list[Candidates]:
        """What is found in a view: by the student itself (the paper) or a teacher network."""
        p = self.params
        miner = student if p.teacher == "student" or teacher is None else teacher
        if miner is not student:
            features = miner.features(view.images, view.sizes)
        floor = p.mine_score if p.ignore_above is None else min(p.mine_score, p.ignore_above)
        return found.seen(miner, features, view, score_threshold=floor, nms_iou=p.nms_iou, limit=p.limit)

    def _target(self, truth: Target, seen: Candidates) -> Target:
        """The sparse labels, then the surviving mined boxes; uncertain ones are ignored where that is asked for."""
        p = self.params
        pair = (truth.boxes, truth.labels, seen.boxes, seen.labels)
        fresh = exchange.is_new(*pair, p.merge_iou, any_class=p.merge_any_class)
        fresh &= box_ops.has_area(seen.boxes)
        # by the class probability, which a detector's score may lie below (FCOS, section 4)
        certainty = seen.scores if seen.class_probabilities is None else seen.class_probabilities
        sure = certainty > p.mine_score
        uncertain = torch.zeros_like(sure) if p.ignore_above is None else ~sure & (certainty > p.ignore_above)
        if seen.flags is not None:  # polish, and whoever looked at its table, decided
            sure, uncertain = seen.flags[:, FLAGS.index("for_class")], seen.flags[:, FLAGS.index("ignore")]
        mined, uncertain = seen.keep(fresh & sure), fresh & uncertain
        return Target.of(
            torch.cat([truth.boxes, mined.boxes]),
            torch.cat([truth.labels, mined.labels]),
            scores=torch.cat([truth.scores, mined.scores]),
            ignore=torch.cat([truth.ignore, seen.boxes[uncertain]]),
            background_from_iou=truth.background_from_iou,
            seed=truth.seed,
        )

    def refine(self, table: pd.DataFrame, split: pd.DataFrame) -> tuple[pd.DataFrame, dict[str, object]]:
        """The fusion as a table: which of the frozen detector's boxes the sparse labels do not have (section 11)."""
        p, refined = self.params, supervised.unused(table)
        seen = split["image_id"] if p.unlabeled else split.loc[split["labeled"], "image_id"]
        fresh = table["image_id"].isin(seen) & exchange.new_rows(table, split, p.merge_iou, any_class=p.merge_any_class)
        high, low = self._limits(table, split[split["box_id"] >= 0], fresh)
        sure = table["score"] if p.by_labels else pseudo.class_probability(table)  # as in training
        mined = fresh & (sure > high)
        for flag in ("for_objectness", "for_class", "for_box"):
            refined[flag] = mined
        refined.loc[mined, "source"] = "mined"
        refined["ignore"] = fresh & ~mined & (sure > low)
        return refined, {"rows": len(refined), "mined": int(mined.sum()), "ignored": int(refined["ignore"].sum())}

    def _limits(self, table: pd.DataFrame, kept: pd.DataFrame, fresh: pd.Series) -> tuple[pd.Series, pd.Series]:
        """For each row the score from which it is mined, and the one from which it is no background."""
        p, own = self.params, self.params.by_labels
        if own is None:
            low = float("inf") if p.ignore_above is None else p.ignore_above
            return pd.Series(p.mine_score, index=table.index), pd.Series(low, index=table.index)
        return label_limits.rows(table, kept, fresh, len(self.classes), own)
