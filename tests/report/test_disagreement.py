"""Which images are shown first."""

from types import SimpleNamespace

import numpy as np
import pandas as pd

from scantling.data.index import XYXY
from scantling.report.disagreement import chosen, disagreement, ranked, spread, used

A, B, FAR = (0, 0, 10, 10), (50, 50, 60, 60), (90, 90, 99, 99)


def table(*rows):
    """(image_id, label, box, score) each."""
    frame = pd.DataFrame([(i, label, score, *box) for i, label, box, score in rows])
    columns = ["image_id", "label", "score", *XYXY]
    return frame.set_axis(columns, axis=1) if rows else pd.DataFrame(columns=columns).astype({"image_id": "int64"})


def truth(hidden, kept=(), difficult=()):
    empty = table()
    hidden, kept, difficult = (table(*rows) if rows else empty for rows in (hidden, kept, difficult))
    return SimpleNamespace(hidden=hidden, kept=kept, difficult=difficult, crowd=empty)


def test_wrong_and_missed_boxes():
    """Image 1: one right, one repeated label; 2: another class, so wrong and missed; 3: on kept and difficult boxes."""
    known = truth([(1, 0, A, 1), (2, 0, A, 1)], kept=[(3, 0, A, 1)], difficult=[(3, 1, B, 1)])
    found = table((1, 0, A, 0.9), (1, 0, A, 0.8), (2, 1, A, 0.9), (3, 0, A, 0.9), (3, 1, B, 0.9), (9, 0, FAR, 0.9))
    counts = disagreement(known, np.array([1, 2, 3]), found, 0.5)
    assert counts["wrong"].tolist() == [1, 1, 0] and counts["missed"].tolist() == [0, 1, 0]
    assert ranked([counts]).tolist() == [2, 1, 3]
    more = counts.assign(missed=[0, 0, 5])
    assert ranked([counts, more]).tolist() == [3, 2, 1]  # summed over methods: 5, 3, 2


def test_no_labels_at_all_miss_everything():
    counts = disagreement(truth([(1, 0, A, 1), (1, 0, B, 1)]), np.array([1, 2, 3]), table(), 0.5)
    assert counts["missed"].tolist() == [2, 0, 0] and counts["wrong"].sum() == 0


def test_half_of_the_chosen_disagree_most_and_half_are_spread():
    ranking = np.arange(100, 0, -1)
    places = chosen(ranking, 6)
    assert list(places.items()) == [(100, 1), (99, 2), (98, 3), (97, 4), (49, 52), (1, 100)]
    assert chosen(ranking[:2], 6) == {100: 1, 99: 2} and chosen(ranking, 0) == chosen(ranking[:0], 6) == {}
    assert spread(np.arange(5), 9).tolist() == [0, 1, 2, 3, 4]


def test_labels_of_a_method_that_uses_none_are_those_above_the_floor():
    rows = table((1, 0, A, 0.9), (1, 0, B, 0.4)).assign(source="teacher", weight=1.0, ignore=False)
    flags = dict.fromkeys(("for_objectness", "for_class", "for_box"), False)
    assert used(rows.assign(**flags), 0.7)["score"].tolist() == [0.9]
    assert used(rows.assign(**flags | {"for_box": [False, True]}), 0.7)["score"].tolist() == [0.4]
    assert len(used(rows.assign(**flags, source="label"), 0.1)) == 0
