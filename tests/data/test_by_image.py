"""Rows by image, found by sorted ids, are those that a search finds."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from scantling.data.by_image import ByImage


@settings(deadline=None)
@given(st.lists(st.integers(-3, 9), max_size=30), st.booleans())
def test_rows_are_those_of_a_search(ids: list[int], ascending: bool) -> None:
    given_ids = np.array(sorted(ids) if ascending else ids, dtype=np.int64)
    table = ByImage(given_ids)
    in_order = given_ids if table.order is None else given_ids[table.order]
    assert table.ids.tolist() == sorted(set(ids))
    for image_id in range(-5, 12):
        expected = np.flatnonzero(given_ids == image_id)
        assert table.rows(image_id).tolist() == expected.tolist()
        assert (in_order[table.sorted(image_id)] == image_id).all()
        assert (table.place(image_id) is None) == (not len(expected))
    wanted = np.arange(-5, 12)
    assert table.counts(wanted).tolist() == [ids.count(i) for i in wanted.tolist()]


def test_no_rows() -> None:
    nothing = ByImage(np.zeros(0, dtype=np.int64))
    assert nothing.rows(1).tolist() == [] and nothing.sorted(1) == slice(0, 0) and nothing.counts(np.array([1])) == [0]
