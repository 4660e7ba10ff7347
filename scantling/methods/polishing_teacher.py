"""Polishing Teacher ("Mind the Gap", AAAI 2023): two small networks correct the teacher's boxes and classes.

All boxes above a low score teach the box loss, in their corrected place; only those whose class a network or the
teacher is sure of teach the class losses. The networks learn from displaced copies of labeled boxes and never touch the
detector: in the loop beside the student, as published, or once in `polish` (`polish_steps`), on the features of the
teacher that labels. Sections are those of the specification of the released code.
"""

from __future__ import annotations

from typing import Any, Literal, Self

import numpy as np
import pandas as pd
import torch
from pydantic import Field, model_validator
from torch import Tensor, nn

from scantling import boxes as box_ops
from scantling import distributed
from scantling.candidates import Candidates, CandidateTable
from scantling.data.index import XYXY
from scantling.data.loader import Pool, TrainingStep
from scantling.ema import EmaParams
from scantling.methods import MethodParams, supervised
from scantling.mining import background, found, polisher, polishing
from scantling.optimizer import Optimizer
from scantling.pseudo import REFINED_XYXY
from scantling.recipe import TrainingParams
from scantling.schedule import Schedule
from scantling.target import Batch, Target

LATE = 0.95  # keep rate a step of the means that a person is told


class Params(MethodParams):
    method: Literal["polishing_teacher"] = "polishing_teacher"
    unlabeled_weight: float = Field(ge=0)
    candidate_floor: float = Field(ge=0, le=1)
    nms_iou: float = Field(gt=0, le=1)
    limit: int = Field(gt=0)
    initial_score: float = Field(ge=0, le=1)
    trust_polished: float = Field(ge=0, le=1)
    trust_teacher: float = Field(ge=0, le=1)
    class_boxes: Literal["original", "polished"]
    polish_boxes: bool
    polish_classes: bool
    background: Literal["live", "cached", "off"]
    background_iou: float = Field(0.5, gt=0, le=1)
    polish_weight: float = Field(ge=0)
    cells: int = Field(ge=1)
    width: int = Field(ge=1)
    variant_fraction: float = Field(gt=0)
    box_copies: tuple[int, float]
    class_copies: tuple[tuple[int, float], ...]
    proposals: int = Field(ge=0)
    positive_iou: float = Field(gt=0, le=1)
    polish_decay: float = Field(ge=0, lt=1)
    polish_warm_up: int = Field(ge=0)
    polish_steps: int = Field(0, ge=0)
    polish_images: int = Field(1, gt=0)
    polish_optimizer: Optimizer = Optimizer(name="sgd", learning_rate=0.01, weight_decay=1e-4)
    polish_schedule: Schedule = Schedule()
    polish_clip_norm: float | None = Field(None, gt=0)

    @model_validator(mode="after")
    def _possible(self) -> Self:
        if self.teacher == "cached" and self.background == "live":
            raise ValueError("`background: live` asks a live teacher; with `teacher: cached` use cached or off")
        if self.teacher == "cached" and self.polishes and not self.polish_steps:
            raise ValueError("with `teacher: cached` the networks learn in polish: give `polish_steps` above 0")
        return self

    @property
    def polishes(self) -> bool:
        return self.polish_boxes or self.polish_classes


