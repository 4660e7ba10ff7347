"""Polishing Teacher ("Mind the Gap", AAAI 2023): two small networks correct the teacher's boxes and classes.

All boxes above a low score teach the box loss, in their corrected place; only those whose class a network or the
teacher is sure of teach the class losses. The networks learn from displaced copies of labeled boxes, in the loop beside
the student, and never touch the detector. Sections are those of the specification of the released code.
"""

from __future__ import annotations

from typing import Literal

import pandas as pd
import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional as F

from scantling import boxes as box_ops
from scantling.augment.views import torch_generator
from scantling.candidates import Candidates
from scantling.data.loader import TrainingStep
from scantling.detectors.losses import normalizer
from scantling.ema import EmaParams
from scantling.methods import MethodParams, supervised
from scantling.mining import background, found, polishing
from scantling.target import Batch, Target


class Params(MethodParams):
    method: Literal["polishing_teacher"] = "polishing_teacher"
    teacher: Literal["ema", "frozen"] = "ema"  # type: ignore[assignment]
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
    background: Literal["live", "off"]
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


class Method(supervised.Method):
    unlabeled_views = ("weak", "strong")

    def __init__(self, params: Params, classes: tuple[str, ...], refined: pd.DataFrame | None):
        super().__init__(params, classes, refined)
        self.params: Params = params
        self.ema = EmaParams(decay=params.polish_decay, warm_up=params.polish_warm_up)

    def modules(self, student: nn.Module) -> dict[str, nn.Module]:
        p, channels = self.params, student.channels
        made: dict[str, nn.Module] = {}
        if p.polish_boxes:
            made["box"] = polishing.BoxNetwork(channels, p.cells, p.width)
        if p.polish_classes:
            made["class"] = polishing.ClassNetwork(channels, p.cells, p.width, len(self.classes))
        return made

    def step(
        self, student: nn.Module, teacher: nn.Module | None, batch: TrainingStep
    ) -> tuple[supervised.Losses, dict[str, float]]:
        assert teacher is not None, "the polishing networks look at a teacher's features"
        losses, logged = super().step(student, teacher, batch)
        if batch.labeled and self.networks:
            own, seen = self._polishing_losses(teacher, batch.labeled["labeled"])
            losses, logged = losses | own, logged | seen
        if not batch.unlabeled:
            return losses, logged
        weak, strong = batch.unlabeled["weak"], batch.unlabeled["strong"]
        with torch.no_grad():
            features = teacher.features(weak.images, weak.sizes)
        move = strong.matrices @ torch.linalg.inv(weak.matrices)
        targets = self._targets(teacher, features, weak, strong, move)
        weigh = background.asked(teacher, features, weak, move)
        ask = self.params.background == "live" and teacher.has_background
        unlabeled = self.view_losses(
            student, strong, targets, "unlabeled", batch.step, background_weight=weigh if ask else None
        )
        losses |= {f"unlabeled/{name}": self.params.unlabeled_weight * loss for name, loss in unlabeled.items()}
        count = max(len(targets), 1)
        logged["pseudo_boxes"] = sum(int(t.for_class.sum()) for t in targets) / count
        logged["pseudo_boxes_for_box"] = sum(int(t.for_box.sum()) for t in targets) / count
        return losses, logged

    def _polishing_losses(self, teacher: nn.Module, view: Batch) -> tuple[supervised.Losses, dict[str, float]]:
        """GIoU of corrected displaced boxes, and their classes; without gradient into the detector (section 3)."""
        p, device = self.params, view.images.device
        with torch.no_grad():
            features = teacher.features(view.images, view.sizes)
            offered = teacher.propose(features, view.sizes, limit=p.proposals)
        boxes, wanted, class_boxes, labels = [], [], [], []
        for target, (proposals, _) in zip(view.targets, offered, strict=True):
            generator = torch_generator(target.seed or 0)
            truth = target.boxes

            def noise(copies: int, like: Tensor = truth, generator: torch.Generator = generator) -> Tensor:
                return torch.randn((copies, len(like), 4), generator=generator).to(device)

            boxes.append(polishing.displaced(truth, [(noise(p.box_copies[0]), p.box_copies[1])]))
            wanted.append(polishing.box_targets(boxes[-1], truth))
            class_boxes.append(polishing.displaced(truth, [(noise(n), f) for n, f in p.class_copies], proposals))
            labels.append(
                polishing.class_targets(
                    class_boxes[-1], truth, target.labels, classes=len(self.classes), positive_iou=p.positive_iou
                )
            )
        losses, logged = {}, {}
        if "box" in self.networks:
            with torch.no_grad():
                slots = self._pooled(teacher, features, boxes)
            decoded, goal = self._decoded(self.networks["box"](slots), boxes, view.sizes), torch.cat(wanted)
            loss = polishing.box_network_loss(decoded, goal) * len(goal)
            count = normalizer(len(goal), loss)
            losses["labeled/polish_box"] = p.polish_weight * loss / count
            for name, placed in (("iou_before", torch.cat(boxes)), ("iou_after", decoded.detach())):
                logged[name] = float(_iou(placed, goal).sum() / count)
        if "class" in self.networks:
            with torch.no_grad():
                plain = teacher.pooled(features, class_boxes, p.cells)
            classes = torch.cat(labels)
            loss = F.cross_entropy(self.networks["class"](plain).float(), classes, reduction="sum")
            losses["labeled/polish_class"] = p.polish_weight * loss / normalizer(len(classes), loss)
        return losses, logged

    @torch.no_grad()
    def _targets(
        self, teacher: nn.Module, features: list[Tensor], weak: Batch, strong: Batch, move: Tensor
    ) -> list[Target]:
        """Two sets of boxes an image in one target: for the class losses and for the box loss (section 4)."""
        p = self.params
        seen = found.seen(teacher, features, weak, score_threshold=p.candidate_floor, nms_iou=p.nms_iou, limit=p.limit)
        sure = [c.keep((c.scores > p.initial_score) & box_ops.has_area(c.boxes)) for c in seen]
        boxes = [c.boxes for c in sure]
        polished, probabilities = boxes, None
        if p.polish_boxes:
            slots = self._pooled(teacher, features, boxes)
            corrected = self._decoded(self.averages["box"](slots), boxes, weak.sizes)
            polished = list(corrected.split([len(b) for b in boxes]))
        if p.polish_classes:
            logits = self.averages["class"](teacher.pooled(features, boxes, p.cells))
            probabilities = logits.float().softmax(1).split([len(b) for b in boxes])
        targets = []
        for i, candidates in enumerate(sure):
            sets = self._sets(candidates, polished[i], None if probabilities is None else probabilities[i])
            parts = [s.moved(move[i], strong.sizes[i]) for s in sets]
            targets.append(_target(*(s.keep(box_ops.has_area(s.boxes)) for s in parts), strong.targets[i].seed))
        return targets

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

    def _pooled(self, teacher: nn.Module, features: list[Tensor], boxes: list[Tensor]) -> Tensor:
        """(N, 7, F, K, K) features of each box and its variants, grouped image by image.

        The reference mixes the slots of several images up (section 8, item 1); here a box keeps its own.
        """
        variants = [polishing.variants(b, self.params.variant_fraction).transpose(0, 1).reshape(-1, 4) for b in boxes]
        return teacher.pooled(features, variants, self.params.cells).unflatten(0, (-1, polishing.SLOTS))

    def _decoded(self, deltas: Tensor, boxes: list[Tensor], sizes: list[tuple[int, int]]) -> Tensor:
        parts = deltas.float().split([len(b) for b in boxes])
        return torch.cat([polishing.decode(d, b, size) for d, b, size in zip(parts, boxes, sizes, strict=True)])


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


def _iou(boxes: Tensor, wanted: Tensor) -> Tensor:
    """(N,) IoU of pairs of boxes."""
    corner, edge = torch.maximum(boxes[:, :2], wanted[:, :2]), torch.minimum(boxes[:, 2:], wanted[:, 2:])
    shared = (edge - corner).clamp(min=0).prod(1)
    return shared / (box_ops.area(boxes) + box_ops.area(wanted) - shared).clamp(min=1e-6)
