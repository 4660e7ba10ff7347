"""What polishing changed, by hand."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from scantling.data.index import XYXY
from scantling.evaluate.refinement import changed, compare
from scantling.evaluate.truth import truth_of
from tests.evaluate.made import found, index, refined, split

CLASSES = ("cat", "dog")
A, B = (0.0, 0.0, 20.0, 20.0), (40.0, 40.0, 60.0, 60.0)
HALF = (0.0, 0.0, 20.0, 10.0)  # IoU 0.5 with A


def compared(boxes, pseudo, table):
    data = index([{"image_id": i, "label": k, "xyxy": b} for i, k, b in boxes], dict.fromkeys((1, 2), "train"))
    return changed(compare(truth_of(data, split(data, [], [])), pseudo, table, len(CLASSES), 0.5), CLASSES)


def test_by_hand():
    """A cat's box is corrected from IoU 0.5 to 1, a dog that was called cat gets its class, a third stays wrong."""
    pseudo = found((1, 0, 0.9, HALF), (1, 0, 0.8, B), (2, 0, 0.7, A), (2, 0, 0.3, A))
    table = refined(pseudo, for_class=[True, True, True, False])
    table.loc[0, XYXY] = A
    table.loc[1, "label"] = 1
    quality = compared([(1, 0, A), (1, 1, B), (2, 1, B)], pseudo, table)
    assert (quality["boxes"], quality["moved"], quality["relabeled"]) == (3, 1, 1)
    assert quality["all"] == {
        "on_object": 2,
        "mean_iou": {"before": 0.75, "after": 1.0},
        "class_precision": {"before": 0.5, "after": 1.0},
    }
    assert quality["classes"]["dog"]["class_precision"] == {"before": 0.0, "after": 1.0}
    assert quality["precision"] == {"before": round(1 / 3, 6), "after": round(2 / 3, 6)}


def test_a_box_that_polishing_spoiled_stays_in_the_mean():
    """Chosen by either side: a box moved off its object is counted with what is left of its overlap."""
    pseudo = found((1, 0, 0.9, A))
    table = refined(pseudo, for_box=True)
    table.loc[0, XYXY] = (0.0, 0.0, 20.0, 5.0)
    quality = compared([(1, 0, A)], pseudo, table)
    assert quality["all"]["mean_iou"] == {"before": 1.0, "after": 0.25}


def test_rows_find_their_origin_in_any_order():
    """Polishing dropped a row, made two of another, and a person's and a mined box came in."""
    pseudo = found((1, 0, 0.9, A), (1, 0, 0.5, B), (2, 0, 0.9, B))
    rows = found((2, 0, 0.9, A), (1, 0, 0.9, A), (1, 0, 0.9, A), (1, 0, 0.9, B), (2, 0, 1.0, B))
    source = ["teacher", "teacher", "teacher", "mined", "corrected"]
    quality = compared([], pseudo, refined(rows, for_class=True, source=source))
    assert (quality["boxes"], quality["moved"]) == (3, 1)


def test_nothing_used_or_nothing_there():
    pseudo = found((1, 0, 0.9, A))
    for rows, table in ((pseudo, refined(pseudo)), (found(), refined(found()))):
        quality = compared([(1, 0, A)], rows, table)
        assert quality["boxes"] == 0 and quality["all"]["mean_iou"] == {"before": None, "after": None}
        assert quality["precision"] == {"before": None, "after": None}


boxes = st.tuples(st.integers(1, 2), st.integers(0, 1), st.floats(0, 1, width=32), st.sampled_from([A, HALF, B]))


@settings(max_examples=10, deadline=None)
@given(st.lists(boxes, max_size=8))
def test_polishing_that_does_nothing_changes_nothing(rows):
    pseudo = found(*rows)
    shuffled = refined(pseudo, for_class=True).sample(frac=1, random_state=1)
    quality = compared([(1, 0, A), (2, 1, B)], pseudo, shuffled)
    for name in ("moved", "relabeled"):
        # rows of one image and score are the same label for all that is known
        assert quality[name] == 0 or pseudo.duplicated(["image_id", "score"]).any()
    if not pseudo.duplicated(["image_id", "score"]).any():
        for pair in (quality["precision"], quality["all"]["mean_iou"], quality["all"]["class_precision"]):
            assert pair["before"] == pytest.approx(pair["after"])
