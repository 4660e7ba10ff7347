"""Corrections by hand win over the machine's labels and over the split."""

import json
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from scantling.data import corrections
from scantling.data.index import IMAGE_COLUMNS, Index, table
from scantling.data.split import SPLIT_COLUMNS
from scantling.methods.supervised import unused
from scantling.pseudo import COLUMNS
from scantling.stage import BadInput

IMAGES = table(
    [
        {"image_id": i, "subset": s, "file_name": f"{i}.png", "width": 40, "height": 30, "bytes": 1, "mtime_ns": 0}
        for i, s in enumerate(["train", "train", "unlabeled", "test"], start=1)
    ],
    IMAGE_COLUMNS,
)
INDEX = Index("made", Path("."), ("cat", "dog"), (1, 2), IMAGES, None, {})


def write(folder: Path, **changes: Any) -> Path:
    content = {
        "images": [{"id": 70, "file_name": "2.png"}, {"id": 71, "file_name": "3.png"}],
        "annotations": [{"id": 1, "image_id": 70, "category_id": 9, "bbox": [5, 5, 100, 10]}],
        "categories": [{"id": 9, "name": "dog"}],
    }
    file = folder / "corrected.json"
    file.write_text(json.dumps(content | changes))
    return file


def refined() -> pd.DataFrame:
    corners = {"x1": 1.0, "y1": 1.0, "x2": 9.0, "y2": 9.0}
    known = {"label": 0, "score": 0.6, "spread": 0.1, "class_probability": 0.6, **corners}
    rows = [{"image_id": i, **known} for i in (1, 2, 3, 3)]
    return unused(pd.DataFrame(rows).astype(COLUMNS))


def test_boxes_are_found_by_name_clipped_and_an_image_without_any_is_kept(tmp_path: Path) -> None:
    found = corrections.load(write(tmp_path), INDEX)
    assert found[["image_id", "label"]].values.tolist() == [[2, 1], [3, -1]]
    assert found.iloc[0, 2:].tolist() == [5, 5, 40, 15]


def test_they_replace_the_machines_rows_and_make_images_labeled(tmp_path: Path) -> None:
    table_ = corrections.replaced(refined(), corrections.load(write(tmp_path), INDEX))
    assert table_["image_id"].tolist() == [1, 2, 3]
    assert table_["source"].tolist() == ["teacher", "corrected", "corrected"]
    assert table_["for_class"].tolist() == [False, True, False] and table_.dtypes.equals(refined().dtypes)
    split = pd.DataFrame({"image_id": [1, 2, 3], "labeled": [True, False, False], "box_id": -1, "label": -1})
    seen = corrections.seen(table([{**r, "x1": 0, "y1": 0, "x2": 0, "y2": 0} for r in split.to_dict("records")], SPLIT_COLUMNS), table_)  # fmt: skip # noqa: E501
    assert seen[["image_id", "labeled", "box_id", "label"]].values.tolist() == [
        [1, True, -1, -1],
        [2, True, 0, 1],
        [3, True, -1, -1],
    ]


def test_none_changes_nothing() -> None:
    file = Path(__file__).parents[2] / "params/corrections/none.json"
    pd.testing.assert_frame_equal(corrections.replaced(refined(), corrections.load(file, INDEX)), refined())
    split = table([{"image_id": 1, "labeled": True, "box_id": -1, "label": -1}], SPLIT_COLUMNS)
    assert corrections.seen(split, refined()) is split


@pytest.mark.parametrize(
    ("changes", "word"),
    [
        ({"images": [{"id": 1, "file_name": "4.png"}]}, "none of the training images"),
        ({"images": [{"id": 4}]}, "none of the training images"),
        ({"images": [{"id": True}]}, "none of the training images"),
        ({"images": {}}, "`images` is not a list"),
        ({"categories": [{"id": 9, "name": "cow"}]}, "'cow'"),
        ({"annotations": [{"id": 1, "image_id": [70], "category_id": 9, "bbox": [0, 0, 1, 1]}]}, "image_id"),
        ({"annotations": [{"id": 1, "image_id": 70, "category_id": 9, "bbox": [0, 0, float("nan"), 1]}]}, "bbox"),
        ({"annotations": [{"id": 1, "image_id": 70, "category_id": 9, "bbox": "x"}]}, "bbox"),
    ],
)
def test_what_cannot_be_used_is_said(tmp_path: Path, changes: dict[str, Any], word: str) -> None:
    file = write(tmp_path, **changes)
    with pytest.raises(BadInput, match=word) as error:
        corrections.load(file, INDEX)
    assert str(file) in str(error.value)


@pytest.mark.parametrize("content", ["", "[]", "[" * 5000, '{"images": 3}'])
def test_a_broken_file_is_said(tmp_path: Path, content: str) -> None:
    file = tmp_path / "broken.json"
    file.write_text(content)
    with pytest.raises(BadInput, match=r"broken\.json"):
        corrections.load(file, INDEX)


def test_a_crowd_is_nothing_to_learn(tmp_path: Path) -> None:
    box = {"id": 1, "image_id": 70, "category_id": 9, "bbox": [5, 5, 10, 10]}
    found = corrections.load(write(tmp_path, annotations=[box, box | {"id": 2, "iscrowd": 1}]), INDEX)
    assert (found["label"] >= 0).sum() == 1


def test_a_number_beyond_any_picture_is_said(tmp_path: Path) -> None:
    box = {"id": 1, "image_id": 70, "category_id": 9, "bbox": [5, 5, 10**400, 10]}
    with pytest.raises(BadInput, match="annotation 1 has bbox"):
        corrections.load(write(tmp_path, annotations=[box]), INDEX)
