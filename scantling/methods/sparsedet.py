"""SparseDet (ICCV 2023, arXiv 2201.04620): regions that look like objects but have no label leave the supervised loss.

Two pixel-aligned views share one set of proposals. What the proposal stage finds very object-like and no label overlaps
is trained by one thing only: its features in the two views must agree. Very confident boxes of the plain view join the
targets of the other one. Who finds regions and boxes is the detector itself (`teacher: student`, as published), or a
teacher network, or a table. Sections are those of the specification of the released code.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Literal

import numpy as np
import pandas as pd
import torch
from pydantic import Field
from torch import Tensor, nn

from scantling import boxes as box_ops
from scantling import distributed
from scantling.augment.views import torch_generator
from scantling.candidates import FLAGS, Candidates, CandidateTable
from scantling.data.by_image import ByImage
from scantling.data.index import XYXY
from scantling.data.loader import TrainingStep
from scantling.detectors.losses import normalizer
from scantling.methods import MethodParams, supervised
from scantling.mining import exchange, found, pseudo_positives
from scantling.target import Batch, Target

PROPOSALS = 1000  # of a teacher, an image: as many as the reference keeps (section 2)

Told = tuple[Tensor, Candidates]  # of an image: regions (R, 4), sure boxes


class Params(MethodParams):
    method: Literal["sparsedet"] = "sparsedet"
    teacher: Literal["student", "ema", "frozen", "cached"] = "student"  # type: ignore[assignment]
    mine: bool
    mine_from_step: int = Field(ge=0)
    mine_score: float = Field(ge=0, le=1)
    mine_iou: float = Field(ge=0, le=1)
    mine_nms_iou: float = Field(gt=0, le=1)
    region_iou: float = Field(0.5, ge=0, le=1)
    agreement_weight: float = Field(ge=0)
    stop_gradient: bool
    add_score: float = Field(ge=0, le=1)
    add_nms_iou: float = Field(gt=0, le=1)
    truth_protected: bool
    candidate_floor: float = Field(ge=0, le=1)
    nms_iou: float = Field(gt=0, le=1)
    limit: int = Field(gt=0)
    keep_empty_images: bool
    unlabeled: bool


class Method(supervised.Method):
    labeled_views = ("weak", "strong")
    threshold = "add_score"

    def __init__(self, params: Params, classes: tuple[str, ...], refined: pd.DataFrame | None):
        super().__init__(params, classes, refined)
        self.params: Params = params
        self.keep_empty_images = params.keep_empty_images
        self.unlabeled_views = ("weak", "strong") if params.unlabeled else ()
        cached = params.teacher == "cached" and refined is not None
        self.table = CandidateTable(refined[refined["for_class"] | refined["ignore"]]) if cached else None

    def step(
        self, student: nn.Module, teacher: nn.Module | None, batch: TrainingStep
    ) -> tuple[supervised.Losses, dict[str, float]]:
        side_losses = self._two_stage if student.has_proposals else self._single_stage
        losses: supervised.Losses = {}
        logged: dict[str, float] = {}
        for side, views in (("labeled", batch.labeled), ("unlabeled", batch.unlabeled)):
            if views:
                told = self._told(teacher, views["weak"])
                own, seen = side_losses(student, views["weak"], views["strong"], batch.step, told)
                losses |= {f"{side}/{name}": loss for name, loss in own.items()}
                logged |= seen if side == "labeled" else {f"{name}_unlabeled": v for name, v in seen.items()}
        return losses, logged

    @torch.no_grad()
    def _told(self, teacher: nn.Module | None, weak: Batch) -> list[Told] | None:
        """Per image the regions and the sure boxes of a teacher or of the table; None: the student finds its own."""
        p = self.params
        if self.table is not None:
            ignore, sure = FLAGS.index("ignore"), FLAGS.index("for_class")
            rows = [c.keep(box_ops.has_area(c.boxes)) for c in found.read(self.table, weak)]
            told = [(c.boxes[c.flags[:, ignore]], c.keep(c.flags[:, sure])) for c in rows]
        elif teacher is None:
            return None
        else:
            features = teacher.features(weak.images, weak.sizes)
            limits = {"nms_iou": p.nms_iou, "limit": p.limit}
            seen = found.seen(teacher, features, weak, score_threshold=p.candidate_floor, **limits)
            offered = teacher.propose(features, weak.sizes, limit=PROPOSALS)
            rules = {"score": p.mine_score, "iou": p.mine_iou, "nms_iou": p.mine_nms_iou}
            mined = [pseudo_positives.mine(*o, t.boxes, **rules)[0] for o, t in zip(offered, weak.targets, strict=True)]
            told = [(o[0][m], c.keep(c.scores > p.add_score)) for o, m, c in zip(offered, mined, seen, strict=True)]
            self.scores.add(torch.cat([c.scores for c in seen]), len(seen))
        open_ = found.unless([sure for _, sure in told], weak, self.corrected)
        return [
            (regions[:0] if i in self.corrected else regions, sure)
            for (regions, _), sure, i in zip(told, open_, weak.image_ids, strict=True)
        ]

    def _kept_out(self, regions: Tensor, boxes: Tensor, step: int) -> tuple[Tensor, Tensor]:
        """A teacher's regions, and the proposals that no region overlaps (section 13); before mining starts, all."""
        p = self.params
        if not p.mine or step < p.mine_from_step:
            return regions[:0], boxes
        if not len(regions):
            return regions, boxes
        return regions, boxes[~(box_ops.iou(boxes, regions) > p.region_iou).any(1)]

    def _two_stage(
        self, student: nn.Module, weak: Batch, strong: Batch, step: int, told: list[Told] | None = None
    ) -> tuple[supervised.Losses, dict[str, float]]:
        """Section 5 on one side of a batch; an image is `present` if it has a label."""
        truth, sizes = weak.targets, weak.sizes
        features = {"weak": student.features(weak.images, sizes), "strong": student.features(strong.images, sizes)}
        known = [replace(t, background=t.background and len(t) > 0) for t in truth]  # no proposal loss elsewhere
        losses, offered = student.propose_pair(features["weak"], features["strong"], known, sizes)
        if told is None:
            regions, rest = self._mined(offered, truth, step, weak.image_ids)
        else:
            pairs = [self._kept_out(r, o[0], step) for (r, _), o in zip(told, offered, strict=True)]
            regions, rest = [r for r, _ in pairs], [o for _, o in pairs]

        present = [len(t) > 0 for t in truth]
        of_weak, drawn = student.region_losses(features["weak"], _only(rest, present), truth, sizes)
        for i, here in enumerate(present):
            if not here:  # nothing to learn from, but confident boxes may still be found among some proposals
                generator = torch_generator(truth[i].seed or 0)
                order = torch.randperm(len(rest[i]), generator=generator)[: student.regions_per_image]
                drawn[i] = rest[i][order.to(rest[i].device)]
        sure = self._sure(student, features["weak"], drawn, sizes) if told is None else [s for _, s in told]
        # the regions of each view are drawn by a seed of its own (step 6)
        apart = [replace(t, seed=own.seed) for t, own in zip(truth, strong.targets, strict=True)]
        targets, added = self._strong_targets(found.unless(sure, weak, self.corrected), apart, strong)
        of_strong, _ = student.region_losses(
            features["strong"], _only(rest, [len(t) > 0 for t in targets]), targets, sizes
        )
        both = bool(distributed.mean(torch.tensor(float(any(present)), device=weak.images.device)) > 0)
        for name in of_weak:
            losses[name] = 0.5 * (of_weak[name] + of_strong[name]) if both else of_weak[name] + of_strong[name]
        hidden = [student.hidden(features[view], regions, sizes) for view in ("weak", "strong")]
        losses["agreement"] = self._agreement(*hidden)
        count = max(len(truth), 1)
        return losses, {"mined_regions": sum(map(len, regions)) / count, "pseudo_boxes": added / count}

    def _mined(
        self, offered: list[tuple[Tensor, Tensor]], truth: list[Target], step: int, image_ids: list[int]
    ) -> tuple[list[Tensor], list[Tensor]]:
        """Per image the mined regions, and the proposals that stay in the supervised loss (step 2).

        Nothing is mined where a person has finished the image.
        """
        p, regions, rest = self.params, [], []
        for (boxes, objectness), target, image_id in zip(offered, truth, image_ids, strict=True):
            mined, stay = boxes.new_zeros(0, dtype=torch.int64), torch.arange(len(boxes), device=boxes.device)
            if p.mine and step >= p.mine_from_step and image_id not in self.corrected:
                mined, stay = pseudo_positives.mine(
                    boxes, objectness, target.boxes, score=p.mine_score, iou=p.mine_iou, nms_iou=p.mine_nms_iou
                )
            regions.append(boxes[mined])
            rest.append(boxes[stay])
        return regions, rest

    @torch.no_grad()
    def _sure(
        self, student: nn.Module, features: list[Tensor], drawn: list[Tensor], sizes: list[tuple[int, int]]
    ) -> list[Candidates]:
        """What the student itself detects among the regions it was trained on in the weak view (step 4)."""
        p, plain = self.params, [level.detach() for level in features]
        limits = {"score_threshold": p.candidate_floor, "nms_iou": p.nms_iou, "limit": p.limit}
        seen = student.detect_regions(plain, drawn, sizes, **limits)
        self.scores.add(torch.cat([f.scores for f in seen]), len(seen))
        return [Candidates(f.boxes, f.labels, f.scores, torch.full_like(f.scores, float("nan"))) for f in seen]

    def _strong_targets(self, sure: list[Candidates], truth: list[Target], strong: Batch) -> tuple[list[Target], int]:
        """The labels and the very confident boxes of the weak view (step 5), and how many of them were added."""
        p = self.params
        score = p.add_score if self.table is None else -1.0  # polish, and whoever looked at its table, decided
        rules = {"score": score, "nms_iou": p.add_nms_iou, "truth_protected": p.truth_protected}
        targets, drawn = [], []
        for one, target in zip(sure, truth, strict=True):
            both, count = exchange.confident_added(target.boxes, target.labels, one, **rules)
            known = {"ignore": target.ignore, "background_from_iou": target.background_from_iou, "seed": target.seed}
            targets.append(Target.of(both.boxes, both.labels, scores=both.scores, **known))
            drawn.append(count)
        self.record.see(strong, targets, drawn)
        return targets, sum(map(len, targets)) - sum(drawn)

    def _single_stage(
        self, student: nn.Module, weak: Batch, strong: Batch, step: int, told: list[Told] | None = None
    ) -> tuple[supervised.Losses, dict[str, float]]:
        """Ours, after section 14: mined are the student's own confident boxes away from every label; they are ignored.

        What it, or a teacher, is very sure of joins the strong view's labels, as in step 5. Not as section 14 sketches
        it: boxes are mined by the detector's score, which of FCOS has the centerness in it; their features are pooled
        from the backbone; what overlaps them by the detector's `ignore_iou` is no background.
        """
        p, sizes = self.params, weak.sizes
        features = {"weak": student.features(weak.images, sizes), "strong": student.features(strong.images, sizes)}
        if told is not None:
            regions, sure = [self._kept_out(r, r[:0], step)[0] for r, _ in told], [s for _, s in told]
        else:
            limits = {"score_threshold": p.candidate_floor, "nms_iou": p.nms_iou, "limit": p.limit}
            seen = found.seen(student, features["weak"], weak, **limits)
            self.scores.add(torch.cat([c.scores for c in seen]), len(seen))
            regions, _ = self._mined([(c.boxes, c.scores) for c in seen], weak.targets, step, weak.image_ids)
            sure = found.unless(seen, weak, self.corrected)
        losses: supervised.Losses = {}
        added = 0
        for view in (weak, strong):
            known = view.targets
            if view is strong:
                known, added = self._strong_targets(sure, view.targets, view)
            targets = [
                replace(t, ignore=torch.cat([t.ignore, r]), background=len(t) > 0)
                for t, r in zip(known, regions, strict=True)
            ]
            of_view = features["weak" if view is weak else "strong"]
            for name, loss in student.losses(of_view, targets, sizes).items():
                losses[name] = losses.get(name, 0.0) + 0.5 * loss
        pooled = [student.pooled(features[view], regions, sizes, 7).mean((2, 3)) for view in ("weak", "strong")]
        losses["agreement"] = self._agreement(*pooled)
        count = max(len(regions), 1)
        return losses, {"mined_regions": sum(map(len, regions)) / count, "pseudo_boxes": added / count}

    def _agreement(self, weak: Tensor, strong: Tensor) -> Tensor:
        """The weighted feature loss, divided by the number of elements of all processes."""
        share = normalizer(weak.numel(), weak) / max(weak.numel(), 1)
        loss = pseudo_positives.agreement_loss(weak, strong, stop_gradient=self.params.stop_gradient)
        return (
            self.params.agreement_weight * loss / max(share, 1e-12)
            if weak.numel()
            else 0.0 * (weak.sum() + strong.sum())
        )

    def refine(self, pseudo: pd.DataFrame, split: pd.DataFrame) -> tuple[pd.DataFrame, dict[str, object]]:
        """What a frozen detector mines in images that may lack labels (section 13).

        Its very sure boxes that no label of their class overlaps are labels of the strong view; of the others the
        object-like ones away from every label are regions that training ignores. Scores stand for objectness.
        """
        p, refined = self.params, supervised.unused(pseudo)
        seen = split["image_id"] if p.unlabeled else split.loc[split["labeled"], "image_id"]
        here = pseudo["image_id"].isin(seen)
        sure = here & (pseudo["score"].astype("float32") > p.add_score)
        sure &= exchange.new_rows(pseudo, split, p.add_nms_iou)
        for flag in FLAGS[:3]:
            refined[flag] = sure
        if p.mine:
            refined["ignore"] = self._to_ignore(pseudo, (here & ~sure).to_numpy(), split[split["box_id"] >= 0])
        refined.loc[sure | refined["ignore"], "source"] = "mined"
        return refined, {"rows": len(refined), "mined": int(sure.sum()), "ignored": int(refined["ignore"].sum())}

    def _to_ignore(self, pseudo: pd.DataFrame, asked: np.ndarray, kept: pd.DataFrame) -> np.ndarray:
        """(N,) bool: the `asked` (N,) rows that are object-like and away from every label of their image."""
        p, mined = self.params, np.zeros(len(pseudo), dtype=bool)
        rows = np.flatnonzero(asked)
        of_rows, of_kept = ByImage(pseudo["image_id"].to_numpy()[rows]), ByImage(kept["image_id"].to_numpy())
        boxes, truth = (torch.tensor(table[XYXY].to_numpy("float32")).reshape(-1, 4) for table in (pseudo, kept))
        scores = torch.tensor(pseudo["score"].to_numpy("float32"))
        for image_id in of_rows.ids.tolist():
            own = rows[of_rows.rows(image_id)]
            known = truth[of_kept.rows(image_id)]
            limits = {"score": p.mine_score, "iou": p.mine_iou, "nms_iou": p.mine_nms_iou}
            mined[own[pseudo_positives.mine(boxes[own], scores[own], known, **limits)[0].numpy()]] = True
        return mined


def _only(proposals: list[Tensor], wanted: list[bool]) -> list[Tensor]:
    """The proposals of the wanted images, none of the others."""
    return [p if here else p[:0] for p, here in zip(proposals, wanted, strict=True)]
