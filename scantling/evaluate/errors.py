"""What kind of mistakes a detector makes, and what each kind costs.

Error types and their costs are those of TIDE (Bolya et al., ECCV 2020, section 2), at IoU 0.5. A wrong detection is the
first of these that fits, in the order of the authors' code:

    localization    it overlaps a true box of its class by 0.1 to 0.5
    classification  it overlaps a true box of another class by 0.5 or more
    duplicate       it overlaps a true box of its class by 0.5 or more, which a better detection has taken
    background      it overlaps no true box by 0.1
    both            the rest: wrong class and badly placed

and a true box that nothing found is `missed` unless a localization or classification error is about it. The cost is
dAP: how much AP50 would grow were the mistakes of that one type mended. Mended, a badly placed or misnamed detection is
right if of all these it is the best about a true box that nothing found, and removed otherwise (the authors' code
compares both types, so does this); duplicates, background and both are removed; missed boxes need not be found.
Two differences from that code: classes without true boxes have no AP, as in COCO, where it counts 0 for them; and
detections on crowd or difficult boxes are no mistakes, where it counts them.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd

from scantling.data.index import Index
from scantling.evaluate import confusion, tested
from scantling.evaluate.costs import KINDS, MENDED, Costs
from scantling.evaluate.fast import Matches, Scene, match, scene
from scantling.evaluate.matching import overlaps

FOREGROUND, BACKGROUND = 0.5, 0.1  # IoU; TIDE's t_f and t_b
TYPES = ("classification", "localization", "both", "duplicate", "background", "missed")

Judge = Callable[[Index, pd.DataFrame], pd.DataFrame]


def measure(
    index: Index, subset: str, found: dict[str, tested.Found], *, score_threshold: float, judge: Judge | None = None
) -> dict[str, Any]:
    """The content of errors.json: the score, the names of the classes, and `analyze` of each model in `found`."""
    asked = {"score_threshold": score_threshold, "judge": judge}
    every = {model: analyze(index, subset, rows, **asked) for model, rows in found.items()}
    return {"score_threshold": score_threshold, "classes": list(index.classes), **every}


def analyze(
    index: Index, subset: str, detections: tested.Found, *, score_threshold: float, judge: Judge | None = None
) -> dict[str, Any]:
    """Errors of one model; arguments and errors as in coco.evaluate.

    AP50             fraction, None without true boxes: what the costs are counted from
    types            one of TYPES -> {"count", "shown", "dAP"}
    false_positives  the same of all wrong detections together, removed
    false_negatives  the same of all true boxes that nothing found, which then need not be found
    classes          class -> {type: count}; a detection belongs to the class it names, a missed box to its own
    confusion        as in confusion.count, of detections with score >= score_threshold
    `shown` are those with score >= score_threshold, None for true boxes; dAP is a fraction, None without true boxes.
    Crowd and difficult boxes, and the detections on them, are in none of these. judge: those detections of some images
    that can be right or wrong at all; all if None.
    """
    tested.check(index, subset, detections)
    classes = len(index.classes)
    costs, confused = Costs(classes), Counter[tuple[int, int]]()
    count, shown_count = np.zeros((len(KINDS), classes), np.int64), np.zeros(len(KINDS), np.int64)
    for before, part, rows in tested.walk(index, subset, detections):
        rows = rows if judge is None else judge(part, rows)
        at = scene(part, subset, rows)
        matches = match(at)
        kind, *of_mistakes = _mistakes(part, rows, at, matches)
        costs.add(before, at, matches, kind, *of_mistakes)
        shown = at.found["score"].to_numpy(np.float32) >= np.float32(score_threshold)
        label = at.found["label"].to_numpy()
        count += np.stack([np.bincount(label[kind == n], minlength=classes) for n in range(len(KINDS))])
        shown_count += np.bincount(kind[shown], minlength=len(KINDS))
        confused.update({(true, named): n for true, named, n in confusion.count(part, rows, at, matches, shown)})

    ap50 = costs.ap50()

    def entry(name: str, number: int, shown: int | None) -> dict[str, Any]:
        cost = None if ap50[""] is None else (ap50[name] or 0.0) - ap50[""]
        return {"count": int(number), "shown": None if shown is None else int(shown), "dAP": cost}

    places = {name: KINDS.index(name) for name in TYPES[:-1]}
    types = {name: entry(name, count[n].sum(), shown_count[n]) for name, n in places.items()}
    by_class = {name: count[n].tolist() for name, n in places.items()} | {"missed": costs.missed.tolist()}
    return {
        "AP50": ap50[""],
        "types": types | {"missed": entry("missed", costs.missed.sum(), None)},
        "false_positives": entry("false_positives", count[1:].sum(), shown_count[1:].sum()),
        "false_negatives": entry("false_negatives", costs.lost.sum(), None),
        "classes": {title: {name: by_class[name][k] for name in TYPES} for k, title in enumerate(index.classes)},
        "confusion": [[*pair, n] for pair, n in sorted(confused.items())],
    }


def _mistakes(
    index: Index, detections: pd.DataFrame, at: Scene, matches: Matches
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """What Costs.add wants to know: kind, about, mended (P,), missed, lost (G,)."""
    right = matches.right[:, 0]
    wrong, lost = ~right & ~matches.ignored[:, 0], matches.counted.copy()
    lost[matches.taken[right, 0]] = False
    kind, about = _kinds(at, wrong, *_nearby(index, detections, at, matches))
    mendable, missed = np.isin(kind, [KINDS.index(name) for name in MENDED]), lost.copy()
    missed[about[mendable]] = False
    return kind, about, _best_of_each(at, np.flatnonzero(mendable), about, lost), missed, lost


def _nearby(
    index: Index, detections: pd.DataFrame, at: Scene, matches: Matches
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Pairs (row of found, row of true, IoU) of one image and any class, IoU at least BACKGROUND, that count."""
    assert index.boxes is not None
    found = detections.iloc[at.found["row"]].assign(label=0)
    true = index.boxes.iloc[at.true["row"][matches.counted]].assign(label=0)
    p, t, iou = overlaps(found, true, BACKGROUND)
    return p, np.flatnonzero(matches.counted)[t], iou


def _kinds(
    at: Scene, wrong: np.ndarray, p: np.ndarray, t: np.ndarray, iou: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Kind (P,) of every detection, place in KINDS, and the true box (P,) it is about, -1 for none."""
    same = at.found["label"].to_numpy()[p] == at.true["label"].to_numpy()[t]
    own, own_iou = _nearest(len(wrong), p[same], t[same], iou[same])
    other, other_iou = _nearest(len(wrong), p[~same], t[~same], iou[~same])
    rules = {
        "": ~wrong,
        "localization": (own_iou > 0) & (own_iou < FOREGROUND),
        "classification": other_iou >= FOREGROUND,
        "duplicate": own_iou >= FOREGROUND,
        "background": np.maximum(own_iou, other_iou) == 0,  # nothing near enough to be a pair
        "both": np.ones_like(wrong),
    }
    kind = np.select(list(rules.values()), [KINDS.index(name) for name in rules])
    where = [kind == KINDS.index(name) for name in ("localization", "classification")]
    return kind, np.select(where, [own, other], -1)


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
