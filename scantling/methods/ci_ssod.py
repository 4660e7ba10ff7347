"""CI-SSOD (ICCV 2023, arXiv 2403.15127): Soft Teacher for rare and frequent classes.

Three parts, each alone or together: class weights that balance gradients (`reweight`), score thresholds of each class
(`class_thresholds`, with `gradient_thresholds` also from the class weights), and unlabeled images with rare classes
drawn more often (`resample`); labeled ones too (`labeled_repeat`). Sections are those of the specification of the code.
"""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
import pandas as pd
import torch
from pydantic import Field
from torch import Tensor, nn

from scantling import distributed
from scantling.candidates import Candidates
from scantling.data.loader import Pool, TrainingStep
from scantling.methods import soft_teacher, supervised
from scantling.mining import repeat_factors
from scantling.mining.class_thresholds import ClassThresholds
from scantling.mining.gradient_balance import GradientBalance
from scantling.target import Batch, Target


class Params(soft_teacher.Params):
    method: Literal["ci_ssod"] = "ci_ssod"  # type: ignore[assignment]
    reweight: bool
    reweight_warm_up_steps: int = Field(ge=0)
    labeled_power: float = Field(ge=0)
    weight_limits: tuple[float, float]
    focal_gamma: Literal[0, 1]
    class_thresholds: bool
    gradient_thresholds: bool
    threshold_warm_up_steps: int = Field(ge=0)
    threshold_limits: tuple[float, float]
    resample: bool
    resample_every_steps: int = Field(gt=0)
    rarity: float = Field(gt=0)
    labeled_repeat: float | None = Field(gt=0)


class Method(soft_teacher.Method):
    def __init__(self, params: Params, classes: tuple[str, ...], refined: pd.DataFrame | None):
        super().__init__(params, classes, refined)
        self.params: Params = params  # type: ignore[assignment]
        self.seen: dict[int, tuple[list[int], list[float]]] = {}  # unlabeled image -> classes, margins of its boxes
        self.redraw_every = params.resample_every_steps if params.resample else None

    def modules(self, student: nn.Module) -> dict[str, nn.Module]:
        p, count = self.params, len(self.classes)
        lowest, highest = p.threshold_limits
        made: dict[str, nn.Module] = {"thresholds": ClassThresholds(count, highest=highest, lowest=lowest)}
        by_gradient = p.class_thresholds and p.gradient_thresholds
        if (p.reweight or by_gradient) and student.has_background:
            made["balance"] = GradientBalance(
                count,
                warm_up_steps=p.reweight_warm_up_steps,
                labeled_power=p.labeled_power,
                lower=p.weight_limits[0],
                upper=p.weight_limits[1],
                gamma=p.focal_gamma if p.reweight else 0,  # of the loss that is differentiated
            )
        return made

    def view_losses(
        self, student: nn.Module, view: Batch, targets: list[Target], side: str, step: int, **options: Any
    ) -> supervised.Losses:
        """The losses of a view with the class loss of section 2.1, and the balance loss of section 2.4.

        Without `reweight` the class loss is the detector's; weights are learned for the thresholds alone.
        """
        if "balance" not in self.networks:
            return super().view_losses(student, view, targets, side, step, **options)
        scale = 1.0 if side == "labeled" else self.params.unlabeled_weight
        balance, extra = self.networks["balance"], []

        def class_loss(logits: Tensor, labels: Tensor, weights: Tensor, shares: Tensor) -> Tensor | None:
            given = logits, labels, weights * shares
            if self.params.reweight:
                loss, distance = balance(*given, step=step, labeled=side == "labeled", scale=scale)
            else:
                loss, distance = None, balance.collect(*given, step=step, scale=scale)
            extra.append(distance)
            return loss

        losses = super().view_losses(student, view, targets, side, step, class_loss=class_loss, **options)
        return losses | {"balance": torch.stack(extra).sum()}

    def _candidates(self, teacher: nn.Module | None, features: list[Tensor], weak: Batch) -> list[Candidates]:
        """Soft Teacher's candidates; on the way they enter the running scores and the pool (sections 3 and 4)."""
        candidates = super()._candidates(teacher, features, weak)
        state = self.networks["thresholds"]
        labels, scores = (torch.cat([getattr(c, name) for c in candidates]) for name in ("labels", "scores"))
        state.update(*distributed.gathered(labels, scores))
        if self.params.class_thresholds and self.now >= self.params.threshold_warm_up_steps:
            self.class_threshold = state.thresholds(self._class_weights()).cpu()
        if self.params.resample and self.now > self.params.threshold_warm_up_steps:
            for image_id, one in zip(weak.image_ids, candidates, strict=True):
                found = [t.cpu().numpy() for t in (one.boxes, one.labels, one.scores)]
                rows, margin = repeat_factors.margins(*found, self.class_threshold.numpy())
                self.seen[image_id] = found[1][rows].tolist(), margin.tolist()
        return candidates

    def _class_weights(self) -> Tensor | None:
        """Foreground weights once they are known, for the gradient-based thresholds."""
        balance = self.networks["balance"] if "balance" in self.networks else None
        if not self.params.gradient_thresholds or balance is None or self.now <= balance.warm_up_steps:
            return None
        return balance.weights[:-1]

    def step(
        self, student: nn.Module, teacher: nn.Module | None, batch: TrainingStep
    ) -> tuple[supervised.Losses, dict[str, float]]:
        self.now = batch.step
        losses, logged = super().step(student, teacher, batch)
        if self.params.class_thresholds:
            logged["lowest_threshold"] = float(self.class_threshold.min())
        if "balance" in self.networks:
            weights = self.networks["balance"].weights[:-1]
            logged |= {"class_weight_min": float(weights.min()), "class_weight_max": float(weights.max())}
        return losses, logged

    def drawn(self, pool: Pool, step: int, total_steps: int) -> tuple[list[int], list[int]]:
        """Ids of the labeled and unlabeled images, repeated by rarity; asked at the start and each `redraw_every`."""
        p, count = self.params, len(self.classes)
        labels = [pool.truth(i)[1].tolist() for i in pool.labeled]
        labeled, unlabeled = np.array(pool.labeled, dtype=np.int64), np.array(pool.unlabeled, dtype=np.int64)
        if p.labeled_repeat is not None:
            labeled = labeled[repeat_factors.repeated(repeat_factors.labeled_factors(labels, count, p.labeled_repeat))]
        if p.resample:
            self.seen = distributed.joined(self.seen)
            known = [self.seen.get(int(i), ([], [])) for i in unlabeled]
            present = np.bincount([c for one in labels for c in set(one)], minlength=count)
            rarity = repeat_factors.rarity_at(step, total_steps, p.rarity)
            factors = repeat_factors.unlabeled_factors(known, present, len(labels), rarity)
            unlabeled = unlabeled[repeat_factors.repeated(factors)]
        return labeled.tolist(), unlabeled.tolist()

    def state_dict(self) -> dict[str, Any]:
        self.seen = distributed.joined(self.seen)
        ids = sorted(self.seen)
        pooled = {"ids": ids, "classes": [self.seen[i][0] for i in ids], "margins": [self.seen[i][1] for i in ids]}
        return {"pool": pooled, "class_threshold": self.class_threshold}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        pool = state["pool"]
        self.seen = dict(zip(pool["ids"], zip(pool["classes"], pool["margins"], strict=True), strict=True))
        self.class_threshold = state["class_threshold"]
