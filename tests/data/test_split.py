"""The split table: what its hash sees, and that it comes back from its file."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from scantling.data import split
from scantling.data.index import table


def rows() -> pd.DataFrame:
    """Image 7 keeps two boxes, image 3 is labeled and empty, image 9 unlabeled."""
    corners = {c: [1.5, 2.5, np.nan, np.nan] for c in ("x1", "y1", "x2", "y2")}
    ids = {"image_id": [7, 7, 3, 9], "labeled": [True, True, True, False], "box_id": [20, 4, -1, -1]}
    return table(pd.DataFrame({**ids, "label": [0, 1, -1, -1], **corners}), split.SPLIT_COLUMNS)


def test_the_hash_is_that_of_names_and_bytes_by_id() -> None:
    seen = hashlib.sha256()
    for name, kind in (("image_id", "<i8"), ("labeled", "?"), ("box_id", "<i8"), ("label", "<i4"), ("x1", "<f4")):
        seen.update(name.encode() + rows()[name].to_numpy()[[2, 1, 0, 3]].astype(kind).tobytes())
    for name in ("y1", "x2", "y2"):
        seen.update(name.encode() + rows()[name].to_numpy()[[2, 1, 0, 3]].astype("<f4").tobytes())
    assert split.content_hash(rows()) == seen.hexdigest()


@pytest.mark.parametrize("column", split.SPLIT_COLUMNS)
def test_the_hash_sees_every_value_and_no_order(column: str) -> None:
    known = split.content_hash(rows())
    assert split.content_hash(rows().sample(frac=1, random_state=1)) == known
    changed = rows()
    changed[column] = (
        changed[column]
        .where(changed.box_id != 20, {"labeled": False}.get(column, 3))
        .astype(split.SPLIT_COLUMNS[column])
    )
    assert split.content_hash(changed) != known


def test_a_table_comes_back_from_its_file(tmp_path: Path) -> None:
    rows().to_parquet(tmp_path / "split.parquet")
    pd.testing.assert_frame_equal(split.load(tmp_path), rows())


def test_no_images_at_all_is_legal(tmp_path: Path) -> None:
    empty = table([], split.SPLIT_COLUMNS)
    empty.to_parquet(tmp_path / "split.parquet")
    assert split.content_hash(split.load(tmp_path)) == split.content_hash(empty)


def test_the_images_alone(tmp_path: Path) -> None:
    rows().to_parquet(tmp_path / "split.parquet")
    assert split.image_ids(tmp_path).tolist() == [3, 7, 9]
