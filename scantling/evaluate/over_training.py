"""How good were the labels that a method found while it trained? The boxes it learned from in some views, stretch by
stretch of the training, against the truth that the split hid of what those views show."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from scantling.data import parquet
from scantling.data.index import XYXY, Index
from scantling.evaluate import counting, portions
from scantling.evaluate.counting import Judged, judge, tally
from scantling.evaluate.matching import overlaps
from scantling.evaluate.params import QualityParams
from scantling.evaluate.portions import Table
from scantling.evaluate.truth import Truth, truth_of
from scantling.mining.record import COLUMNS, VIEW
from scantling.stage import BadInput

SEEN = 0.5  # share of a true box's area that a view must show for it to be found there; with less it is as difficult
PART = 0.7  # share of a box's area that lies in an object of its class, of which the box then is a part if it is wrong
NUMBERS = ("precision", "recall", "count", "boxes_per_image", "mean_iou", "parts")


def load(file: Path) -> pd.DataFrame:
    """The table of a training; BadInput for any other. Empty without a file: a burn-in learns from labels only."""
    if not file.exists():
        return pd.DataFrame(columns=COLUMNS)
    table = parquet.read(file)
    if missing := [name for name in COLUMNS if name not in table]:
        raise BadInput(f"{file}: has no column {missing[0]!r}; run retrain again")
    return table[COLUMNS]


def measure(
    index: Index, boxes: Table, split: Table, learned: pd.DataFrame, params: QualityParams
) -> dict[str, Any] | None:
    """Numbers along `params.stretches` equal stretches of the steps; None where no view that misses labels was kept.

    learned   columns of mining/record.py: in each view it names, the machine's boxes that a loss learned classes from

    Gives  steps   the last step of each stretch that has views
           views   how many of each are judged: of images that miss labels and whose truth is known
           all, classes (by name)   hidden, precision, recall, count, boxes_per_image (a view), mean_iou and parts, the
                                    share of the boxes that show no more than a part of an object; lists along it
    """
    if not len(learned):
        return None
    ids = learned["image_id"].unique()
    part = replace(index, images=index.images[index.images["image_id"].isin(ids)], boxes=portions.of_images(boxes, ids))
    truth = truth_of(part, portions.of_images(split, ids))
    learned = learned[learned["image_id"].isin(truth.images)]
    frames = learned[learned["label"] == VIEW]
    if not len(frames):
        return None
    last = int(learned["step"].max())
    edges = sorted({-(-last * k // params.stretches) for k in range(1, params.stretches + 1)})
    stretch = pd.Series(np.searchsorted(edges, frames["step"]), index=frames["view"].to_numpy())
    in_views = _in_views(truth, frames)
    found = learned[learned["label"] != VIEW]
    found = found.assign(image_id=found["view"])  # from here on each view is an image of its own
    tables, counts = [], []
    used = sorted(stretch.unique())
    for k in used:
        views = stretch.index[stretch == k].to_numpy()
        here = replace(in_views.between(views[0], views[-1]), images=views)  # views are numbered along the steps
        rows = found[found["image_id"].isin(views)]
        judged = judge(here, rows, rows["score"].to_numpy(), params.iou_threshold)
        table = counting.at_once(tally(judged, here, len(index.classes)), index.classes)
        part = _part(here, rows, judged)
        for label, row in enumerate([table["all"], *table["classes"].values()], start=-1):
            own = part if label < 0 else part & (judged.labels == label)
            row["parts"] = counting.share(int(own.sum()), row["count"])
        tables.append(table)
        counts.append(len(views))
    classes = {name: _along([t["classes"][name] for t in tables]) for name in index.classes}
    return {
        "steps": [edges[k] for k in used],
        "views": counts,
        "all": _along([t["all"] for t in tables]),
        "classes": classes,
    }


def _along(rows: list[dict[str, Any]]) -> dict[str, Any]:
    return {name: [row[name] for row in rows] for name in ("hidden", *NUMBERS)}


def _part(truth: Truth, rows: pd.DataFrame, judged: Judged) -> np.ndarray:
    """(N,) bool: wrong, but most of it lies in an object of its class, hidden or labeled."""
    objects = pd.concat([truth.hidden, truth.kept])
    inside = np.zeros(len(rows), dtype=bool)
    inside[overlaps(rows.reset_index(drop=True), objects, PART, over="found")[0]] = True
    return inside & judged.counted & ~judged.right


def _in_views(truth: Truth, frames: pd.DataFrame) -> Truth:
    """The same truth with each view as an image, its boxes clipped to what the view shows."""

    def seen(boxes: pd.DataFrame) -> tuple[pd.DataFrame, np.ndarray]:
        """The boxes of which anything is seen, and which share of their area is."""
        pairs = boxes.merge(frames[["view", "image_id", *XYXY]], on="image_id", suffixes=("", "_of_view"))
        corners = pairs[XYXY].to_numpy(np.float64)
        frame = pairs[[f"{name}_of_view" for name in XYXY]].to_numpy(np.float64)
        inside = np.concatenate([np.maximum(corners, frame)[:, :2], np.minimum(corners, frame)[:, 2:]], axis=1)
        visible = (inside[:, 2:] - inside[:, :2]).clip(0).prod(axis=1)
        pairs[XYXY] = inside.astype(np.float32)
        whole = (corners[:, 2:] - corners[:, :2]).clip(0).prod(axis=1)
        any_ = visible > 0
        return pairs.assign(image_id=pairs["view"])[boxes.columns][any_], visible[any_] / whole[any_]

    hidden, share = seen(truth.hidden)
    difficult = pd.concat([seen(truth.difficult)[0], hidden[share < SEEN]])
    labels = truth.image_labels.merge(frames[["view", "image_id"]], on="image_id")
    return replace(
        truth,
        images=frames["view"].to_numpy(),
        hidden=hidden[share >= SEEN],
        kept=seen(truth.kept)[0],
        difficult=difficult,
        crowd=seen(truth.crowd)[0],
        image_labels=labels.assign(image_id=labels["view"])[truth.image_labels.columns],
    )
