"""CI-SSOD (ICCV 2023, arXiv 2403.15127): Soft Teacher for rare and frequent classes.

Three parts, each alone or together: class weights that balance gradients (`reweight`), score thresholds of each class
(`class_thresholds`, with `gradient_thresholds` also from the class weights), and unlabeled images with rare classes
drawn more often (`resample`); labeled ones too (`labeled_repeat`). Sections are those of the specification of the code.
"""

from __future__ import annotations

from typing import Any, Literal, Self

import numpy as np
import pandas as pd
import torch
from pydantic import Field, model_validator
from torch import Tensor, nn

from scantling import distributed
from scantling.candidates import Candidates
from scantling.data.by_image import ByImage
from scantling.data.index import XYXY
from scantling.data.loader import Pool, TrainingStep
from scantling.methods import soft_teacher, supervised
from scantling.mining import repeat_factors
from scantling.mining.class_thresholds import ClassThresholds
from scantling.mining.gradient_balance import GradientBalance
from scantling.target import Batch, Target

Seen = tuple[list[int], list[float]]  # classes, and margins over their thresholds


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

    @model_validator(mode="after")
    def _one_rule(self) -> Self:
        if self.class_thresholds and (self.scores_by_density or self.scores_by_precision):
            other = "scores_by_density" if self.scores_by_density else "scores_by_precision"
            raise ValueError(
                f"`class_thresholds` and `{other}` set the same thresholds: write `class_thresholds: false`, or null"
            )
        return self


