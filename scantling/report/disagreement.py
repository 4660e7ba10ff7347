"""In which images the labels made by the machine and the hidden truth differ most; without truth, where it doubts."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd

from scantling.data.index import XYXY
from scantling.evaluate.matching import match, overlaps
from scantling.evaluate.truth import Truth

COLUMNS = ["image_id", "label", "score", *XYXY]


def used(refined: pd.DataFrame, floor: float) -> pd.DataFrame:
    """Rows of a refined table that a loss learns from. A method that labels while it trains uses none of them: then
    those with a score of `floor` or more. Boxes drawn by people are left out."""
    own = refined[refined["source"] != "label"]
    seen = own[["for_objectness", "for_class", "for_box"]].any(axis=1) & ~own["ignore"] & (own["weight"] > 0)
    return own[seen] if seen.any() else own[own["score"] >= np.float32(floor)]


def disagreement(truth: Truth, ids: np.ndarray, labels: pd.DataFrame, iou_threshold: float) -> pd.DataFrame:
    """image_id (the ascending `ids`), wrong, missed: how many boxes the labels and the hidden truth do not share.

    labels  as `used` gives them
    wrong   labels without a hidden box of their class at `iou_threshold`, the best score first; one on a kept or
            difficult box, or in a crowd, is not wrong
    missed  hidden boxes that no label took
    """
    rows, hidden = _of(labels[COLUMNS], ids), _of(truth.hidden, ids)
    order = np.argsort(-rows["score"].to_numpy(np.float64), kind="stable")
    taken = match(rows, hidden, order, iou_threshold)[0]
    excused = taken >= 0
    for others, over in ((truth.kept, "union"), (truth.difficult, "union"), (truth.crowd, "found")):
        excused[overlaps(rows, _of(others, ids), iou_threshold, over=over)[0]] = True
    found = np.zeros(len(hidden), dtype=bool)
    found[taken[taken >= 0]] = True
    wrong, missed = _count(rows.loc[~excused, "image_id"], ids), _count(hidden.loc[~found, "image_id"], ids)
    return pd.DataFrame({"image_id": ids, "wrong": wrong, "missed": missed})


def doubt(ids: np.ndarray, refined: pd.DataFrame, floor: float, least: float) -> pd.DataFrame:
    """image_id (the ascending `ids`), wrong (0), missed (0), unsure: how many boxes of a refined table have a score of
    `least` or more and are not among those that `used` gives: seen, and not sure enough to be learned from."""
    own = refined[(refined["source"] != "label") & (refined["score"] >= np.float32(least))]
    unsure = _count(_of(own.drop(used(refined, floor).index, errors="ignore"), ids)["image_id"], ids)
    return pd.DataFrame({"image_id": ids, "wrong": 0, "missed": 0, "unsure": unsure})


def ranked(counts: Sequence[pd.DataFrame]) -> np.ndarray:
    """image_ids, the most wrong and missed (or unsure) boxes of all methods together first; ties go to the smaller
    image_id.

    counts  tables of `disagreement` or of `doubt`, one a method, at least one
    """
    errors = sum(table.drop(columns="image_id").to_numpy().sum(axis=1) for table in counts)
    return counts[0]["image_id"].to_numpy()[np.argsort(-np.asarray(errors), kind="stable")]


def chosen(ranking: np.ndarray, images: int) -> dict[int, int]:
    """image_id -> place in the ranking, from 1, of so many images: the first half the most disagreeing, the others at
    even distances of the rest, so that the page shows the ordinary too."""
    first = min(-(-images // 2), len(ranking))
    places = [*range(first), *spread(np.arange(first, len(ranking)), images - first).tolist()]
    return {int(ranking[place]): place + 1 for place in places}


def spread(ids: np.ndarray, n: int) -> np.ndarray:
    """n of the ids at even distances, the same every time."""
    n = min(n, len(ids))
    return ids[np.linspace(0, len(ids) - 1, n).round().astype(int)] if n else ids[:0]


def _of(rows: pd.DataFrame, ids: np.ndarray) -> pd.DataFrame:
    return rows[rows["image_id"].isin(ids)].reset_index(drop=True)


def _count(image_ids: pd.Series, ids: np.ndarray) -> np.ndarray:
    """How often each of the ascending ids occurs."""
    return np.bincount(np.searchsorted(ids, image_ids.to_numpy(np.int64)), minlength=len(ids))
