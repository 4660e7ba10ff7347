"""A table in parts: the same for any cut, and a killed run makes only what is missing."""

from collections.abc import Iterator
from pathlib import Path

import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from scantling import parts, predict
from scantling.pseudo import PseudoLabelParams
from tests import tiny, toy


@settings(deadline=None)
@given(st.integers(0, 500), st.integers(1, 9), st.integers(1, 8))
def test_parts_are_the_batches_in_order(rows: int, batch_size: int, processes: int) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("scantling.distributed.world", lambda: processes)
        batches = parts.batches_of(rows, batch_size)
        groups = parts.parts_of(batches)
    assert [i for batch in batches for i in batch] == list(range(rows))
    assert [batch for group in groups for batch in group] == batches
    assert all(1 <= len(group) <= parts.BATCHES for group in groups)
    assert len(groups) >= min(len(batches), processes), "no process is idle while another has two batches"


class Killed(Exception):
    pass


def test_what_is_done_is_not_done_again(tmp_path: Path) -> None:
    batches, made = parts.batches_of(200, 5), []  # 40 batches, parts of 16

    def tables(chosen: list[range], until: int = 99) -> Iterator[pd.DataFrame]:
        for number, batch in enumerate(chosen):
            if number == until:
                raise Killed
            made.append(batch)
            yield pd.DataFrame({"row": list(batch)})

    with pytest.raises(Killed):
        parts.make(batches, tmp_path, lambda chosen: tables(chosen, until=20), pd.concat)
    assert [p.name for p in tmp_path.iterdir()] == ["rows_000000000_000000080.parquet"]
    made.clear()
    table = parts.make(batches, tmp_path, tables, pd.concat)
    assert table["row"].tolist() == list(range(200)) and made == batches[16:]


@pytest.mark.parametrize("workers", [0, 1])
def test_labels_are_the_same_with_and_without_parts(tmp_path: Path, workers: int) -> None:
    images, _ = toy.tables(tmp_path)
    params = PseudoLabelParams.load(toy.ROOT / "params/pseudo_label.yaml")
    params = params.model_copy(update={"batch_size": 3, "spread_from": 0.3, "workers": workers})

    def label(keep: Path | None, rows: pd.DataFrame = images) -> pd.DataFrame:
        settings = {"input": tiny.params("faster_rcnn").input, "params": params, "device": "cpu", "keep": keep}
        return predict.pseudo_labels(tiny.detector("faster_rcnn"), rows, tmp_path, **settings)

    whole = label(None)
    assert len(whole)
    pd.testing.assert_frame_equal(whole, label(tmp_path / "keep"))
    pd.testing.assert_frame_equal(whole, label(tmp_path / "keep"))  # from the parts alone
    none = label(tmp_path / "none", images.iloc[:0])
    assert len(none) == 0 and none.columns.tolist() == whole.columns.tolist()
