"""How good are labels that no person drew? Pseudo labels against the truth that the split hid.

Hidden truth: boxes that the split did not keep, crowd and difficult ones left out. Where there is none, labeled images
that no training saw tell how good the same teacher's labels are there. docs/label_quality.md says what each number of
the file means.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from scantling.data.index import Index
from scantling.evaluate import calibration, changes, counting, portions, quality_sums, refinement
from scantling.evaluate.density import Density
from scantling.evaluate.params import QualityParams
from scantling.evaluate.portions import Table
from scantling.evaluate.quality_sums import Pseudo, Refined
from scantling.evaluate.truth import held_out, truth_of


@dataclass(frozen=True)
class Tables:
    """boxes          of the index; which of them the split keeps
    pseudo, refined   as written by pseudo_label and polish; empty is legal
    before            refined table of the round before; None: this is the first
    """

    boxes: Table
    split: Table
    pseudo: Table
    refined: Table
    before: Table | None = None


def measure(
    index: Index, tables: Tables, params: QualityParams, *, on_held_out: tuple[str, Table] | None = None
) -> dict[str, Any]:
    """The content of label_quality.json. Of index.boxes nothing is used.

    on_held_out   a labeled subset that no training saw, and what the same teacher found there (columns of pseudo)

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
    classes, density, counted = index.classes, Density(len(index.classes)), None
    for part, rows in portions.walk(index, **vars(tables)):
        truth = truth_of(part, rows["split"])
        density.add(truth, rows["split"], rows["pseudo"])
        one = quality_sums.of_portion(truth, rows, len(classes), params)
        counted = one if counted is None else counted + one
    assert counted is not None, "there is always a portion"
    of_pseudo = _of_pseudo(counted.pseudo, classes, params)
    return {
        "iou_threshold": params.iou_threshold,
        "headline_threshold": params.headline_threshold,
        "thresholds": list(params.thresholds),
        "classes": list(classes),
        "images": counted.images,
        "images_without_truth": counted.unknown,
        "hidden": counted.hidden,
        "kept": counted.kept,
        "pseudo": of_pseudo,
        "refined": _of_refined(counted.refined, classes),
        "density": density.thresholds(tables.pseudo, classes),
        "changes": None if counted.changes is None else changes.summary(counted.changes, classes),
        "estimate": None if on_held_out is None else _estimate(index, tables.boxes, *on_held_out, of_pseudo, params),
    }


def headline(quality: dict[str, Any]) -> dict[str, float | None]:
    """Precision and recall of all pseudo labels at the headline threshold."""
    at = quality["thresholds"].index(quality["headline_threshold"])
    return {name: quality["pseudo"]["all"][name][at] for name in ("precision", "recall")}


def _of_pseudo(sums: Pseudo, classes: tuple[str, ...], params: QualityParams) -> dict[str, Any]:
    numbers = counting.by_threshold(sums.above, classes)
    return {
        "rows": sums.rows,
        "discarded": sums.discarded,
        **numbers,
        "calibration": calibration.reliability(sums.bins, classes),
        "suggested": calibration.suggested(numbers, params.thresholds),
    }


def _of_refined(sums: Refined, classes: tuple[str, ...]) -> dict[str, Any]:
    uses = {
        name: {
            "rows": one.rows,
            "discarded": one.discarded,
            **counting.at_once(one.every, classes),
            "by_threshold": counting.by_threshold(one.above, classes),
        }
        for name, one in sums.uses.items()
    }
    return {
        "rows": sums.rows,
        "ignore_share": sums.ignored / sums.on_truth if sums.on_truth else None,
        **uses,
        "calibration": calibration.reliability(sums.bins, classes),
        "polishing": refinement.changed(sums.polished, classes),
    }


def _estimate(
    index: Index, boxes: Table, subset: str, found: Table, of_pseudo: dict[str, Any], params: QualityParams
) -> dict[str, Any]:
    """The numbers of `pseudo` on held-out images, and in `minus_hidden` how far they are from the hidden truth."""
    seen, counted = replace(index, images=index.images[index.images["subset"] == subset]), None
    for part, rows in portions.walk(seen, boxes, found=found):
        truth = held_out(part, subset)
        one = quality_sums.of_pseudo(truth, rows["found"], len(index.classes), params)
        counted = one if counted is None else counted + one
    assert counted is not None, "there is always a portion"
    made = _of_pseudo(counted, index.classes, params)
    return {
        "subset": subset,
        "images": len(seen.images),
        "boxes": int(counted.above.hidden[0]),
        **made,
        "minus_hidden": {
            name: [_minus(a, b) for a, b in zip(made["all"][name], of_pseudo["all"][name], strict=True)]
            for name in ("precision", "recall")
        }
        | {"threshold": _minus(made["suggested"]["all"]["threshold"], of_pseudo["suggested"]["all"]["threshold"])},
    }


def _minus(a: float | None, b: float | None) -> float | None:
    return None if a is None or b is None else round(a - b, 6)
