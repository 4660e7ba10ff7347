"""How good are labels that no person drew? Pseudo labels against the truth that the split hid.

Hidden truth: boxes of train images that the split did not keep, crowd and difficult ones left out. A pseudo box that
only repeats a kept box is no new information, and one that lies in a crowd or on a difficult box can be neither right
nor wrong: both are discarded before anything is counted.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from scantling.data.index import XYXY, Index
from scantling.evaluate.matching import match, overlaps
from scantling.evaluate.params import QualityParams


@dataclass(frozen=True)
class Truth:
    """What is known of the images that got pseudo labels.

    images  ids of the train images that miss labels: without any kept box, or with a hidden one
    hidden, kept, difficult, crowd   tables image_id, label, x1, y1, x2, y2
    """

    images: np.ndarray
    hidden: pd.DataFrame
    kept: pd.DataFrame
    difficult: pd.DataFrame
    crowd: pd.DataFrame


def truth_of(index: Index, split: pd.DataFrame) -> Truth:
    """Sort the true boxes of the split's train images; images of other subsets have no truth and are left out."""
    assert index.boxes is not None, "label quality needs the truth"
    train = index.images.loc[index.images["subset"] == "train", "image_id"]
    known = split[split["image_id"].isin(train)]
    boxes = index.boxes[index.boxes["image_id"].isin(known["image_id"])]
    kept = boxes["box_id"].isin(known["box_id"])
    hidden = boxes[~kept & ~boxes["crowd"] & ~boxes["difficult"]]
    bare = known.loc[~known["labeled"] | known["image_id"].isin(hidden["image_id"]), "image_id"]
    return Truth(
        images=np.sort(bare.unique()),
        hidden=hidden,
        kept=boxes[kept],
        difficult=boxes[~kept & boxes["difficult"] & ~boxes["crowd"]],
        crowd=boxes[~kept & boxes["crowd"]],
    )


def measure(
    index: Index, split: pd.DataFrame, pseudo: pd.DataFrame, refined: pd.DataFrame, params: QualityParams
) -> dict[str, Any]:
    """The content of label_quality.json.

    pseudo, refined  tables as written by pseudo_label and polish; empty is legal
    Gives the settings, counts of images and hidden boxes, and
      pseudo   rows, discarded, and per threshold (score >= threshold) for all classes together and for each class:
               hidden (a number), precision, recall, count, boxes_per_image, mean_iou (lists along `thresholds`)
      refined  rows, discarded, ignore_share, and the same five numbers for the boxes used as targets of the class
               loss (`class`), of the box loss (`box`) and of the proposal stage (`objectness`): in the class and the
               place that polish gave them; where it changed any, `before`: the same boxes as the teacher made them
    precision is None where nothing is counted, recall where nothing is hidden, mean_iou where nothing matches.
    """
    truth = truth_of(index, split)
    return {
        "iou_threshold": params.iou_threshold,
        "headline_threshold": params.headline_threshold,
        "thresholds": list(params.thresholds),
        "classes": list(index.classes),
        "images": len(truth.images),
        "hidden": len(truth.hidden),
        "kept": len(truth.kept),
        "pseudo": _of_pseudo(truth, pseudo, index.classes, params),
        "refined": _of_refined(truth, refined, index.classes, params),
    }


def headline(quality: dict[str, Any]) -> dict[str, float | None]:
    """Precision and recall of all pseudo labels at the headline threshold."""
    at = quality["thresholds"].index(quality["headline_threshold"])
    return {name: quality["pseudo"]["all"][name][at] for name in ("precision", "recall")}


def polishing(quality: dict[str, Any]) -> list[str]:
    """A sentence for each loss whose labels polish changed: precision, recall, and mean IoU of the right ones."""
    told = []
    for use, one in quality["refined"].items():
        if isinstance(one, dict) and "before" in one:
            pairs = [(one["before"]["all"][key], one["all"][key]) for key in ("precision", "recall", "mean_iou")]
            numbers = [" -> ".join("none" if v is None else f"{v:.3f}" for v in pair) for pair in pairs]
            text = (
                "{} boxes for the {} loss, as the teacher made them -> polished: precision {}, recall {}, mean IoU {}"
            )
            told.append(text.format(one["rows"], use, *numbers))
    return told


def _of_pseudo(truth: Truth, pseudo: pd.DataFrame, classes: tuple[str, ...], params: QualityParams) -> dict[str, Any]:
    rows = pseudo[pseudo["image_id"].isin(truth.images)].reset_index(drop=True)
    iou, discarded = _judge(truth, rows, rows["score"].to_numpy(), params.iou_threshold)
    counted = ~np.logical_or.reduce(list(discarded.values()))
    scores = rows["score"].to_numpy(np.float32)  # compared as float32: a stored 0.7 is not below 0.7
    above = [counted & (scores >= np.float32(threshold)) for threshold in params.thresholds]
    tables = [_count(truth, rows, iou, use, len(classes)) for use in above]
    return {
        "rows": len(pseudo),
        "discarded": _sums(discarded, outside=len(pseudo) - len(rows)),
        "all": _along(tables, -1),
        "classes": {name: _along(tables, k) for k, name in enumerate(classes)},
    }


