"""Co-mining (Wang et al., AAAI 2021): two views label each other's missing objects.

One detector sees an image as it is (`weak`) and color-jittered (`strong`), same geometry. The confident detections of
each view, fused with the sparse labels, are the targets of the other. Unlabeled images take no part.
"""

from __future__ import annotations

from typing import Literal

import pandas as pd
import torch
from pydantic import Field
from torch import Tensor, nn

from scantling import boxes as box_ops
from scantling import distributed
from scantling.candidates import FLAGS, Candidates, CandidateTable
from scantling.data.index import XYXY
from scantling.data.loader import TrainingStep
from scantling.methods import MethodParams, supervised
from scantling.mining import exchange, found, label_scores
from scantling.target import Batch, Target


class Params(MethodParams):
    method: Literal["co_mining"] = "co_mining"
    teacher: Literal["student", "ema", "frozen", "cached"] = "student"  # type: ignore[assignment]
    mine_score: float = Field(ge=0, le=1)
    merge_iou: float = Field(ge=0, le=1)
    nms_iou: float = Field(gt=0, le=1)
    limit: int = Field(gt=0)
    keep_empty_images: bool = False
    ignore_above: float | None = Field(None, ge=0, le=1)
    mine_quantile: float | None = Field(None, ge=0, le=1)
    ignore_quantile: float | None = Field(None, ge=0, le=1)
    candidate_floor: float = Field(0.05, ge=0, le=1)


