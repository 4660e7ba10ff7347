"""What training reads of a refined table."""

import numpy as np
import pandas as pd
import torch

from scantling import candidates
from scantling.candidates import COLUMNS, CandidateTable
from scantling.data import corrections
from tests.evaluate.made import found, refined, split
from tests.evaluate.made import index as index_of

A, B = (0.0, 0.0, 20.0, 20.0), (40.0, 40.0, 60.0, 60.0)


def table() -> pd.DataFrame:
    rows = refined(
        found((3, 1, 0.9, A), (1, 0, 0.8, B), (1, 1, 0.7, A), (4, 0, 1.0, A), (5, -1, 1.0, A)),
        source=["teacher", "teacher", "mined", "corrected", "corrected"],
        for_class=[True, False, True, True, False],
        spread=np.float32(0.02),
    )
    return rows.assign(refined_x1=rows["x1"], unread=1)


def test_the_columns_that_training_reads_say_the_same_as_the_whole_table(tmp_path):
    whole = table()
    whole.to_parquet(tmp_path / "refined.parquet", index=False, row_group_size=2)
    read = candidates.load(tmp_path / "refined.parquet", ["refined_x1", "refined_label"])
    assert list(read) == [*COLUMNS, "refined_x1"]  # refined_label is not there
    pd.testing.assert_frame_equal(read.astype({"source": "str"}), whole[list(read)].astype({"source": "str"}))
    assert read["source"].dtype == "category"  # not a text in each row
    one, other = CandidateTable(read), CandidateTable(whole)
    for image in (1, 3, 4, 5, 9):
        for name, values in vars(one.of(image)).items():
            same = getattr(other.of(image), name)
            assert values is same is None or torch.equal(values, same)
    assert one.of(1).labels.dtype == torch.int64 and one.of(1).labels.tolist() == [0, 1] and len(one.of(5)) == 0
    known = split(index_of([], dict.fromkeys((1, 3, 4, 5), "train")), [], [])
    pd.testing.assert_frame_equal(corrections.seen(known, read), corrections.seen(known, whole))


def test_an_empty_table(tmp_path):
    table()[:0].to_parquet(tmp_path / "refined.parquet", index=False)
    read = candidates.load(tmp_path / "refined.parquet")
    assert list(read) == COLUMNS and len(CandidateTable(read).of(1)) == 0
