"""Thresholds for a table of found boxes by the scores on labeled boxes: what is mined, and what is no background."""

from __future__ import annotations

from typing import Any

import pandas as pd
import torch
from pydantic import Field
from torch import Tensor

from scantling.data.by_image import ByImage
from scantling.data.index import XYXY
from scantling.mining import label_scores
from scantling.params import Params


class LabelLimits(Params):
    """See mining/label_scores.py: from which score on a box is mined, and from which on it is no background."""

    mine_quantile: float = Field(ge=0, le=1)
    mine_per_label: float = Field(gt=0)
    ignore_quantile: float = Field(ge=0, le=1)
    ignore_per_label: float = Field(gt=0)


def offline(params: Any) -> Any:
    """For a method's parameters with `by_labels`: only a table has the boxes of all images that it counts."""
    if params.by_labels is not None and params.teacher != "cached":
        raise ValueError("`by_labels` counts the boxes of all images: it needs `teacher: cached`")
    return params


def rows(
    table: pd.DataFrame, kept: pd.DataFrame, fresh: pd.Series, classes: int, params: LabelLimits
) -> tuple[pd.Series, pd.Series]:
    """For each row the score above which it is mined, and the one above which it is no background.

    table  image_id, label, score, x1..y2 of found boxes; kept: image_id, label, x1..y2 of labeled boxes
    fresh  which rows may be taken
    """
    of_labels = on_kept(table, kept)
    others = tensors(table[fresh])[1], _scores(table[fresh])
    wanted = ((params.mine_quantile, params.mine_per_label), (params.ignore_quantile, params.ignore_per_label))
    high, low = (
        label_scores.limits(of_labels, others, classes, quantile=share, per_label=most) for share, most in wanted
    )
    labels = table["label"].to_numpy()
    return pd.Series(high.numpy()[labels], index=table.index), pd.Series(low.numpy()[labels], index=table.index)


def on_kept(table: pd.DataFrame, kept: pd.DataFrame) -> tuple[Tensor, Tensor]:
    """Classes (G,) of the labeled boxes `kept`, image by image, and the best scores (G,) on them in `table`."""
    kept = kept.sort_values("image_id", kind="stable")
    truth, found = tensors(kept), (*tensors(table), _scores(table))
    of_kept, of_table = (ByImage(rows["image_id"].to_numpy()) for rows in (kept, table))
    known = [
        label_scores.on_labels(*(c[of_kept.rows(i)] for c in truth), *(c[of_table.rows(i)] for c in found))
        for i in of_kept.ids.tolist()
    ]
    return truth[1], torch.cat([torch.zeros(0), *known])


def half_of(table: pd.DataFrame, kept: pd.DataFrame) -> float | None:
    """The score that half of the labeled boxes have, missed ones with 0; None without any."""
    scores = on_kept(table, kept)[1]
    return round(float(scores.median()), 4) if len(scores) else None


def tensors(table: pd.DataFrame) -> tuple[Tensor, Tensor]:
    """Boxes (N, 4) and classes (N,) of a table's rows."""
    boxes = torch.tensor(table[XYXY].to_numpy("float32")).reshape(-1, 4)
    return boxes, torch.tensor(table["label"].to_numpy("int64"))


def _scores(table: pd.DataFrame) -> Tensor:
    return torch.tensor(table["score"].to_numpy("float32"))
