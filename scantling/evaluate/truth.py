"""The truth that pseudo labels are measured against: what the split hid, or what held-out images show."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import pandas as pd

from scantling.data.index import IMAGE_LABEL_COLUMNS, Index, table


@dataclass(frozen=True)
class Truth:
    """What is known of the images that got pseudo labels.

    images  ids of the images whose truth is known and that miss labels: without any kept box, or with a hidden one
    hidden, kept, difficult, crowd   rows of index.boxes
    unknown      ids of the images that miss labels and have no truth in the index either
    image_labels rows of index.image_labels: in an image named there (LVIS) only classes that it names as absent, or
                 that have a box, are known; boxes of a class that is `not_exhaustive` may be missing
    """

    images: np.ndarray
    hidden: pd.DataFrame
    kept: pd.DataFrame
    difficult: pd.DataFrame
    crowd: pd.DataFrame
    unknown: np.ndarray
    image_labels: pd.DataFrame

    def between(self, first: int, last: int) -> Truth:
        """The boxes of the images with ids from `first` to `last`, both included; `images` and `unknown` stay."""
        tables = ("hidden", "kept", "difficult", "crowd", "image_labels")
        own = {name: getattr(self, name) for name in tables}
        return replace(self, **{name: t[t["image_id"].between(first, last)] for name, t in own.items()})


def truth_of(index: Index, split: pd.DataFrame) -> Truth:
    """Sort the true boxes of the split's images.

    Of images of subset train everything is known. An image of another subset (`unlabeled`) counts where the index has
    a box of it, or says which classes it does not show: a pool whose annotations are there, VOC12 beside VOC07. One
    without any may have been looked at or not, so it is left out.
    """
    assert index.boxes is not None, "label quality needs the truth"
    labels = _image_labels(index)
    in_split = index.images["image_id"].isin(split["image_id"])
    seen = index.images["image_id"].isin(index.boxes["image_id"]) | index.images["image_id"].isin(labels["image_id"])
    known_ids = index.images.loc[in_split & ((index.images["subset"] == "train") | seen), "image_id"]
    known = split[split["image_id"].isin(known_ids)]
    boxes = index.boxes[index.boxes["image_id"].isin(known_ids)]
    kept = boxes["box_id"].isin(known["box_id"])
    hidden = boxes[~kept & ~boxes["crowd"] & ~boxes["difficult"]]
    bare = known.loc[~known["labeled"] | known["image_id"].isin(hidden["image_id"]), "image_id"]
    foreign = split.loc[~split["labeled"] & ~split["image_id"].isin(known_ids), "image_id"]
    return Truth(
        images=np.sort(bare.unique()),
        hidden=hidden,
        kept=boxes[kept],
        difficult=boxes[~kept & boxes["difficult"] & ~boxes["crowd"]],
        crowd=boxes[~kept & boxes["crowd"]],
        unknown=np.sort(foreign.unique()),
        image_labels=labels[labels["image_id"].isin(bare)],
    )


def held_out(index: Index, subset: str) -> Truth:
    """The true boxes of a labeled subset that no training saw, as if a split had hidden all of them."""
    assert index.boxes is not None, "an estimate needs the labels of the held-out images"
    images = index.images.loc[index.images["subset"] == subset, "image_id"].to_numpy()
    boxes = index.boxes[index.boxes["image_id"].isin(images)]
    plain = ~boxes["crowd"] & ~boxes["difficult"]
    labels = _image_labels(index)
    return Truth(
        images=np.sort(images),
        hidden=boxes[plain],
        kept=boxes[:0],
        difficult=boxes[boxes["difficult"] & ~boxes["crowd"]],
        crowd=boxes[boxes["crowd"]],
        unknown=images[:0],
        image_labels=labels[labels["image_id"].isin(images)],
    )


def _image_labels(index: Index) -> pd.DataFrame:
    return table([], IMAGE_LABEL_COLUMNS) if index.image_labels is None else index.image_labels