class Method(soft_teacher.Method):
    def __init__(self, params: Params, classes: tuple[str, ...], refined: pd.DataFrame | None):
        super().__init__(params, classes, refined)
        self.params: Params = params  # type: ignore[assignment]
        if self.table is not None and refined is not None and params.class_thresholds:  # polish set them
            lowest = refined[refined["for_class"] & (refined["label"] >= 0)].groupby("label")["score"].min()
            self.class_threshold = torch.full((len(classes),), params.threshold_limits[1])
            self.class_threshold[lowest.index.tolist()] = torch.tensor(lowest.to_numpy("float32"))
        self.seen: dict[int, Seen] = {}  # unlabeled image -> classes and margins of its boxes, when last visited
        self.visited: dict[int, Seen] = {}  # the same since all processes last put theirs together, of this one alone
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
        live = teacher is not None and self.now >= self.params.threshold_warm_up_steps
        if self.params.class_thresholds and live:
            self.class_threshold = state.thresholds(self._class_weights()).cpu()
        if self.params.resample and self.now > self.params.threshold_warm_up_steps:
            for image_id, one in zip(weak.image_ids, candidates, strict=True):
                found = [t.cpu().numpy() for t in (one.boxes, one.labels, one.scores)]
                rows, margin = repeat_factors.margins(*found, self.class_threshold.numpy())
                self.visited[image_id] = found[1][rows].tolist(), margin.tolist()
        return candidates

    def _pool(self) -> None:
        """Put the visits of all processes into the common pool, over what earlier visits found (section 4.1)."""
        self.seen |= distributed.joined(self.visited)
        self.visited = {}

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
        self._pool()
        rarity = repeat_factors.rarity_at(step, total_steps, self.params.rarity)
        labels = [pool.truth(i)[1].tolist() for i in pool.labeled]
        factors = self._repeats(labels, pool.unlabeled, rarity)
        ids = (np.array(side, dtype=np.int64) for side in (pool.labeled, pool.unlabeled))
        labeled, unlabeled = (i[repeat_factors.repeated(f)].tolist() for i, f in zip(ids, factors, strict=True))
        return labeled, unlabeled

    def _repeats(self, labels: list[list[int]], unlabeled: list[int], rarity: float) -> tuple[np.ndarray, np.ndarray]:
        """Factors of labeled images with classes `labels` and of the unlabeled ones with these ids, as pooled now."""
        p, count = self.params, len(self.classes)
        of_labeled, of_unlabeled = np.ones(len(labels)), np.ones(len(unlabeled))
        if p.labeled_repeat is not None:
            of_labeled = repeat_factors.labeled_factors(labels, count, p.labeled_repeat)
        if p.resample:
            known = [self.seen.get(i, ([], [])) for i in unlabeled]
            present = np.bincount([c for one in labels for c in set(one)], minlength=count)
            of_unlabeled = repeat_factors.unlabeled_factors(known, present, len(labels), rarity)
        return of_labeled, of_unlabeled

    def aids(self, pool: Pool, total_steps: int) -> dict[str, Any]:
        """The state at the end: thresholds, class weights and gradients, how often each image would be drawn next."""
        self._pool()
        labels = [pool.truth(i)[1].tolist() for i in pool.labeled]
        found = self._readable(pool.labeled, labels, pool.unlabeled)
        running = self.networks["thresholds"]
        found["mean_scores"] = self._named(running.scores)
        found["detections_counted"] = self._named(running.counts)
        if "balance" in self.networks:
            balance = self.networks["balance"]
            found["class_weights"] = self._named(balance.weights)
            found["class_weights_in_use"] = self._named(balance.weights.clamp(*self.params.weight_limits))
            matrix = balance.matrix / distributed.world()  # the released code adds the processes' means up
            found["gradients"] = {
                "what": "row: class of the samples; column: class whose logit they move; diagonal: positive, negated",
                "rows": {name: self._named(row) for name, row in zip(self._names(), matrix, strict=True)},
            }
        return found

    def _names(self) -> list[str]:
        return [*self.classes, "background"]

    def _named(self, values: Tensor) -> dict[str, float]:
        """Values of the classes, (C,) or with the background's last (C + 1,), to six digits."""
        return {n: float(f"{v:.6g}") for n, v in zip(self._names(), values.tolist(), strict=False)}

    def _readable(self, labeled: list[int], labels: list[list[int]], unlabeled: list[int]) -> dict[str, Any]:
        """Thresholds, and the images that are drawn more than once in a pass at the final rarity."""
        factors = self._repeats(labels, unlabeled, self.params.rarity)
        times = {
            side: {str(i): int(n) for i, n in zip(ids, np.ceil(one).astype(int).tolist(), strict=True) if n > 1}
            for side, ids, one in zip(("labeled", "unlabeled"), (labeled, unlabeled), factors, strict=True)
        }
        return {"class_thresholds": self._named(self.class_threshold), "image_repeats": times}

    def refine(self, table: pd.DataFrame, split: pd.DataFrame) -> tuple[pd.DataFrame, dict[str, object]]:
        """Soft Teacher's flags with thresholds of the classes from the whole table (section 8); weights need a network.

        The plain mean score of a class stands for the running one, and the final rarity for the growing one: ours.
        """
        p, count = self.params, len(self.classes)
        bare = split.loc[~split["labeled"], "image_id"]
        part = table[table["image_id"].isin(bare) & (table["score"] > p.candidate_floor)]
        labels, scores = part["label"].to_numpy(np.int64), part["score"].to_numpy(np.float32)
        counts = np.bincount(labels, minlength=count)
        if p.class_thresholds:
            lowest, highest = p.threshold_limits
            state = ClassThresholds(count, highest=highest, lowest=lowest)
            state.scores.copy_(torch.from_numpy(np.bincount(labels, scores, minlength=count) / np.maximum(counts, 1)))
            self.class_threshold = state.thresholds()
        rows, margin = repeat_factors.margins(part[XYXY].to_numpy(), labels, scores, self.class_threshold.numpy())
        pooled, of_rows = ByImage(part["image_id"].to_numpy()[rows]), labels[rows]
        found = {i: pooled.rows(i) for i in pooled.ids.tolist()}
        self.seen = {i: (of_rows[own].tolist(), margin[own].tolist()) for i, own in found.items()}
        refined, aids = super().refine(table, split)
        kept = split[split["box_id"] >= 0].groupby("image_id")["label"].agg(list).to_dict()
        labeled = sorted(int(i) for i in split.loc[split["labeled"], "image_id"].unique())
        known = [kept.get(i, []) for i in labeled]
        return refined, aids | self._readable(labeled, known, sorted(int(i) for i in bare.unique()))

    def state_dict(self) -> dict[str, Any]:
        self._pool()
        ids = sorted(self.seen)
        pooled = {"ids": ids, "classes": [self.seen[i][0] for i in ids], "margins": [self.seen[i][1] for i in ids]}
        return {"pool": pooled, "class_threshold": self.class_threshold}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        pool = state["pool"]
        self.seen = dict(zip(pool["ids"], zip(pool["classes"], pool["margins"], strict=True), strict=True))
        self.visited = {}  # what the steps since have seen is no part of it: they come again, or were a rehearsal
        self.class_threshold = state["class_threshold"].cpu()
