"""How good are labels that no person drew? Pseudo labels against the truth that the split hid.

Hidden truth: boxes that the split did not keep, crowd and difficult ones left out. Where there is none, labeled images
that no training saw tell how good the same teacher's labels are there. docs/label_quality.md says what each number of
the file means.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from scantling.data.index import Index
from scantling.evaluate import calibration, changes, density, refinement
from scantling.evaluate.counting import Judged, at_once, by_threshold, judge, sums
from scantling.evaluate.params import QualityParams
from scantling.evaluate.truth import Truth, held_out, truth_of


def measure(
    index: Index,
    split: pd.DataFrame,
    pseudo: pd.DataFrame,
    refined: pd.DataFrame,
    params: QualityParams,
    *,
    before: pd.DataFrame | None = None,
    on_held_out: tuple[str, pd.DataFrame] | None = None,
) -> dict[str, Any]:
    """The content of label_quality.json.

    pseudo, refined  tables as written by pseudo_label and polish; empty is legal
    before           refined table of the round before; None: this is the first
    on_held_out      a labeled subset that no training saw, and what the same teacher found there (columns of pseudo)

    Gives the settings, counts of images and hidden boxes, and
      pseudo    rows, discarded; per threshold (score >= threshold) for `all`, for each of `classes` and `sizes`:
                hidden (a number), precision, recall, count, boxes_per_image, mean_iou (lists along `thresholds`);
                calibration; suggested (the threshold of the best F1)
      refined   rows, ignore_share, the same numbers for the boxes used as targets of the class loss (`class`), of the
                box loss (`box`) and of the proposal stage (`objectness`), at once and `by_threshold` of the refined
                score; calibration of the class targets; polishing: what it changed
      density   thresholds at which there are as many boxes an image as in the labeled images
      changes   against the round before, None for the first
      estimate  the keys of `pseudo` on the held-out images, and how far off they are; None without such images
    precision is None where nothing is counted, recall where nothing is hidden, mean_iou where nothing matches.
    """
    truth = truth_of(index, split)
    classes = index.classes
    of_pseudo = _of_pseudo(truth, pseudo, classes, params)
    return {
        "iou_threshold": params.iou_threshold,
        "headline_threshold": params.headline_threshold,
        "thresholds": list(params.thresholds),
        "classes": list(classes),
        "images": len(truth.images),
        "images_without_truth": len(truth.unknown),
        "hidden": len(truth.hidden),
        "kept": len(truth.kept),
        "pseudo": of_pseudo,
        "refined": _of_refined(truth, pseudo, refined, classes, params),
        "density": density.matching_thresholds(truth, split, pseudo, classes),
        "changes": None
        if before is None
        else changes.between(
            truth, before, refined, classes, iou_threshold=params.iou_threshold, same_iou=params.same_iou
        ),
        "estimate": None if on_held_out is None else _estimate(index, *on_held_out, of_pseudo, params),
    }


def headline(quality: dict[str, Any]) -> dict[str, float | None]:
    """Precision and recall of all pseudo labels at the headline threshold."""
    at = quality["thresholds"].index(quality["headline_threshold"])
    return {name: quality["pseudo"]["all"][name][at] for name in ("precision", "recall")}


def _of_pseudo(truth: Truth, pseudo: pd.DataFrame, classes: tuple[str, ...], params: QualityParams) -> dict[str, Any]:
    rows = pseudo[pseudo["image_id"].isin(truth.images)]
    judged = judge(truth, rows, rows["score"].to_numpy(), params.iou_threshold)
    numbers = by_threshold(judged, truth, classes, params.thresholds)
    return {
        "rows": len(pseudo),
        "discarded": sums(judged.discarded, outside=len(pseudo) - len(rows)),
        **numbers,
        "calibration": calibration.reliability(judged, classes, params.calibration_bins),
        "suggested": calibration.suggested(numbers, params.thresholds),
    }


def _of_refined(
    truth: Truth, pseudo: pd.DataFrame, refined: pd.DataFrame, classes: tuple[str, ...], params: QualityParams
) -> dict[str, Any]:
    own = refined[refined["source"] != "label"]  # a person's labels are not judged
    rows = own[own["image_id"].isin(truth.images)].reset_index(drop=True)
    scores = refinement.scores_of(rows)
    result: dict[str, Any] = {
        "rows": len(own),
        "ignore_share": float(rows["ignore"].mean()) if len(rows) else None,
    }
    judged: dict[str, Judged] = {}
    for name, column in refinement.USES.items():
        # A target competes for a hidden box only with boxes that are targets too.
        chosen = refinement.used_for(rows, column)
        one = judged[name] = judge(
            truth, refinement.as_learned(rows[chosen], name), scores[chosen], params.iou_threshold
        )
        result[name] = {
            "rows": int(np.sum(chosen)),
            "discarded": sums(one.discarded),
            **at_once(one, truth, classes),
            "by_threshold": by_threshold(one, truth, classes, params.thresholds),
        }
    result["calibration"] = calibration.reliability(judged["class"], classes, params.calibration_bins)
    result["polishing"] = refinement.compare(truth, pseudo, refined, classes, params.iou_threshold)
    return result


def _estimate(
    index: Index, subset: str, found: pd.DataFrame, of_pseudo: dict[str, Any], params: QualityParams
) -> dict[str, Any]:
    """The numbers of `pseudo` on held-out images, and in `minus_hidden` how far they are from the hidden truth."""
    truth = held_out(index, subset)
    made = _of_pseudo(truth, found, index.classes, params)
    return {
        "subset": subset,
        "images": len(truth.images),
        "boxes": len(truth.hidden),
        **made,
        "minus_hidden": {
            name: [_minus(a, b) for a, b in zip(made["all"][name], of_pseudo["all"][name], strict=True)]
            for name in ("precision", "recall")
        }
        | {"threshold": _minus(made["suggested"]["all"]["threshold"], of_pseudo["suggested"]["all"]["threshold"])},
    }


def _minus(a: float | None, b: float | None) -> float | None:
    return None if a is None or b is None else round(a - b, 6)
