"""The index files: what goes in comes out, empty tables too."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from scantling.data import index as indices
from scantling.data.index import BOX_COLUMNS, IMAGE_COLUMNS, IMAGE_LABEL_COLUMNS, Index, table
from scantling.stage import BadInput


@pytest.mark.parametrize("images", [0, 3])
def test_round_trip(tmp_path: Path, images: int) -> None:
    rows = [
        {"image_id": 2**40 + i, "subset": "train", "file_name": f"ä {i}.jpg", "width": 4, "height": 3, "bytes": 1}
        for i in range(images)
    ]
    frame = table(pd.DataFrame(rows, columns=list(IMAGE_COLUMNS)).fillna({"mtime_ns": 0}), IMAGE_COLUMNS)
    boxes = table(
        [dict.fromkeys(BOX_COLUMNS, 0) | {"image_id": i, "x1": 0.1, "crowd": True} for i in frame.image_id], BOX_COLUMNS
    )
    made = Index("a", Path("../b"), ("nut", "bolt"), (3, 7), frame, boxes, {"counts": {"train": images}})
    indices.save(made, tmp_path)
    found = indices.load(tmp_path, truth=True)
    pd.testing.assert_frame_equal(found.images, frame)
    assert found.boxes is not None
    pd.testing.assert_frame_equal(found.boxes, boxes)
    assert found.boxes.dtypes.astype(str).to_dict() == BOX_COLUMNS
    assert (found.name, found.root, found.classes, found.category_ids) == ("a", Path("../b"), ("nut", "bolt"), (3, 7))
    assert found.facts["counts"] == {"train": images}


def test_without_the_truth_the_boxes_stay_closed(tmp_path: Path) -> None:
    frame, boxes = table([], IMAGE_COLUMNS), table([], BOX_COLUMNS)
    indices.save(Index("a", Path("."), (), (), frame, boxes, {}), tmp_path)
    (tmp_path / "boxes.parquet").unlink()
    assert indices.load(tmp_path, truth=False).boxes is None


def test_val_boxes_are_those_of_completely_labeled_images_of_val(tmp_path: Path) -> None:
    subsets = {1: "val", 2: "val", 3: "train", 4: "test"}
    plain = {"file_name": "a", "width": 4, "height": 3, "bytes": 1, "mtime_ns": 0}
    frame = table([plain | {"image_id": i, "subset": s} for i, s in subsets.items()], IMAGE_COLUMNS)
    boxes = table([dict.fromkeys(BOX_COLUMNS, 0) | {"image_id": i} for i in (3, 1, 4, 2, 1)], BOX_COLUMNS)
    labels = table([{"image_id": 2, "label": 0, "kind": "negative"}], IMAGE_LABEL_COLUMNS)
    for known, ids in ((None, [1, 2, 1]), (labels, [1, 1])):
        made = Index("a", Path("."), ("nut",), (1,), frame, boxes, {}, image_labels=known)
        indices.save(made, tmp_path)
        assert pd.read_parquet(tmp_path / "val_boxes.parquet")["image_id"].tolist() == ids


@pytest.mark.parametrize(
    ("column", "value", "message"),
    [
        ("width", 2**32 + 40, r"`width` = 4294967336 is out of range; correct it"),
        ("height", -(2**31) - 1, r"`height` = -2147483649 is out of range"),
        ("image_id", 2**70, r"a number is too large"),
        ("file_name", "half \ud800.jpg", r"half \\ud800.jpg.*: a name that is no text"),
    ],
)
def test_what_a_column_cannot_hold_is_refused_and_not_bent(column: str, value: object, message: str) -> None:
    row = dict.fromkeys(IMAGE_COLUMNS, 0) | {"subset": "train", "file_name": "a", column: value}
    with pytest.raises(BadInput, match=message):
        table([row], IMAGE_COLUMNS)


def test_numbers_beyond_single_precision_are_infinite(recwarn: pytest.WarningsRecorder) -> None:
    row = dict.fromkeys(BOX_COLUMNS, 0) | {"x2": 1e300, "x1": -1e300}
    assert table([row], BOX_COLUMNS)[["x1", "x2"]].to_numpy().tolist() == [[-np.inf, np.inf]]
    assert not recwarn.list


def test_a_table_that_is_right_is_not_copied() -> None:
    boxes = table([dict.fromkeys(BOX_COLUMNS, 0)] * 3, BOX_COLUMNS)
    assert table(boxes, BOX_COLUMNS) is boxes
    assert list(table(boxes[list(boxes.columns)[::-1]], BOX_COLUMNS).columns) == list(BOX_COLUMNS)
    assert table(boxes[1:], BOX_COLUMNS).index.tolist() == [0, 1]