def _of_refined(truth: Truth, refined: pd.DataFrame, classes: tuple[str, ...], params: QualityParams) -> dict[str, Any]:
    own = refined[refined["source"] != "label"]  # a person's labels are not judged
    rows = own[own["image_id"].isin(truth.images)].reset_index(drop=True)
    scores = rows["refined_score"].fillna(rows["score"]).to_numpy()
    used = {
        name: (rows[column] & ~rows["ignore"] & (rows["weight"] > 0)).to_numpy(bool)
        for name, column in (("class", "for_class"), ("box", "for_box"), ("objectness", "for_objectness"))
    }
    result: dict[str, Any] = {
        "rows": len(own),
        "ignore_share": float(rows["ignore"].mean()) if len(rows) else None,
    }
    for name, chosen in used.items():
        # A target competes for a hidden box only with boxes that are targets too.
        part = rows[chosen].reset_index(drop=True)
        learned = _polished(part, name)
        result[name] = _of_targets(truth, learned, scores[chosen], classes, params)
        if not learned.equals(part):
            before = _of_targets(truth, part, part["score"].to_numpy(), classes, params)
            result[name]["before"] = {key: before[key] for key in ("all", "classes")}
    return result


def _polished(rows: pd.DataFrame, use: str) -> pd.DataFrame:
    """The rows as a loss learns them: the box loss refined boxes, the others refined classes."""
    if "refined_label" not in rows:
        return rows
    if use == "box":
        return rows.assign(**{name: rows[f"refined_{name}"] for name in XYXY})
    return rows.assign(label=rows["refined_label"])


def _of_targets(
    truth: Truth, rows: pd.DataFrame, scores: np.ndarray, classes: tuple[str, ...], params: QualityParams
) -> dict[str, Any]:
    iou, discarded = _judge(truth, rows, scores, params.iou_threshold)
    counted = ~np.logical_or.reduce(list(discarded.values()))
    table = _count(truth, rows, iou, counted, len(classes))
    return {
        "rows": len(rows),
        "discarded": _sums(discarded),
        "all": _plain(table, -1),
        "classes": {label: _plain(table, k) for k, label in enumerate(classes)},
    }


def _judge(
    truth: Truth, rows: pd.DataFrame, scores: np.ndarray, threshold: float
) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """IoU with the hidden box that each row takes (NaN for none), and masks (N,) of the rows that do not count."""
    repeats = _touches(rows, truth.kept, threshold)
    fresh = np.flatnonzero(~repeats)
    order = np.argsort(-scores[fresh].astype(np.float64), kind="stable")
    iou = np.full(len(rows), np.nan)
    iou[fresh] = match(rows.iloc[fresh], truth.hidden, order, threshold)[1]
    uncertain = _touches(rows, truth.difficult, threshold) | _touches(rows, truth.crowd, threshold, over="found")
    return iou, {"kept": repeats, "crowd_or_difficult": uncertain & ~repeats & np.isnan(iou)}


def _touches(rows: pd.DataFrame, boxes: pd.DataFrame, threshold: float, over: str = "union") -> np.ndarray:
    mask = np.zeros(len(rows), dtype=bool)
    mask[overlaps(rows, boxes, threshold, over=over)[0]] = True
    return mask


def _count(truth: Truth, rows: pd.DataFrame, iou: np.ndarray, use: np.ndarray, classes: int) -> dict[str, np.ndarray]:
    """The numbers per class, (C + 1,) with all classes together last; NaN where undefined."""
    labels = rows["label"].to_numpy(np.int64)
    right = use & ~np.isnan(iou)

    def per_class(which: np.ndarray, weights: np.ndarray | None = None) -> np.ndarray:
        sums = np.bincount(which, weights, minlength=classes).astype(np.float64)
        return np.append(sums, sums.sum())

    count, correct = per_class(labels[use]), per_class(labels[right])
    hidden = per_class(truth.hidden["label"].to_numpy(np.int64))
    with np.errstate(divide="ignore", invalid="ignore"):
        return {
            "hidden": hidden,
            "precision": correct / count,
            "recall": np.where(hidden > 0, correct / hidden, np.nan),
            "count": count,
            "boxes_per_image": count / max(len(truth.images), 1),
            "mean_iou": per_class(labels[right], iou[right]) / correct,
        }


def _along(tables: list[dict[str, np.ndarray]], k: int) -> dict[str, Any]:
    plain = [_plain(table, k) for table in tables]
    names = [name for name in plain[0] if name != "hidden"]
    return {"hidden": plain[0]["hidden"]} | {name: [row[name] for row in plain] for name in names}


def _plain(table: dict[str, np.ndarray], k: int) -> dict[str, Any]:
    """Column k as JSON numbers: counts whole, fractions to six places, None for NaN."""
    whole = ("hidden", "count")
    return {
        name: int(values[k]) if name in whole else None if np.isnan(values[k]) else round(float(values[k]), 6)
        for name, values in table.items()
    }


def _sums(discarded: dict[str, np.ndarray], **more: int) -> dict[str, int]:
    return {name: int(mask.sum()) for name, mask in discarded.items()} | more
