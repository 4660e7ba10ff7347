"""Training on the labels there are: the base of every method and the baseline of every comparison."""

from __future__ import annotations

from typing import Any, Literal

import pandas as pd
from pydantic import Field
from torch import Tensor, nn

from scantling.data.index import XYXY
from scantling.data.loader import Pool, TrainingStep
from scantling.ema import EmaParams
from scantling.guards import Scores
from scantling.methods import MethodParams
from scantling.mining.record import Record
from scantling.target import Batch, Target

Losses = dict[str, Tensor]


class Params(MethodParams):
    """`views`: weak and strong together are the fair baseline of a method that trains on both."""

    method: Literal["supervised"] = "supervised"
    views: tuple[Literal["labeled", "weak", "strong"], ...] = Field(("labeled",), min_length=1)
    joined: bool = Field(
        False, description="views are one batch whose losses are means over it; else each has losses, which are added"
    )


class Method:
    """Losses on the labeled images; no unlabeled image is drawn. A method overrides only what its paper adds.

    networks, averages (nn.ModuleDict) are set by the loop before the first step: what `modules` gave, trained by the
    student's optimizer, and the moving averages of it. Both are saved with the weights. `given`, set before that: the
    state of the networks that polish trained (`taught`); {} if it trained none. `held_out`, set before `refine`: label,
    score and whether it is right of each box of the teacher in held-out images; None if no label of such is known.
    """

    labeled_views: tuple[str, ...] = ("labeled",)
    unlabeled_views: tuple[str, ...] = ()
    keep_empty_images = True  # whether labeled images without a box are trained on
    redraw_every: int | None = None  # steps after which `drawn` is asked again
    ema: EmaParams | None = None  # of `averages`; None: as the student's
    threshold: str | None = None  # parameter with the score that a pseudo box needs; None: there are none
    refined_columns: tuple[str, ...] = ()  # of a refined table, read with `teacher: cached` beside candidates.COLUMNS
    mines_labeled = False  # whether pseudo boxes are looked for in labeled images, which lack some of their boxes

    def __init__(self, params: MethodParams, classes: tuple[str, ...], refined: pd.DataFrame | None):
        self.params, self.classes = params, classes
        by_hand = [] if refined is None else refined.loc[refined["source"] == "corrected", "image_id"]
        self.corrected = frozenset(int(i) for i in by_hand)  # images that a person finished: nothing is mined in them
        self.networks, self.averages = nn.ModuleDict(), nn.ModuleDict()
        self.given: dict[str, Tensor] = {}
        self.held_out: pd.DataFrame | None = None
        self.scores = Scores()  # of the candidates that the teacher gave; `step` adds them, `guards` looks
        self.record = Record()  # of what it learns from beside the labels; `step` shows it the targets it made
        if isinstance(params, Params):
            self.labeled_views = params.views

    def modules(self, student: nn.Module) -> dict[str, nn.Module]:
        """Networks to train beside the student, random from torch's global generator."""
        return {}

    def state_dict(self) -> dict[str, Any]:
        """What else a step changes (statistics, thresholds): tensors, numbers, strings, and lists and dicts of them.

        Of several processes all are asked and the first one's answer is kept: what each has of its own is put together
        here (`distributed.joined`).
        """
        return {}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from what `state_dict` gave."""

    def step(
        self, student: nn.Module, teacher: nn.Module | None, batch: TrainingStep
    ) -> tuple[Losses, dict[str, float]]:
        """Weighted loss terms of one step, and what else to log. `teacher` makes labels; None in mode cached.

        Names begin with `labeled/` or `unlabeled/`, for the images they are a mean over. Several processes must ask
        for the student's losses equally often; a divisor of a method's own is the `distributed.mean` of theirs.
        """
        losses: Losses = {}
        seen = list(batch.labeled.values())
        if seen and isinstance(self.params, Params) and self.params.joined:
            seen = [Batch.joined(seen)]
        for view in seen:
            for name, loss in self.view_losses(student, view, view.targets, "labeled", batch.step).items():
                losses[f"labeled/{name}"] = losses.get(f"labeled/{name}", 0.0) + loss
        return losses, {}

    def view_losses(
        self, student: nn.Module, view: Batch, targets: list[Target], side: str, step: int, **options: Any
    ) -> Losses:
        """Features and losses of one view of a side, `labeled` or `unlabeled`; methods may have losses of their own."""
        return view_losses(student, view, targets, **options)

    def drawn(self, pool: Pool, step: int, total_steps: int) -> tuple[list[int], list[int]]:
        """Ids of the labeled and the unlabeled images to draw from, an id as often as it is to be drawn in a pass.

        Asked before step 0 and, with `redraw_every`, again whenever so many steps are done.
        """
        return pool.labeled, pool.unlabeled

    def taught(self) -> tuple[Any, Any] | None:
        """A method whose step trains networks on the features of the teacher that labeled, and its TrainingParams: done
        in polish, before `refine`. None: there are no such networks.

        A method that has some also has `looks_at(pseudo, split)`, which rows they are asked about, and `improve`, what
        they say of given boxes (see `scantling.polish`).
        """
        return None

    def aids(self, pool: Pool, total_steps: int) -> dict[str, Any]:
        """What the training found out beside the weights, as plain JSON types for a person; all processes are asked."""
        return {}

    def refine(self, pseudo: pd.DataFrame, split: pd.DataFrame) -> tuple[pd.DataFrame, dict[str, object]]:
        """The refined labels this method would learn from, and its aids. Supervised training uses none of them."""
        return unused(pseudo), {}


def view_losses(student: nn.Module, view: Batch, targets: list[Target], **options: object) -> Losses:
    """Features and losses of one view."""
    return student.losses(student.features(view.images, view.sizes), targets, view.sizes, **options)


def unused(pseudo: pd.DataFrame) -> pd.DataFrame:
    """Pseudo labels with the columns of refined ones, none of them used by any loss."""
    flags = dict.fromkeys(("for_objectness", "for_class", "for_box", "ignore"), False)
    same = {"refined_label": pseudo["label"], "refined_score": pseudo["score"]}
    same |= {f"refined_{name}": pseudo[name] for name in XYXY}
    said = {name: pseudo[name] for name in same if name in pseudo}  # what networks made of it, where some did
    return pseudo.assign(source="teacher", weight=1.0, **(same | said), **flags).astype({"weight": "float32"})
