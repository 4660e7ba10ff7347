"""Which labels and boxes a person should look at, and why.

Every finding has a score from 0 to 1, about the chance that a person would change something there; the score of an
image is the sum over its findings, about the number of corrections to expect in it. In an image that has labels:

  missing_label   a box above the threshold stands alone, no label of any class near it: its score
  wrong_class     a label lies in a box above the threshold that is of another class, and its own class is less sure
                  there: the difference of the scores
  unfound_label   no box fits a label, whatever the class: half of (1 - best score)

In an image that has none:

  disagreement    teacher or model has a box above the threshold, the other none, or far less sure: half of the gap
  near_threshold  a box is as good as used or not used: 1/2 at the threshold, falling to 0 at the end of the margin
  wide_spread     a box that would be used, but jittered copies of it do not come back: half of (1 - limit / spread)

Half, because what the machine is unsure of is as often right as wrong.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd

from scantling.data.index import XYXY, table
from scantling.evaluate.matching import overlaps
from scantling.review.params import ReviewParams

REASONS = ("missing_label", "wrong_class", "unfound_label", "disagreement", "near_threshold", "wide_spread")
BOXES = {
    "image_id": "int64", "source": "str", "label": "int32", "score": "float32", "spread": "float32",
    **dict.fromkeys(XYXY, "float32"), "box_id": "int64",
}  # fmt: skip
FINDINGS = {"box": "int64", "reason": "str", "score": "float64", "said": "int32", "said_score": "float32"}


@dataclass(frozen=True)
class Ranking:
    """images: image_id, score, one column a reason (sums of the findings' scores), highest score first, only those
    with a finding. boxes: BOXES of these images by image; source is label, model or teacher; labels have no score,
    boxes of a machine are those that a finding is about or that would be used and are no label yet. findings: FINDINGS;
    `box` is a row of boxes, `said` the class that the machine says instead (-1: none).
    """

    images: pd.DataFrame
    boxes: pd.DataFrame
    findings: pd.DataFrame


def rank(split: pd.DataFrame, model: pd.DataFrame, teacher: pd.DataFrame | None, params: ReviewParams) -> Ranking:
    """Findings in all images of a split.

    split    table of labels that training sees (SPLIT_COLUMNS); only these are judged, hidden truth is not looked at
    model    boxes of the model whose labels are looked at: image_id, label, score, x1..y2 and maybe spread
    teacher  those of another model, or None: then nobody disagrees
    """
    labeled = split["image_id"][split["labeled"]].unique()
    labels = split[split["box_id"] >= 0].reset_index(drop=True)
    labels = table(labels.assign(source="label", score=np.nan, spread=np.nan), BOXES)
    model = _machine(model[model["image_id"].isin(split["image_id"])], "model")
    known = model["image_id"].isin(labeled).to_numpy()
    parts = _of_labeled(labels, model[known].reset_index(drop=True), params)
    fresh = model[~known].reset_index(drop=True)
    other = None
    if teacher is not None:
        mine = teacher["image_id"].isin(split["image_id"]) & ~teacher["image_id"].isin(labeled)
        other = _machine(teacher[mine], "teacher")
    parts += _of_unlabeled(fresh, other, params)
    return _joined(labels, parts)


def _machine(rows: pd.DataFrame, source: str) -> pd.DataFrame:
    spread = rows["spread"] if "spread" in rows else np.nan
    return table(rows.assign(source=source, spread=spread, box_id=-1).reset_index(drop=True), BOXES)


Part = tuple[pd.DataFrame, pd.DataFrame]  # boxes; findings, whose `box` is a row of these boxes


def _of_labeled(labels: pd.DataFrame, found: pd.DataFrame, params: ReviewParams) -> list[Part]:
    """Findings about labels, then those about boxes that have none."""
    d, t, iou = overlaps(found.assign(label=0), labels.assign(label=0), params.apart_iou)
    scores, classes = found["score"].to_numpy(np.float64), found["label"].to_numpy()
    fits = iou >= params.match_iou
    d_fit, t_fit = d[fits], t[fits]
    same = classes[d_fit] == labels["label"].to_numpy()[t_fit]
    own = _best(t_fit[same], scores[d_fit[same]], len(labels))
    other = _best(t_fit[~same], scores[d_fit[~same]], len(labels))
    said = np.full(len(labels), -1)
    order = np.argsort(scores[d_fit[~same]], kind="stable")  # the last one written is the best
    said[t_fit[~same][order]] = d_fit[~same][order]

    wrong = (other > params.score_threshold) & (other > own)
    unfound = ~wrong & (np.maximum(own, other) < params.found_score)
    about = [
        _findings(np.flatnonzero(wrong), "wrong_class", (other - own)[wrong], classes[said[wrong]], other[wrong]),
        _findings(np.flatnonzero(unfound), "unfound_label", (1 - np.maximum(own, other)[unfound]) / 2),
    ]
    sure = scores > params.score_threshold
    alone = sure.copy()
    alone[d] = False
    alone = _best_of_each_object(found, alone, params.match_iou)
    kept = np.flatnonzero(alone)
    shown = np.union1d(kept, said[wrong]).astype(np.int64)
    missing = _findings(np.searchsorted(shown, kept), "missing_label", scores[kept])
    return [(labels, pd.concat(about, ignore_index=True)), (found.iloc[shown], missing)]


def _of_unlabeled(found: pd.DataFrame, other: pd.DataFrame | None, params: ReviewParams) -> list[Part]:
    """Findings about boxes of the model, then those about boxes that the teacher alone has."""
    scores, threshold = found["score"].to_numpy(np.float64), params.score_threshold
    sure = scores > threshold
    near = (1 - np.abs(scores - threshold) / params.score_margin) / 2
    spread = found["spread"].to_numpy(np.float64)
    with np.errstate(divide="ignore", invalid="ignore"):
        wide = (1 - params.spread / spread) / 2
    # a weaker box of an object that has a better one is no question
    chosen = _best_of_each_object(found, scores > threshold - params.score_margin, params.match_iou)
    about = [
        _findings(rows, reason, value[rows])
        for reason, value in (("near_threshold", near), ("wide_spread", np.where(sure, wide, 0)))
        for rows in [np.flatnonzero(chosen & (np.nan_to_num(value) > 0))]
    ]
    teacher = other if other is not None else found[:0]
    theirs = _best_of_each_object(teacher, (teacher["score"] > threshold).to_numpy(), params.match_iou)
    if other is not None:
        about.append(_unseen(found, np.flatnonzero(chosen & sure), other, params))
    alone = _unseen(teacher, np.flatnonzero(theirs), found, params)
    shown = np.flatnonzero(chosen)
    mine = pd.concat(about, ignore_index=True)
    mine["box"] = np.searchsorted(shown, mine["box"])
    only = alone["box"].to_numpy()
    return [
        (found.iloc[shown], mine),
        (teacher.iloc[only], alone.assign(box=np.arange(len(only)))),
    ]


def _unseen(boxes: pd.DataFrame, rows: np.ndarray, other: pd.DataFrame, params: ReviewParams) -> pd.DataFrame:
    """Which of the `rows` of `boxes` the other model does not see, or far less sure: same class, IoU."""
    asked = boxes.iloc[rows]
    p, t, _ = overlaps(asked, other, params.match_iou)
    gap = asked["score"].to_numpy(np.float64) - _best(p, other["score"].to_numpy(np.float64)[t], len(asked))
    far = np.flatnonzero(gap >= params.score_gap)
    return _findings(rows[far], "disagreement", gap[far] / 2)


def _best(which: np.ndarray, scores: np.ndarray, n: int) -> np.ndarray:
    """The highest score of each of n things, 0 without any."""
    best = np.zeros(n)
    np.maximum.at(best, which, scores)
    return best


def _best_of_each_object(boxes: pd.DataFrame, chosen: np.ndarray, iou: float) -> np.ndarray:
    """Those of the `chosen` (N,) bool that no better chosen box of any class overlaps; as NMS, without classes."""
    rows = np.flatnonzero(chosen)
    rows = rows[np.argsort(-boxes["score"].to_numpy()[rows], kind="stable")]
    some = boxes.iloc[rows].assign(label=0)
    a, b, _ = overlaps(some, some, iou)
    pairs = np.stack([a, b])[:, a < b]
    kept = np.ones(len(rows), dtype=bool)
    for better, worse in pairs[:, np.argsort(pairs[0], kind="stable")].T.tolist():
        if kept[better]:
            kept[worse] = False
    result = np.zeros(len(boxes), dtype=bool)
    result[rows[kept]] = True
    return result


def _findings(
    rows: np.ndarray,
    reason: str,
    scores: np.ndarray,
    said: np.ndarray | int = -1,
    said_score: np.ndarray | float = np.nan,
) -> pd.DataFrame:
    return table(
        pd.DataFrame({"box": rows, "reason": reason, "score": scores, "said": said, "said_score": said_score}), FINDINGS
    )


def _joined(labels: pd.DataFrame, parts: list[Part]) -> Ranking:
    """One table of boxes of the images with findings, by falling score of the image."""
    first, boxes, findings = 0, [], []
    for own, about in parts:
        boxes.append(own)
        findings.append(about.assign(box=about["box"] + first))
        first += len(own)
    box, about = pd.concat(boxes, ignore_index=True), pd.concat(findings, ignore_index=True)
    about["image_id"] = box["image_id"].to_numpy()[about["box"]]
    sums = about.pivot_table(index="image_id", columns="reason", values="score", aggfunc="sum", fill_value=0.0)
    sums = sums.reindex(columns=list(REASONS), fill_value=0.0).astype("float64")
    images = sums.assign(score=sums.sum(axis=1)).reset_index().rename_axis(columns=None)
    images = images[["image_id", "score", *REASONS]].sort_values(
        ["score", "image_id"], ascending=[False, True], ignore_index=True
    )
    place = pd.Series(np.arange(len(images)), index=images["image_id"])
    box = box.assign(place=box["image_id"].map(place), row=np.arange(len(box))).dropna(subset="place")
    box = box.sort_values(["place", "row"], kind="stable")
    number = np.full(first, -1)
    number[box["row"]] = np.arange(len(box))
    about = about.assign(box=number[about["box"]]).sort_values(["box", "score"], ascending=[True, False])
    return Ranking(images, table(box.reset_index(drop=True), BOXES), table(about, FINDINGS))
