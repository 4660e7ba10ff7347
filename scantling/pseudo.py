"""The pseudo-label table: every box a teacher finds above a low floor, in original pixels, with its box spread.

`class_probability` is what a detector's class head says. The score is the same, but of FCOS, whose score has the
centerness in it.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
import torch
from pydantic import Field
from torch import Tensor, nn

from scantling import boxes as box_ops
from scantling.augment import views
from scantling.data.index import XYXY, table
from scantling.params import Params
from scantling.target import Batch, Detections, Target

COLUMNS = {
    "image_id": "int64", "label": "int32", "score": "float32",
    "x1": "float32", "y1": "float32", "x2": "float32", "y2": "float32", "spread": "float32",
    "class_probability": "float32",
}  # fmt: skip
REFINED_XYXY = [f"refined_{name}" for name in XYXY]  # of a refined table: the box that the box loss learns


class PseudoLabelParams(Params):
    """How a teacher labels; thresholds of use belong to the methods."""

    score_floor: float = Field(ge=0, lt=1, description="boxes with a score above it are written")
    nms_iou: float = Field(gt=0, le=1)
    limit: int = Field(gt=0, description="boxes an image")
    spread_from: float = Field(ge=0, le=1, description="box spread is measured for scores above it")
    jitter_times: int = Field(ge=0, description="0 leaves the spread out")
    jitter_fraction: float = Field(gt=0, description="standard deviation over the box side")
    batch_size: int = Field(gt=0)
    workers: int = Field(ge=0)
    seed: int = Field(ge=0)
    held_out: str | None = Field("val", description="labeled subset that the teacher labels too; null: none")


def box_spread(
    detector: nn.Module,
    features: list[Tensor],
    found: Sequence[Detections],
    sizes: Sequence[tuple[int, int]],
    *,
    times: int,
    fraction: float,
    score_above: float,
    generators: Sequence[torch.Generator] | None = None,
) -> list[Tensor]:
    """Mean box spread (N,) of each image's detections, NaN below `score_above`. Soft Teacher sections 6.4 to 6.6.

    Jittered copies of a box go through the detector's `score`; the refined box of the detection's own class counts.
    """
    jittered, chosen = [], []
    for i, one in enumerate(found):
        which = (one.scores > score_above) & box_ops.has_area(one.boxes)
        picked = one.boxes[which]
        generator = None if generators is None else generators[i]
        noise = torch.randn((times, len(picked), 4), generator=generator).to(picked.device)
        jittered.append(box_ops.jitter(picked, noise, fraction).reshape(-1, 4))
        chosen.append(which)
    refined = detector.score(features, jittered, sizes)
    spreads = []
    for one, which, (_, boxes) in zip(found, chosen, refined, strict=True):
        value = torch.full((len(one),), float("nan"), device=one.scores.device)
        labels = one.labels[which]
        if len(labels):
            own = boxes.reshape(times, len(labels), -1, 4)[:, torch.arange(len(labels)), labels]
            value[which] = box_ops.spread(own).mean(1)
        spreads.append(value)
    return spreads


def image_generators(seed: int, image_ids: Sequence[int]) -> list[torch.Generator]:
    """One noise generator an image: the table does not depend on the order of labeling."""
    return [views.torch_generator(seed, int(i)) for i in image_ids]


def target_generators(targets: Sequence[Target]) -> list[torch.Generator] | None:
    """One noise generator an image of a training batch, from the seed of its target; None: the global generator."""
    seeds = [t.seed for t in targets]
    return None if None in seeds else [torch.Generator().manual_seed(s) for s in seeds]


def rows(
    batch: Batch, found: Sequence[Detections], spreads: Sequence[Tensor], sizes: Sequence[tuple[int, int]]
) -> pd.DataFrame:
    """What was found in the views of a batch, and its spread, as table rows in original pixels.

    sizes: (height, width) of each original, to which boxes are clipped.
    """
    back = [torch.linalg.inv(matrix) for matrix in batch.matrices]
    placed = [box_ops.transform(one.boxes, *where) for one, *where in zip(found, back, sizes, strict=True)]
    counts = [len(one) for one in found]
    label, score, vector = (
        torch.cat([getattr(one, n) for one in found]) for n in ("labels", "scores", "probabilities")
    )
    columns = dict(zip(XYXY, torch.cat(placed).cpu().numpy().T, strict=True))
    return pd.DataFrame(
        {
            "image_id": np.repeat(np.array(batch.image_ids, np.int64), counts),
            "label": label.cpu().numpy(),
            "score": score.cpu().numpy(),
            **columns,
            "spread": torch.cat(list(spreads)).cpu().numpy(),
            "class_probability": vector.gather(1, label[:, None])[:, 0].cpu().numpy(),
        }
    )


def gather(parts: list[pd.DataFrame]) -> pd.DataFrame:
    """All rows in one table of fixed columns, by image id and then falling score."""
    filled = [p for p in parts if len(p)]
    joined = pd.concat(filled, ignore_index=True) if filled else pd.DataFrame(columns=list(COLUMNS))
    ordered = joined.sort_values(["image_id", "score"], ascending=[True, False], kind="stable")
    return table(ordered, COLUMNS)


def class_probability(found: pd.DataFrame) -> pd.Series:
    """Of each box of a table; its score where the model that made the table tells no other."""
    if "class_probability" not in found:
        return found["score"]
    return found["class_probability"].fillna(found["score"])


def best(found: pd.DataFrame, score_floor: float, limit: int) -> pd.DataFrame:
    """The table of what another model found, as a teacher of ours writes it: above the floor, the best of an image."""
    ordered = gather([found[found["score"] > score_floor]])
    return ordered.groupby("image_id", sort=False).head(limit).reset_index(drop=True)
