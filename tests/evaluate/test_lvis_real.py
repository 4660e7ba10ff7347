"""AP of LVIS on real annotations, against what the authors' own code gives."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from scantling.data.index import BOX_COLUMNS, IMAGE_COLUMNS, IMAGE_LABEL_COLUMNS, XYXY, Index, table
from scantling.evaluate import lvis
from tests.evaluate.made import FOUND

GOLDEN = (5**0.5 - 1) / 2
WRONG = 330  # wrong detections an image: with the others more than the 300 that count
# What lvis 0.5.3 (pip install lvis, github.com/lvis-dataset/lvis-api) gives for the same two tables.
AUTHORS = {
    "AP": 0.319143568104,
    "AP50": 0.527633112308,
    "AP75": 0.276700538475,
    "APs": 0.363179218177,
    "APm": 0.344827317226,
    "APl": 0.332192567083,
    "APr": 0.042857142857,
    "APc": 0.348107894361,
    "APf": 0.315416251359,
    "AR300": 0.360621839385,
}


def even(n: int, start: int) -> np.ndarray:
    """n numbers spread evenly over 0..1, the same on every machine."""
    return (np.arange(start, start + n) * GOLDEN) % 1


def detections(boxes: pd.DataFrame, images: list[dict[str, Any]], label: dict[int, int]) -> pd.DataFrame:
    """Four of five true boxes displaced, a sixth of these called something else; and boxes of nothing, of classes that
    are known to be absent, not exhaustively boxed, or of which nothing is known."""
    right = boxes[even(len(boxes), 3) < 0.8].reset_index(drop=True)
    n = len(right)
    sides = right[["x2", "y2"]].to_numpy() - right[["x1", "y1"]].to_numpy()
    moved = np.stack([even(n, 131 * k) - 0.5 for k in (1, 2, 3, 4)], axis=1) * 0.3 * np.tile(sides, 2)
    names = np.where(even(n, 502) < 1 / 6, (right["label"] + 1) % len(label), right["label"])
    found = [right.assign(label=names, score=even(n, 604)).drop(columns=XYXY)]
    found[0][XYXY] = right[XYXY].to_numpy() + moved
    for image in images:
        seed = image["id"]
        some = [*image["neg_category_ids"], *image["not_exhaustive_category_ids"], *list(label)[:100]]
        rows = pd.DataFrame({"label": [label[some[k % len(some)]] for k in range(WRONG)]})
        corner = np.stack([400 * even(WRONG, seed), 300 * even(WRONG, 7 * seed)], axis=1)
        side = 10 + 90 * np.stack([even(WRONG, 3), even(WRONG, 11)], axis=1)
        rows[XYXY] = np.hstack([corner, corner + side])
        found.append(rows.assign(image_id=seed, score=0.7 * even(WRONG, 5 * seed)))
    return table(pd.concat(found, ignore_index=True), FOUND)


def read(folder: Path) -> tuple[Index, pd.DataFrame]:
    with gzip.open(folder / "lvis_val_100.json.gz") as stream:
        truth = json.load(stream)
    categories = sorted(truth["categories"], key=lambda c: c["id"])
    label = {c["id"]: k for k, c in enumerate(categories)}
    images = pd.DataFrame(truth["images"]).rename(columns={"id": "image_id"})
    images = images.assign(subset="val", bytes=0, mtime_ns=0)
    x, y, w, h = np.array([a["bbox"] for a in truth["annotations"]]).T
    boxes = pd.DataFrame(truth["annotations"]).rename(columns={"id": "box_id"})
    boxes = boxes.assign(label=boxes["category_id"].map(label), x1=x, y1=y, x2=x + w, y2=y + h)
    boxes = table(boxes.assign(crowd=False, difficult=False), BOX_COLUMNS)
    known = [
        {"image_id": image["id"], "label": label[c], "kind": kind}
        for image in truth["images"]
        for kind, key in (("negative", "neg_category_ids"), ("not_exhaustive", "not_exhaustive_category_ids"))
        for c in image[key]
    ]
    index = Index(
        "lvis", folder, tuple(c["name"] for c in categories), tuple(label), table(images, IMAGE_COLUMNS), boxes,
        {"frequencies": [c["frequency"] for c in categories]}, table(known, IMAGE_LABEL_COLUMNS),
    )  # fmt: skip
    return index, detections(boxes, truth["images"], label)


def test_equal_to_the_authors_code(shared_data: Path) -> None:
    index, found = read(shared_data / "coco_annotations")
    assert found.groupby("image_id").size().min() > lvis.LIMIT
    result = lvis.evaluate(index, "val", found)
    assert result.numbers == pytest.approx(AUTHORS, abs=1e-9)
