"""What kind of mistakes a detector makes, and what each kind costs.

Error types and their costs are those of TIDE (Bolya et al., ECCV 2020, section 2), at IoU 0.5. A wrong detection is the
first of these that fits, in the order of the authors' code:

    localization    it overlaps a true box of its class by 0.1 to 0.5
    classification  it overlaps a true box of another class by 0.5 or more
    duplicate       it overlaps a true box of its class by 0.5 or more, which a better detection has taken
    background      it overlaps no true box by 0.1
    both            the rest: wrong class and badly placed

and a true box that nothing found is `missed` unless a localization or classification error is about it. The cost is
dAP: how much AP50 would grow were the mistakes of that one type mended. Of the badly placed ones, or the misnamed ones,
the best for each true box that nothing found becomes right and the others are removed; duplicates, background and both
are removed; missed boxes need not be found.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd

from scantling.data.index import Index
from scantling.evaluate import coco, confusion
from scantling.evaluate.fast import Matches, Scene, boxes_of, match, precision_of, scene
from scantling.evaluate.matching import overlaps

FOREGROUND, BACKGROUND = 0.5, 0.1  # IoU; TIDE's t_f and t_b
MENDED, REMOVED = ("classification", "localization"), ("both", "duplicate", "background")
TYPES = (*MENDED, *REMOVED, "missed")


@dataclass(frozen=True)
class Ranking:
    """All that AP50 depends on: label (P,), right (P,), ignored (P,) in the order of the scene; boxes (C,)."""

    label: np.ndarray
    right: np.ndarray
    ignored: np.ndarray
    boxes: np.ndarray


def measure(index: Index, subset: str, found: dict[str, pd.DataFrame], *, score_threshold: float) -> dict[str, Any]:
    """The content of errors.json: the score, the names of the classes, and `analyze` of each model in `found`."""
    every = {model: analyze(index, subset, rows, score_threshold=score_threshold) for model, rows in found.items()}
    return {"score_threshold": score_threshold, "classes": list(index.classes), **every}


def analyze(index: Index, subset: str, detections: pd.DataFrame, *, score_threshold: float) -> dict[str, Any]:
    """Errors of one model; arguments and errors as in coco.evaluate.

    AP50             fraction, None without true boxes: what the costs are counted from
    types            one of TYPES -> {"count", "shown", "dAP"}
    false_positives  the same of all wrong detections together, removed
    false_negatives  the same of all true boxes that nothing found, which then need not be found
    classes          class -> {type: count}; a detection belongs to the class it names, a missed box to its own
    confusion        as in confusion.count, of detections with score >= score_threshold
    `shown` are those with score >= score_threshold, None for true boxes; dAP is a fraction, None without true boxes.
    Crowd and difficult boxes, and the detections on them, are in none of these.
    """
    coco.check(index, subset, coco.images_of(index, subset), detections)
    at = scene(index, subset, detections)
    matches = match(at)
    true_label, label = at.true["label"].to_numpy(), at.found["label"].to_numpy()
    now = Ranking(label, matches.right[:, 0], matches.ignored[:, 0], boxes_of(at, matches))
    wrong, lost = ~now.right & ~now.ignored, matches.counted.copy()
    lost[matches.taken[now.right, 0]] = False
    types, about = _types(at, wrong, *_nearby(index, detections, at, matches))
    missed = lost.copy()
    missed[about[np.isin(types, MENDED)]] = False

    rows = {name: types == name for name in TYPES[:-1]}
    mended = {name: _best_of_each(at, np.flatnonzero(rows[name]), about, lost) for name in MENDED}
    then = {
        name: replace(
            now,
            label=np.where(mended[name], true_label[about], label) if len(true_label) else label,
            right=now.right | mended[name],
            ignored=now.ignored | (rows[name] & ~mended[name]),
        )
        for name in MENDED
    }
    then |= {name: replace(now, ignored=now.ignored | rows[name]) for name in REMOVED}
    then["false_positives"] = replace(now, ignored=now.ignored | wrong)
    for name, gone in (("missed", missed), ("false_negatives", lost)):
        then[name] = replace(now, boxes=now.boxes - np.bincount(true_label[gone], minlength=at.classes))

    base = _ap50(at, now)
    shown = at.found["score"].to_numpy(np.float32) >= np.float32(score_threshold)

    def entry(name: str, which: np.ndarray, of_detections: bool = True) -> dict[str, Any]:
        cost = None if base is None else (_ap50(at, then[name]) or 0.0) - base
        return {"count": int(which.sum()), "shown": int((which & shown).sum()) if of_detections else None, "dAP": cost}

    counts = {name: np.bincount(label[mask], minlength=at.classes).tolist() for name, mask in rows.items()}
    counts["missed"] = np.bincount(true_label[missed], minlength=at.classes).tolist()
    return {
        "AP50": base,
        "types": {name: entry(name, mask) for name, mask in rows.items()} | {"missed": entry("missed", missed, False)},
        "false_positives": entry("false_positives", wrong),
        "false_negatives": entry("false_negatives", lost, False),
        "classes": {title: {name: counts[name][k] for name in TYPES} for k, title in enumerate(index.classes)},
        "confusion": confusion.count(index, detections, at, matches, shown),
    }


def _nearby(
    index: Index, detections: pd.DataFrame, at: Scene, matches: Matches
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Pairs (row of found, row of true, IoU) of one image and any class, IoU at least BACKGROUND, that count."""
    assert index.boxes is not None
    found = detections.iloc[at.found["row"]].assign(label=0)
    true = index.boxes.iloc[at.true["row"][matches.counted]].assign(label=0)
    p, t, iou = overlaps(found, true, BACKGROUND)
    return p, np.flatnonzero(matches.counted)[t], iou