class Method(supervised.Method):
    unlabeled_views = ("weak", "strong")
    threshold = "trust_teacher"
    refined_columns = ("refined_label", *REFINED_XYXY)

    def __init__(self, params: Params, classes: tuple[str, ...], refined: pd.DataFrame | None):
        super().__init__(params, classes, refined)
        self.params: Params = params
        self.ema = EmaParams(decay=params.polish_decay, warm_up=params.polish_warm_up)
        self.lately = dict[str, float]()  # how the networks do, over the last steps; for a person
        if params.teacher == "cached" and refined is not None:
            self.known = CandidateTable(refined)
            for_class = refined[refined["for_class"]]
            for_box = refined[refined["for_box"]]
            self.for_class = CandidateTable(for_class.assign(label=for_class["refined_label"]))
            self.for_box = CandidateTable(for_box.assign(**{c: for_box[f"refined_{c}"] for c in XYXY}))

    def modules(self, student: nn.Module) -> dict[str, nn.Module]:
        """The networks, with the weights that polish gave them where it did; read labels need none."""
        p, channels = self.params, student.channels
        made: dict[str, nn.Module] = {}
        if p.polish_boxes and p.teacher != "cached":
            made["box"] = polishing.BoxNetwork(channels, p.cells, p.width)
        if p.polish_classes and p.teacher != "cached":
            made["class"] = polishing.ClassNetwork(channels, p.cells, p.width, len(self.classes))
        if made and self.given:
            nn.ModuleDict(made).load_state_dict(self.given)
        for network in made.values():
            network.requires_grad_(not self.given or p.teacher == "ema")
        return made

    def step(
        self, student: nn.Module, teacher: nn.Module | None, batch: TrainingStep
    ) -> tuple[supervised.Losses, dict[str, float]]:
        losses, logged = super().step(student, teacher, batch)
        if batch.labeled and any(p.requires_grad for p in self.networks.parameters()):
            own, seen = self.polishing_losses(teacher, batch)
            losses, logged = losses | own, logged | seen
            self.lately |= {n: LATE * self.lately.get(n, value) + (1 - LATE) * value for n, value in seen.items()}
        if not batch.unlabeled:
            return losses, logged
        weak, strong = batch.unlabeled["weak"], batch.unlabeled["strong"]
        features: list[Tensor] = []
        move = strong.matrices @ torch.linalg.inv(weak.matrices)
        if teacher is None:
            targets, candidates = self._read(strong), found.read(self.known, strong)
            self.scores.add(torch.cat([c.scores for c in candidates]), len(candidates))
        else:
            with torch.no_grad():
                features = teacher.features(weak.images, weak.sizes)
            targets, candidates = self._targets(teacher, features, weak, strong, move)
        self.record.see(strong, targets)
        p = self.params
        weigh = background.reliability(
            p.background, teacher, features, weak, strong, move, candidates, p.background_iou
        )
        unlabeled = self.view_losses(student, strong, targets, "unlabeled", batch.step, background_weight=weigh)
        losses |= {f"unlabeled/{name}": self.params.unlabeled_weight * loss for name, loss in unlabeled.items()}
        count = max(len(targets), 1)
        logged["pseudo_boxes"] = sum(int(t.for_class.sum()) for t in targets) / count
        logged["pseudo_boxes_for_box"] = sum(int(t.for_box.sum()) for t in targets) / count
        return losses, logged

    def polishing_losses(
        self, teacher: nn.Module | None, batch: TrainingStep
    ) -> tuple[supervised.Losses, dict[str, float]]:
        """What the networks learn from the labeled view (section 3)."""
        assert teacher is not None, "the polishing networks look at a teacher's features"
        p = self.params
        own, logged = polisher.losses(
            self.networks,
            teacher,
            batch.labeled["labeled"],
            box_copies=p.box_copies,
            class_copies=p.class_copies,
            proposals=p.proposals,
            positive_iou=p.positive_iou,
            fraction=p.variant_fraction,
            cells=p.cells,
        )
        return {f"labeled/{name}": p.polish_weight * loss for name, loss in own.items()}, logged

    def improve(
        self,
        networks: nn.ModuleDict,
        teacher: nn.Module,
        features: list[Tensor],
        boxes: list[Tensor],
        sizes: list[tuple[int, int]],
    ) -> tuple[list[Tensor], list[Tensor] | None]:
        """Per image the better boxes and the class probabilities that `networks` give to given boxes (section 4)."""
        p = self.params
        return polisher.improved(networks, teacher, features, boxes, sizes, fraction=p.variant_fraction, cells=p.cells)

    def aids(self, pool: Pool, total_steps: int) -> dict[str, Any]:
        device = next((p.device for p in self.networks.parameters()), None)
        facts = {n: float(distributed.mean(torch.tensor(value, device=device))) for n, value in self.lately.items()}
        polisher.warn_if_worse(facts)
        return {name: round(value, 6) for name, value in facts.items()}

    def state_dict(self) -> dict[str, Any]:
        return {"lately": dict(self.lately)}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.lately = dict(state["lately"])

    @torch.no_grad()
    def _targets(
        self, teacher: nn.Module, features: list[Tensor], weak: Batch, strong: Batch, move: Tensor
    ) -> tuple[list[Target], list[Candidates]]:
        """Two sets of boxes an image in one target: for the class losses and for the box loss (section 4).

        Also all that the teacher saw, in the strong view.
        """
        p = self.params
        seen = found.seen(teacher, features, weak, score_threshold=p.candidate_floor, nms_iou=p.nms_iou, limit=p.limit)
        self.scores.add(torch.cat([c.scores for c in seen]), len(seen))
        sure = [c.keep((c.scores > p.initial_score) & box_ops.has_area(c.boxes)) for c in seen]
        boxes = [c.boxes for c in sure]
        polished, probabilities = self.improve(self.averages, teacher, features, boxes, weak.sizes)
        targets = []
        for i, candidates in enumerate(sure):
            sets = self._sets(candidates, polished[i], None if probabilities is None else probabilities[i])
            parts = [s.moved(move[i], strong.sizes[i]) for s in sets]
            targets.append(_target(*(s.keep(box_ops.has_area(s.boxes)) for s in parts), strong.targets[i].seed))
        return targets, [c.moved(m, s) for c, m, s in zip(seen, move, strong.sizes, strict=True)]

    def _read(self, strong: Batch) -> list[Target]:
        """The two sets of the refined table."""
        sets = zip(found.read(self.for_class, strong), found.read(self.for_box, strong), strong.targets, strict=True)
        return [_target(*(s.keep(box_ops.has_area(s.boxes)) for s in both), t.seed) for *both, t in sets]

    def _sets(
        self, candidates: Candidates, polished: Tensor, probabilities: Tensor | None
    ) -> tuple[Candidates, Candidates]:
        """The class set and the box set of an image, in the weak view."""
        p, labels = self.params, candidates.labels
        kept = candidates.scores > p.trust_teacher
        if probabilities is not None:
            kept, labels = polishing.polished_sets(
                candidates.scores,
                labels,
                probabilities,
                trust_polished=p.trust_polished,
                trust_teacher=p.trust_teacher,
            )
        boxes = polished if p.class_boxes == "polished" else candidates.boxes
        for_class = Candidates(boxes, labels, candidates.scores, candidates.spread).keep(kept)
        return for_class, Candidates(polished, candidates.labels, candidates.scores, candidates.spread)

    def taught(self) -> tuple[Taught, TrainingParams] | None:
        p = self.params
        if not p.polishes or not p.polish_steps:
            return None
        assert self.ema is not None
        return Taught(p, self.classes), TrainingParams(
            steps=p.polish_steps,
            labeled_per_step=p.polish_images,
            unlabeled_per_step=0,
            optimizer=p.polish_optimizer,
            schedule=p.polish_schedule,
            clip_norm=p.polish_clip_norm,
            ema=self.ema,
        )

    def looks_at(self, pseudo: pd.DataFrame, split: pd.DataFrame) -> np.ndarray:
        """The confident boxes of unlabeled images (section 4, item 2)."""
        unlabeled = pseudo["image_id"].isin(split.loc[~split["labeled"], "image_id"]).to_numpy()
        boxes = torch.from_numpy(pseudo[XYXY].to_numpy(np.float32))
        sure = pseudo["score"].to_numpy(np.float32) > np.float32(self.params.initial_score)
        return unlabeled & sure & box_ops.has_area(boxes).numpy()

    def refine(self, pseudo: pd.DataFrame, split: pd.DataFrame) -> tuple[pd.DataFrame, dict[str, object]]:
        """The two sets as a table (section 9); what the networks said of its rows is in it already, if they did.

        x1..y2 are the boxes that the class losses learn, with refined_label; refined_x1..y2 those that the box loss
        learns, with label.
        """
        p, refined = self.params, supervised.unused(pseudo)
        sure = self.looks_at(pseudo, split)
        scores = torch.from_numpy(pseudo["score"].to_numpy(np.float32, copy=True))
        labels = torch.from_numpy(pseudo["label"].to_numpy(np.int64, copy=True))
        kept = scores > p.trust_teacher
        if p.polish_classes and "refined_score" in pseudo:
            kept, labels = polishing.trusted_sets(
                scores,
                labels,
                torch.from_numpy(refined["refined_score"].to_numpy(np.float32, copy=True)),
                torch.from_numpy(refined["refined_label"].to_numpy(np.int64, copy=True)),
                trust_polished=p.trust_polished,
                trust_teacher=p.trust_teacher,
            )
        refined["for_objectness"] = refined["for_class"] = sure & kept.numpy()
        refined["for_box"] = sure
        relabeled = refined["for_class"] & (labels.numpy() != refined["label"])
        refined["refined_label"] = refined["label"].mask(relabeled, labels.numpy()).astype("int32")
        if p.class_boxes == "polished":
            refined[XYXY] = refined[REFINED_XYXY]
        counts = {"for_class": int(refined["for_class"].sum()), "for_box": int(sure.sum())}
        return refined, {"rows": len(refined), **counts, "relabeled": int(relabeled.sum())}


