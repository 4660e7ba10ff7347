"""What became of the teacher's labels: which are used for what, and what polishing changed in them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from scantling.data.index import XYXY
from scantling.evaluate.counting import judge, share
from scantling.evaluate.matching import overlaps
from scantling.evaluate.sums import Sums
from scantling.evaluate.truth import Truth

USES = {"class": "for_class", "box": "for_box", "objectness": "for_objectness"}
TOUCH = 1e-9  # IoU, any overlap at all
MOVED_PX = 0.01  # less is rounding


def scores_of(refined: pd.DataFrame) -> np.ndarray:
    """(N,) the score after polishing, the teacher's where there is none."""
    return refined["refined_score"].fillna(refined["score"]).to_numpy(np.float32)


def used_for(refined: pd.DataFrame, column: str) -> np.ndarray:
    """(N,) bool, rows that the loss of a flag learns from."""
    return (refined[column] & ~refined["ignore"] & (refined["weight"] > 0)).to_numpy(bool)


def as_learned(rows: pd.DataFrame, use: str | None = None) -> pd.DataFrame:
    """The rows in the class and the place that polish gave them; with `use`, as that loss learns them.

    The box loss learns refined boxes of the teacher's classes, the others the teacher's boxes in refined classes.
    """
    if "refined_label" not in rows:
        return rows
    boxes = {name: rows[f"refined_{name}"] for name in XYXY} if use in ("box", None) else {}
    return rows.assign(**boxes, **({} if use == "box" else {"label": rows["refined_label"]}))


def used(refined: pd.DataFrame) -> pd.DataFrame:
    """The rows that any loss learns from, those drawn by the split's people left out."""
    learned = np.logical_or.reduce([used_for(refined, column) for column in USES.values()])
    return refined[learned & (refined["source"] != "label").to_numpy(bool)].reset_index(drop=True)


@dataclass(frozen=True)
class Polished(Sums):
    """The used labels before and after polishing.

    boxes, moved, relabeled   how many are used, have another box, have another class than the teacher gave them
    counted, right            {before, after}: labels that are right or wrong, and right
    on_object  (C,) labels on a hidden object, by the class of the object
    overlap    {before, after}: (C,) sum of their IoU with it
    correct    {before, after}: (C,) how many of them have its class
    """

    boxes: int
    moved: int
    relabeled: int
    counted: dict[str, int]
    right: dict[str, int]
    on_object: np.ndarray
    overlap: dict[str, np.ndarray]
    correct: dict[str, np.ndarray]


def compare(truth: Truth, pseudo: pd.DataFrame, refined: pd.DataFrame, classes: int, iou_threshold: float) -> Polished:
    """Count them.

    A label lies on the hidden object, of whatever class, with which it has most IoU before and after together, if one
    of the two is at least `iou_threshold`: neither side is favored by the choice.
    """
    learned = used(refined)
    before, after = _pairs(pseudo, learned[learned["image_id"].isin(truth.images)])
    after = as_learned(after)
    sides = {"before": (before, before["score"].to_numpy()), "after": (after, scores_of(after))}
    judged = {side: judge(truth, *labels, iou_threshold) for side, labels in sides.items()}
    moved = np.abs(before[XYXY].to_numpy(np.float64) - after[XYXY].to_numpy(np.float64)).max(axis=1, initial=0)
    iou, label = _objects(truth, before, after, iou_threshold)
    on = label >= 0

    def by_class(values: np.ndarray | None = None) -> np.ndarray:
        return np.bincount(label[on], None if values is None else values[on], minlength=classes)

    return Polished(
        boxes=len(after),
        moved=int((moved > MOVED_PX).sum()),
        relabeled=int((before["label"] != after["label"]).sum()),
        counted={side: int(one.counted.sum()) for side, one in judged.items()},
        right={side: int(one.right.sum()) for side, one in judged.items()},
        on_object=by_class(),
        overlap={side: by_class(values) for side, values in iou.items()},
        correct={side: by_class(rows["label"].to_numpy() == label) for side, (rows, _) in sides.items()},
    )


def changed(sums: Polished, classes: Sequence[str]) -> dict[str, Any]:
    """boxes, moved, relabeled; precision {before, after}, by the rule of the other numbers; and in `all` and `classes`
    over the labels on a hidden object: on_object (how many), mean_iou {before, after} with it, class_precision
    {before, after}. None where nothing is counted."""

    def numbers(which: slice) -> dict[str, Any]:
        n = int(sums.on_object[which].sum())
        return {
            "on_object": n,
            "mean_iou": {side: share(values[which].sum(), n) for side, values in sums.overlap.items()},
            "class_precision": {side: share(values[which].sum(), n) for side, values in sums.correct.items()},
        }

    return {
        "boxes": sums.boxes,
        "moved": sums.moved,
        "relabeled": sums.relabeled,
        "precision": {side: share(sums.right[side], n) for side, n in sums.counted.items()},
        "all": numbers(slice(None)),
        "classes": {name: numbers(slice(k, k + 1)) for k, name in enumerate(classes)},
    }


def _pairs(pseudo: pd.DataFrame, refined: pd.DataFrame) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Rows of both tables that are one label: same image and teacher's score, in the order of the tables.

    Where polishing made several rows of one, the last rows share their origin.
    """
    refined = refined[refined["source"] == "teacher"]
    pseudo = pseudo[pseudo["image_id"].isin(refined["image_id"]) & (pseudo["score"] >= refined["score"].min())]
    key = ["image_id", "score"]
    origin = pseudo.assign(place=np.arange(len(pseudo)), turn=pseudo.groupby(key).cumcount())
    most = origin.groupby(key)["turn"].max().rename("most").reset_index()
    own = refined[key].assign(turn=refined.groupby(key).cumcount(), own=np.arange(len(refined)))
    own = own.merge(most, on=key)
    own["turn"] = own[["turn", "most"]].min(axis=1)
    both = own.merge(origin[[*key, "turn", "place"]], on=[*key, "turn"]).sort_values("own")
    return (
        pseudo.iloc[both["place"].to_numpy()].reset_index(drop=True),
        refined.iloc[both["own"].to_numpy()].reset_index(drop=True),
    )


def _objects(
    truth: Truth, before: pd.DataFrame, after: pd.DataFrame, iou_threshold: float
) -> tuple[dict[str, np.ndarray], np.ndarray]:
    """IoU (N,) before and after with the hidden object that each label lies on, and its class (N,), -1 for none."""
    hidden = truth.hidden.reset_index(drop=True)
    found = {"before": before, "after": after}
    pairs = None
    for side, rows in found.items():
        p, t, value = overlaps(rows.assign(label=0), hidden.assign(label=0), TOUCH)
        one = pd.DataFrame({"p": p, "t": t, side: value})
        pairs = one if pairs is None else pairs.merge(one, on=["p", "t"], how="outer")
    assert pairs is not None
    pairs = pairs.fillna(0.0)
    pairs = pairs[pairs[list(found)].max(axis=1) >= iou_threshold]
    pairs = pairs.assign(both=pairs["before"] + pairs["after"])
    best = pairs.sort_values(["p", "both", "t"], ascending=[True, False, True]).drop_duplicates("p")
    iou = {side: np.full(len(before), np.nan) for side in found}
    label = np.full(len(before), -1)
    at = best["p"].to_numpy(np.int64)
    for side in found:
        iou[side][at] = best[side]
    label[at] = hidden["label"].to_numpy()[best["t"].to_numpy(np.int64)]
    return iou, label