def _types(
    at: Scene, wrong: np.ndarray, p: np.ndarray, t: np.ndarray, iou: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Type (P,) of every detection, "" for those not wrong, and the true box (P,) it is about, -1 for none."""
    same = at.found["label"].to_numpy()[p] == at.true["label"].to_numpy()[t]
    own, own_iou = _nearest(len(wrong), p[same], t[same], iou[same])
    other, other_iou = _nearest(len(wrong), p[~same], t[~same], iou[~same])
    rules = {
        "": ~wrong,
        "localization": (own_iou > 0) & (own_iou < FOREGROUND),
        "classification": other_iou >= FOREGROUND,
        "duplicate": own_iou >= FOREGROUND,
        "background": np.maximum(own_iou, other_iou) == 0,  # nothing near enough to be a pair
    }
    types = np.select(list(rules.values()), list(rules), "both")
    return types, np.select([types == "localization", types == "classification"], [own, other], -1)


def _nearest(rows: int, p: np.ndarray, t: np.ndarray, iou: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The true box (rows,) that each detection overlaps most, -1 for none, and by how much, 0 then."""
    order = np.lexsort((t, -iou, p))
    first = order[np.unique(p[order], return_index=True)[1]]
    nearest, overlap = np.full(rows, -1), np.zeros(rows)
    nearest[p[first]], overlap[p[first]] = t[first], iou[first]
    return nearest, overlap


def _best_of_each(at: Scene, rows: np.ndarray, about: np.ndarray, lost: np.ndarray) -> np.ndarray:
    """Mask (P,) of those of `rows` that are the best about a true box that nothing found."""
    rows = rows[lost[about[rows]]]
    best_first = rows[np.argsort(-at.found["score"].to_numpy()[rows], kind="stable")]
    mask = np.zeros(len(about), dtype=bool)
    mask[best_first[np.unique(about[best_first], return_index=True)[1]]] = True
    return mask


def _ap50(at: Scene, ranking: Ranking) -> float | None:
    """Mean over the classes with boxes; None without any. A class with none left to be found counts 0 if some of its
    detections are wrong, and is left out otherwise."""
    order = np.lexsort((at.found["image"], -at.found["score"].to_numpy(), ranking.label))
    right, ignored, label = ranking.right[order], ranking.ignored[order], ranking.label[order]
    starts = np.searchsorted(label, np.arange(at.classes + 1))
    there = np.bincount(at.true["label"][~at.true["ignored"]], minlength=at.classes)
    values = []
    for k in np.flatnonzero(there):
        rows = slice(starts[k], starts[k + 1])
        if ranking.boxes[k]:
            values.append(precision_of(right[rows], ignored[rows], int(ranking.boxes[k])).mean())
        elif (~right[rows] & ~ignored[rows]).any():
            values.append(0.0)
    return float(np.mean(values)) if values else None
