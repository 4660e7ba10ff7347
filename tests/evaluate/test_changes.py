"""Labels of two rounds by hand, and the sums that must hold."""

from hypothesis import given, settings
from hypothesis import strategies as st

from scantling.evaluate.changes import between, summary
from scantling.evaluate.truth import truth_of
from tests.evaluate.made import found, index, refined, split

CLASSES = ("cat", "dog")
A, B, C = (0.0, 0.0, 20.0, 20.0), (40.0, 40.0, 60.0, 60.0), (70.0, 70.0, 90.0, 90.0)
A_MOVED = (0.0, 0.0, 20.0, 16.0)  # IoU 0.8 with A


def changes(boxes, before, now):
    data = index([{"image_id": i, "label": k, "xyxy": b} for i, k, b in boxes], dict.fromkeys((1, 2, 3), "train"))
    truth = truth_of(data, split(data, [], []))
    return summary(between(truth, before, now, len(CLASSES), iou_threshold=0.5, same_iou=0.9), CLASSES)


def test_by_hand():
    """Image 1: a cat moves, a dog becomes a cat; image 2: one goes, one comes; image 3 stays."""
    before = refined(
        found((1, 0, 0.9, A), (1, 1, 0.9, B), (2, 0, 0.9, A), (3, 1, 0.9, C), (3, 0, 0.2, A)),
        for_class=[True, True, True, True, False],
    )
    now = refined(
        found((1, 0, 0.9, A_MOVED), (1, 0, 0.9, B), (2, 1, 0.9, C), (3, 1, 0.9, C), (3, 1, 0.9, B)),
        for_box=[True, True, True, True, True],
        ignore=[False, False, False, False, True],  # an ignored region is no label
    )
    quality = changes([(1, 0, A), (1, 0, B), (3, 1, C)], before, now)
    assert quality["all"] == {
        "before": 4, "now": 4, "same": 1, "moved": 1, "relabeled": 1, "relabeled_from": 1, "added": 1, "removed": 1
    }  # fmt: skip
    assert quality["classes"]["cat"] == {
        "before": 2, "now": 2, "same": 0, "moved": 1, "relabeled": 1, "relabeled_from": 0, "added": 0, "removed": 1
    }  # fmt: skip
    assert quality["classes"]["dog"]["relabeled_from"] == 1
    assert (quality["images"], quality["images_changed"], quality["mean_iou"]) == (3, 2, 0.9)
    assert quality["precision"] == {"same": 1.0, "moved": 1.0, "relabeled": 1.0, "added": 0.0, "removed": 0.0}


def test_the_same_table_has_not_changed():
    table = refined(found((1, 0, 0.9, A), (1, 0, 0.8, A), (2, 1, 0.7, B)), for_class=True)
    quality = changes([], table, table)
    assert quality["all"]["same"] == 3 and quality["images_changed"] == 0 and quality["mean_iou"] == 1.0


def test_empty_rounds():
    nothing, one = refined(found()), refined(found((1, 0, 0.9, A)), for_class=True)
    assert changes([], nothing, nothing)["precision"]["added"] is None
    assert changes([], nothing, one)["all"]["added"] == 1
    assert changes([], one, nothing)["all"]["removed"] == 1


rows = st.lists(
    st.tuples(st.integers(1, 2), st.integers(0, 1), st.floats(0, 1, width=32), st.sampled_from([A, A_MOVED, B])),
    max_size=8,
)


@settings(max_examples=10, deadline=None)
@given(rows, rows)
def test_every_label_is_accounted_for_once(first, second):
    before, now = (refined(found(*r), for_class=True) for r in (first, second))
    quality = changes([(1, 0, A)], before, now)
    for part in (quality["all"], *quality["classes"].values()):
        assert part["before"] == part["same"] + part["moved"] + part["relabeled_from"] + part["removed"]
        assert part["now"] == part["same"] + part["moved"] + part["relabeled"] + part["added"]
    back = changes([(1, 0, A)], now, before)["all"]
    assert (back["before"], back["now"]) == (quality["all"]["now"], quality["all"]["before"])
