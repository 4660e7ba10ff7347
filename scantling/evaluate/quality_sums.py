"""What is counted of labels on some images, before it becomes numbers: everything here adds up over images."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd

from scantling.evaluate import calibration, changes, counting, refinement
from scantling.evaluate.counting import Tally, judge, tally
from scantling.evaluate.params import QualityParams
from scantling.evaluate.sums import Sums
from scantling.evaluate.truth import Truth


@dataclass(frozen=True)
class Pseudo(Sums):
    """Of pseudo labels: rows, how many are neither right nor wrong and why, and what is counted of the others."""

    rows: int
    discarded: dict[str, int]
    above: Tally
    bins: calibration.Bins


@dataclass(frozen=True)
class Use(Sums):
    """Of the refined labels that one loss learns from: the same."""

    rows: int
    discarded: dict[str, int]
    every: Tally
    above: Tally


@dataclass(frozen=True)
class Refined(Sums):
    """rows; of them on images with truth, and of these the ignored ones; uses: see refinement.USES."""

    rows: int
    on_truth: int
    ignored: int
    uses: dict[str, Use]
    bins: calibration.Bins
    polished: refinement.Polished


@dataclass(frozen=True)
class Counted(Sums):
    """Everything, of one portion or of all."""

    images: int
    unknown: int
    hidden: int
    kept: int
    pseudo: Pseudo
    refined: Refined
    changes: changes.Changes | None


def of_portion(truth: Truth, rows: dict[str, pd.DataFrame], classes: int, params: QualityParams) -> Counted:
    """Count the `pseudo` and `refined` labels of these rows and, where there was one, the round `before`."""
    close = {"iou_threshold": params.iou_threshold, "same_iou": params.same_iou}
    before = rows.get("before")
    return Counted(
        images=len(truth.images),
        unknown=len(truth.unknown),
        hidden=len(truth.hidden),
        kept=len(truth.kept),
        pseudo=of_pseudo(truth, rows["pseudo"], classes, params),
        refined=_refined(truth, rows["pseudo"], rows["refined"], classes, params),
        changes=None if before is None else changes.between(truth, before, rows["refined"], classes, **close),
    )


def of_pseudo(truth: Truth, pseudo: pd.DataFrame, classes: int, params: QualityParams) -> Pseudo:
    """Count pseudo labels; those on images without known truth are outside."""
    rows = pseudo[pseudo["image_id"].isin(truth.images)]
    judged = judge(truth, rows, rows["score"].to_numpy(), params.iou_threshold)
    return Pseudo(
        rows=len(pseudo),
        discarded=counting.sums(judged.discarded, outside=len(pseudo) - len(rows)),
        above=tally(judged, truth, classes, params.thresholds),
        bins=calibration.binned(judged, classes, params.calibration_bins),
    )


def _refined(truth: Truth, pseudo: pd.DataFrame, refined: pd.DataFrame, classes: int, params: QualityParams) -> Refined:
    own = refined[refined["source"] != "label"]  # a person's labels are not judged
    rows = own[own["image_id"].isin(truth.images)].reset_index(drop=True)
    scores = refinement.scores_of(rows)
    uses, bins = {}, {}
    for name, column in refinement.USES.items():
        # A target competes for a hidden box only with boxes that are targets too.
        chosen = refinement.used_for(rows, column)
        one = judge(truth, refinement.as_learned(rows[chosen], name), scores[chosen], params.iou_threshold)
        uses[name] = Use(
            rows=int(np.sum(chosen)),
            discarded=counting.sums(one.discarded),
            every=tally(one, truth, classes),
            above=tally(one, truth, classes, params.thresholds),
        )
        bins[name] = calibration.binned(one, classes, params.calibration_bins)
    return Refined(
        rows=len(own),
        on_truth=len(rows),
        ignored=int(rows["ignore"].sum()),
        uses=uses,
        bins=bins["class"],
        polished=refinement.compare(truth, pseudo, refined, classes, params.iou_threshold),
    )
