"""Indexes without images: as tables, generated, or out of a real annotation file."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import strategies as st

from scantling.data.index import BOX_COLUMNS, IMAGE_COLUMNS, Index, table

REAL = Path(__file__).parents[3] / "shared" / "data" / "coco_annotations"


def index_of(images: Any, boxes: Any, classes: tuple[str, ...] = ("a", "b", "c"), name: str = "made") -> Index:
    """`images`: image_id and what differs from a 40 x 30 image of train; `boxes`: box_id, image_id, label and what
    differs from a box of its own place."""
    frame = pd.DataFrame(images)
    plain = {"subset": "train", "width": 40, "height": 30, "bytes": 1, "mtime_ns": 0}
    frame = frame.assign(**{k: v for k, v in plain.items() if k not in frame})
    frame["file_name"] = [f"{i}.jpg" for i in frame.image_id]
    rows = pd.DataFrame(boxes, columns=None if len(boxes) else ["box_id", "image_id", "label"])
    usual = {"x1": 1.0, "y1": 2.0, "x2": rows.box_id % 20 + 3.0, "y2": 9.0, "area": 1.0}
    usual |= {"crowd": False, "difficult": False}
    rows = rows.assign(**{k: v for k, v in usual.items() if k not in rows})
    numbers = tuple(range(1, len(classes) + 1))
    return Index(name, Path("."), classes, numbers, table(frame, IMAGE_COLUMNS), table(rows, BOX_COLUMNS), {})


def shuffled(index: Index, seed: int) -> Index:
    """The same data set, its rows in another order."""
    assert index.boxes is not None
    images, boxes = (t.sample(frac=1, random_state=seed % 2**32) for t in (index.images, index.boxes))
    return Index(**{**vars(index), "images": images.reset_index(drop=True), "boxes": boxes.reset_index(drop=True)})


@st.composite
def indexes(draw: st.DrawFn, most_images: int = 12, most_boxes: int = 40) -> Index:
    """Up to 12 images of train, unlabeled and val with up to 40 boxes of 5 classes; crowds, difficult and flat boxes;
    ids with gaps; rows in any order. At least one image of train has an ordinary box."""
    ids = draw(st.lists(st.integers(0, 10**9), min_size=1, max_size=most_images, unique=True))
    subsets = [draw(st.sampled_from(["train", "train", "train", "unlabeled", "val"])) for _ in ids]
    subsets[0] = "train"
    n = draw(st.integers(1, most_boxes))
    box_ids = draw(st.lists(st.integers(0, 10**12), min_size=n, max_size=n, unique=True))
    owners = [ids[0], *draw(st.lists(st.sampled_from(ids), min_size=n - 1, max_size=n - 1))]
    labels = draw(st.lists(st.integers(0, 4), min_size=n, max_size=n))
    kinds = [
        "plain",
        *draw(
            st.lists(st.sampled_from(["plain"] * 5 + ["crowd", "difficult", "flat"]), min_size=n - 1, max_size=n - 1)
        ),
    ]
    boxes = pd.DataFrame({"box_id": box_ids, "image_id": owners, "label": labels})
    boxes["crowd"], boxes["difficult"] = ([k == kind for k in kinds] for kind in ("crowd", "difficult"))
    boxes["y2"] = [2.0 if k == "flat" else 9.0 for k in kinds]
    return index_of({"image_id": ids, "subset": subsets}, boxes, tuple("abcde"))


def long_tailed(images: int, classes: int, seed: int, boxes_each: float = 7.3) -> Index:
    """A data set like COCO in its proportions: class k + 1 about as frequent as 1 / (k + 1), boxes of an image mostly
    of few classes, one image in a hundred without a box."""
    rng = np.random.default_rng(seed)
    share = 1 / np.arange(1, classes + 1)
    count = np.where(rng.random(images) < 0.01, 0, 1 + rng.poisson(boxes_each - 1, images))
    owners = np.repeat(np.arange(images), count)
    theme = rng.choice(classes, images, p=share / share.sum())
    labels = rng.choice(classes, len(owners), p=share / share.sum())
    labels = np.where(rng.random(len(owners)) < 0.5, theme[owners], labels)
    boxes = {"box_id": np.arange(len(owners)) * 3 + 1, "image_id": owners * 2 + 5, "label": labels}
    return index_of(
        {"image_id": np.arange(images) * 2 + 5}, pd.DataFrame(boxes), tuple(f"c{k}" for k in range(classes))
    )


def real(name: str) -> Index:
    """A COCO file of ../shared/data as a data set with everything in train."""
    file = REAL / f"{name}.json.gz"
    if not file.is_file():
        pytest.skip(f"{file} is not here")
    content = json.loads(gzip.decompress(file.read_bytes()))
    names = {c["id"]: c["name"] for c in sorted(content["categories"], key=lambda c: c["id"])}
    known = sorted(names)
    xywh = np.array([a["bbox"] for a in content["annotations"]], dtype=np.float64)
    ids = [a["id"] for a in content["annotations"]]
    boxes = {
        "box_id": ids if len(set(ids)) == len(ids) else range(1, len(ids) + 1),  # TACO uses two ids twice
        "image_id": [a["image_id"] for a in content["annotations"]],
        "label": [known.index(a["category_id"]) for a in content["annotations"]],
        "crowd": [bool(a.get("iscrowd", 0)) for a in content["annotations"]],
        "x1": xywh[:, 0],
        "y1": xywh[:, 1],
        "x2": xywh[:, 0] + xywh[:, 2],
        "y2": xywh[:, 1] + xywh[:, 3],
    }
    images = {k: [i[k] for i in content["images"]] for k in ("width", "height")}
    index = index_of({"image_id": [i["id"] for i in content["images"]], **images}, boxes, tuple(names.values()), name)
    return Index(**{**vars(index), "category_ids": tuple(known)})