class Method(supervised.Method):
    labeled_views = ("weak", "strong")

    def __init__(self, params: Params, classes: tuple[str, ...], refined: pd.DataFrame | None):
        super().__init__(params, classes, refined)
        self.params: Params = params
        self.keep_empty_images = params.keep_empty_images
        cached = params.teacher == "cached" and refined is not None
        self.table = CandidateTable(refined[refined["for_class"] | refined["ignore"]]) if cached else None

    def step(
        self, student: nn.Module, teacher: nn.Module | None, batch: TrainingStep
    ) -> tuple[supervised.Losses, dict[str, float]]:
        weak, strong = batch.labeled["weak"], batch.labeled["strong"]
        features = {id(view): student.features(view.images, view.sizes) for view in (weak, strong)}
        losses: supervised.Losses = {}
        mined = 0
        for view, other in ((weak, strong), (strong, weak)):
            mining = found.unless(self._mine(student, teacher, other, features[id(other)]), other, self.corrected)
            move = view.matrices @ torch.linalg.inv(other.matrices)  # identity where the views share their geometry
            moved = [c.moved(m, s) for c, m, s in zip(mining, move, view.sizes, strict=True)]
            targets = [self._target(t, c) for t, c in zip(view.targets, moved, strict=True)]
            mined += sum(len(t) for t in targets) - sum(len(t) for t in view.targets)
            for name, loss in student.losses(features[id(view)], targets, view.sizes).items():
                losses[f"labeled/{name}"] = losses.get(f"labeled/{name}", 0.0) + loss
        return losses, {"pseudo_boxes": mined / max(2 * len(weak), 1)}

    @torch.no_grad()
    def _mine(
        self, student: nn.Module, teacher: nn.Module | None, view: Batch, features: list[Tensor]
    ) -> list[Candidates]:
        """What is found in a view: by the student itself (the paper), a teacher network, or a cached table."""
        p = self.params
        if self.table is not None:
            return found.read(self.table, view)
        miner = student if p.teacher == "student" or teacher is None else teacher
        if miner is not student:
            features = miner.features(view.images, view.sizes)
        floor = p.mine_score if p.ignore_above is None else min(p.mine_score, p.ignore_above)
        if p.mine_quantile is not None:
            floor = p.candidate_floor
        seen = found.seen(miner, features, view, score_threshold=floor, nms_iou=p.nms_iou, limit=p.limit)
        if p.mine_quantile is not None:
            self._learn_scores(view, seen)
        return seen

    def _learn_scores(self, view: Batch, seen: list[Candidates]) -> None:
        """How sure the miner is of what a person drew decides how sure it must be of what it finds (ours)."""
        known = [
            label_scores.on_labels(t.boxes, t.labels, c.boxes, c.labels, c.scores)
            for t, c in zip(view.targets, seen, strict=True)
        ]
        labels = torch.cat([t.labels for t in view.targets])
        self.networks["label_scores"].update(*distributed.gathered(labels, torch.cat(known)))

    def _target(self, truth: Target, seen: Candidates) -> Target:
        """The sparse labels, then the surviving mined boxes; uncertain ones are ignored where that is asked for."""
        p = self.params
        fresh = exchange.is_new(truth.boxes, truth.labels, seen.boxes, seen.labels, p.merge_iou)
        fresh &= box_ops.has_area(seen.boxes)
        # what was seen has passed `mine_score` by its class probability, which a detector's score may lie below (FCOS)
        sure, uncertain = torch.ones_like(fresh), torch.zeros_like(fresh)
        if p.mine_quantile is not None and seen.flags is None:
            high, low = self._class_scores()
            sure = seen.scores > high[seen.labels]
            uncertain = ~sure & (seen.scores > low[seen.labels])
        elif p.ignore_above is not None:
            sure = seen.scores > p.mine_score
            uncertain = ~sure & (seen.scores > p.ignore_above)
        if seen.flags is not None:  # polish, and whoever looked at its table, decided
            sure, uncertain = seen.flags[:, FLAGS.index("for_class")], seen.flags[:, FLAGS.index("ignore")]
        mined, uncertain = seen.keep(fresh & sure), fresh & uncertain
        return Target.of(
            torch.cat([truth.boxes, mined.boxes]),
            torch.cat([truth.labels, mined.labels]),
            scores=torch.cat([truth.scores, mined.scores]),
            ignore=torch.cat([truth.ignore, seen.boxes[uncertain]]),
            seed=truth.seed,
        )

    def _class_scores(self) -> tuple[Tensor, Tensor]:
        """(C,) the scores from which a box of a class is mined, and from which it is no background."""
        p, known = self.params, self.networks["label_scores"]
        high = known.quantiles(p.mine_quantile or 0.0)
        low = torch.full_like(high, float("inf")) if p.ignore_quantile is None else known.quantiles(p.ignore_quantile)
        return high, low

    def modules(self, student: nn.Module) -> dict[str, nn.Module]:
        """What is remembered of the scores on labels, where thresholds come from it."""
        wanted = self.params.mine_quantile is not None and self.table is None
        return {"label_scores": label_scores.LabelScores(len(self.classes))} if wanted else {}

    def refine(self, table: pd.DataFrame, split: pd.DataFrame) -> tuple[pd.DataFrame, dict[str, object]]:
        """The fusion as a table: which of the frozen detector's boxes the sparse labels do not have (section 11)."""
        p, refined = self.params, supervised.unused(table)
        kept = split[split["box_id"] >= 0]
        truth = {int(i): g for i, g in kept.groupby("image_id")}
        sparse = set(split.loc[split["labeled"], "image_id"])
        fresh = pd.Series(False, index=table.index)
        for image_id, rows in table.groupby("image_id"):
            if image_id in sparse:
                fresh[rows.index] = _fresh_rows(truth.get(int(image_id), kept.iloc[:0]), rows, p.merge_iou)
        high, low = self._table_scores(table, kept)
        mined = fresh & (table["score"] > high)
        for flag in ("for_objectness", "for_class", "for_box"):
            refined[flag] = mined
        refined.loc[mined, "source"] = "mined"
        refined["ignore"] = fresh & ~mined & (table["score"] > low)
        return refined, {"rows": len(refined), "mined": int(mined.sum()), "ignored": int(refined["ignore"].sum())}

    def _table_scores(self, table: pd.DataFrame, kept: pd.DataFrame) -> tuple[pd.Series, pd.Series]:
        """For each row the score from which it is mined, and from which it is no background."""
        p = self.params
        if p.mine_quantile is None:
            low = float("inf") if p.ignore_above is None else p.ignore_above
            return pd.Series(p.mine_score, index=table.index), pd.Series(low, index=table.index)
        found_in = {int(i): rows for i, rows in table.groupby("image_id")}
        known = []
        for image_id, rows in kept.groupby("image_id"):
            seen = found_in.get(int(image_id), table.iloc[:0])
            scores = torch.tensor(seen["score"].to_numpy("float32"))
            known.append(label_scores.on_labels(*_tensors(rows), *_tensors(seen), scores))
        labels = torch.tensor(kept.sort_values("image_id", kind="stable")["label"].to_numpy("int64"))
        scores = torch.cat([*known, torch.zeros(0)])
        chosen = []
        for share in (p.mine_quantile, p.ignore_quantile):
            limits = torch.full((len(self.classes),), float("inf"))
            if share is not None:
                limits = label_scores.quantiles(labels, scores, len(self.classes), share)
            chosen.append(pd.Series(limits.numpy()[table["label"].to_numpy()], index=table.index))
        return chosen[0], chosen[1]


def _fresh_rows(truth: pd.DataFrame, rows: pd.DataFrame, iou: float) -> list[bool]:
    return exchange.is_new(*_tensors(truth), *_tensors(rows), iou).tolist()


def _tensors(table: pd.DataFrame) -> tuple[Tensor, Tensor]:
    """Boxes (N, 4) and classes (N,) of a table's rows."""
    boxes = torch.tensor(table[XYXY].to_numpy("float32")).reshape(-1, 4)
    return boxes, torch.tensor(table["label"].to_numpy("int64"))