class Taught(Method):
    """The networks alone, as polish trains them: no student, no unlabeled image."""

    unlabeled_views = ()
    threshold = None
    facts = ("iou_before", "iou_after", "polish_accuracy")  # of the end of the training, for aids.json

    def __init__(self, params: Params, classes: tuple[str, ...]):
        super().__init__(params.model_copy(update={"teacher": "ema"}), classes, None)

    def decides(self) -> dict[str, object]:
        """The parameters that the trained networks depend on: thresholds are not among them."""
        sizes = {"polish_boxes", "polish_classes", "cells", "width", "variant_fraction", "polish_weight"}
        samples = {"box_copies", "class_copies", "proposals", "positive_iou"}
        return self.params.model_dump(mode="json", include=sizes | samples)

    def step(
        self, student: nn.Module, teacher: nn.Module | None, batch: TrainingStep
    ) -> tuple[supervised.Losses, dict[str, float]]:
        return self.polishing_losses(teacher, batch)


def _target(for_class: Candidates, for_box: Candidates, seed: int | None) -> Target:
    """One target that shows the first set to the class losses and the second one to the box loss."""
    n, m = len(for_class), len(for_box)
    first = torch.arange(n + m, device=for_class.boxes.device) < n
    return Target.of(
        torch.cat([for_class.boxes, for_box.boxes]),
        torch.cat([for_class.labels, for_box.labels]),
        scores=torch.cat([for_class.scores, for_box.scores]),
        for_objectness=first,
        for_class=first,
        for_box=~first,
        seed=seed,
    )
