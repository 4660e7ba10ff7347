"""Detections written a part at a time are the bytes that the whole table has."""

from pathlib import Path

import pandas as pd
import pytest

from scantling import pseudo_files
from scantling.data.index import table
from scantling.evaluate import detections, facts
from scantling.evaluate.portions import HIGHEST, LOWEST
from scantling.predict import DETECTION_COLUMNS
from scantling.pseudo import COLUMNS
from tests.evaluate.test_fast import crowded


def teacher(images: int) -> pd.DataFrame:
    _, rows = crowded(0, per_image=20, images=images)
    return table(rows.assign(spread=float("nan")).sort_values("image_id", kind="stable"), COLUMNS)


@pytest.mark.parametrize("images", [0, 1, 30])
def test_the_file_is_that_of_the_whole_table(images, tmp_path: Path, monkeypatch):
    monkeypatch.setattr(detections, "ROWS", 64)
    whole = {"student": teacher(images) if images else table([], COLUMNS), "teacher": teacher(3)}
    kept = {}
    for role, rows in whole.items():
        parts = [rows[n : n + 50] for n in range(0, len(rows), 50)]
        kept[role] = detections.stored(parts, tmp_path / f"{role}.parquet")
        there = kept[role].between(LOWEST, HIGHEST)
        pd.testing.assert_frame_equal(there, rows[DETECTION_COLUMNS].reset_index(drop=True))
        assert len(kept[role]) == len(rows)
    detections.save(kept, tmp_path / "found.parquet")
    together = facts.by_model({role: rows[DETECTION_COLUMNS] for role, rows in whole.items()})
    together.to_parquet(tmp_path / "pandas.parquet", index=False)
    assert (tmp_path / "found.parquet").read_bytes() == (tmp_path / "pandas.parquet").read_bytes()


def test_row_groups_have_the_rows_asked_for(tmp_path: Path):
    rows = teacher(10)
    assert pseudo_files.write([rows[:70], rows[70:]], rows[:0], tmp_path / "a.parquet", 60) == len(rows)
    rows.to_parquet(tmp_path / "b.parquet", index=False, row_group_size=60)
    assert (tmp_path / "a.parquet").read_bytes() == (tmp_path / "b.parquet").read_bytes()
