"""The images that are tested, what is true of them and what a model found there, some whole images at a time."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import pandas as pd

from scantling.data.index import XYXY, Index
from scantling.evaluate import portions
from scantling.evaluate.portions import Held, Table
from scantling.stage import BadInput

ROWS = 100_000  # detections and true boxes of a portion: about 60 MB while they are matched and their mistakes sorted

# image_id, label, score (float32), x1, y1, x2, y2 (original pixels); no row is legal. In memory they may lie in any
# order, a stored table is sorted by image.
Found = pd.DataFrame | Table


def images_of(index: Index, subset: str) -> np.ndarray:
    """Ids (B,) of the images in `subset`, ascending; BadInput if there is none."""
    images = index.images.loc[index.images["subset"] == subset, "image_id"].to_numpy()
    if not len(images):
        known = ", ".join(sorted(index.images["subset"].unique())) or "none"
        raise BadInput(
            f"data set {index.name}: has no images in subset `{subset}`; its subsets are {known}. "
            "Set `test_share` (or `val_share`) in its file in params/data/, with 3 labeled images or more, or "
            "`subset` in params/evaluate.yaml"
        )
    return np.sort(images)


def boxes_of(index: Index, subset: str) -> pd.DataFrame:
    """The true boxes of the images in `subset`."""
    assert index.boxes is not None, "evaluation needs the truth"
    return index.boxes[index.boxes["image_id"].isin(images_of(index, subset))]


def table_of(found: Found) -> Table:
    return Held(found) if isinstance(found, pd.DataFrame) else found


def check(index: Index, subset: str, found: Found) -> None:
    """BadInput for detections of other images, of unknown labels, or that are not finite."""
    images, others, first = images_of(index, subset), 0, None
    for rows in table_of(found).batches():
        strangers = rows.loc[~rows["image_id"].isin(images), "image_id"]
        if len(strangers):
            others, first = others + len(strangers), strangers.iloc[0] if first is None else first
        labels = rows.loc[~rows["label"].between(0, len(index.classes) - 1), "label"]
        if len(labels) and not others:
            raise BadInput(
                f"data set {index.name}: a detection has label {labels.iloc[0]}, but labels go from 0 to "
                f"{len(index.classes) - 1}; use a detector that was trained on these classes"
            )
        if not others and not np.isfinite(rows[["score", *XYXY]].to_numpy(np.float64)).all():
            raise BadInput(
                f"data set {index.name}: a detection has a score or coordinate that is not finite; "
                "the weights are damaged, train again"
            )
    if others:
        raise BadInput(
            f"data set {index.name}: {others} detections are of images outside subset `{subset}`, the first of "
            f"image {first}; predict on the images of `{subset}` only"
        )


def walk(
    index: Index, subset: str, found: Found, at_once: int | None = None
) -> Iterator[tuple[int, Index, pd.DataFrame]]:
    """Portions of the images in `subset`, by ascending id: how many images came before, the index of these, with their
    true boxes and image labels, and their detections. All detections are in one of them.

    at_once: rows of a portion, ROWS if None
    """
    of_subset = replace(index, images=index.images[index.images["subset"] == subset])
    boxes = Held(boxes_of(index, subset))
    before = 0
    for part, rows in portions.walk(of_subset, boxes, at_once=at_once or ROWS, found=table_of(found)):
        if not len(part.images):
            continue  # after the last image
        yield before, part, rows["found"]
        before += len(part.images)
