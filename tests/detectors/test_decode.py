import torch

from scantling.detectors.decode import best_pairs, has_area, select
from scantling.detectors.settings import DetectParams

BOXES = torch.tensor([[0.0, 0, 10, 10], [0, 0, 10, 9], [1, 0, 10, 10], [50, 0, 70, 10], [99, 0, 110, 10]])
SCORES, LABELS = torch.tensor([0.9, 0.8, 0.7, 0.6, 0.5]), torch.tensor([0, 0, 1, 0, 1])
PROBABILITIES = torch.rand(5, 2, generator=torch.Generator().manual_seed(0))


def rows(size=(20, 60), **changes):
    """Which boxes are left."""
    values = {"score_threshold": 0.05, "nms_iou": 0.5, "class_wise_nms": True, "limit": 100}
    found = select(BOXES, SCORES, LABELS, PROBABILITIES, size, DetectParams(**values | changes))
    kept = [SCORES.tolist().index(s) for s in found.scores.tolist()]
    assert torch.equal(found.labels, LABELS[kept]) and torch.equal(found.probabilities, PROBABILITIES[kept])
    return kept, found


def test_suppression_is_by_class_or_not():
    assert rows()[0] == [0, 2, 3]
    assert rows(class_wise_nms=False)[0] == [0, 3]
    assert rows(nms_iou=0.95)[0] == [0, 1, 2, 3]


def test_boxes_are_clipped_and_dropped_where_nothing_is_left():
    kept, found = rows()
    assert 4 not in kept and found.boxes[-1].tolist() == [50, 0, 60, 10]
    kept, found = rows(size=None)
    assert kept == [0, 2, 3, 4] and found.boxes[-1].tolist() == [99, 0, 110, 10]


def test_the_best_are_kept():
    assert rows(limit=2)[0] == [0, 2]


def test_area_is_strict():
    boxes = torch.tensor([[0.0, 0, 1, 1], [0, 0, 0, 1], [3, 3, 5, 9]])
    assert has_area(boxes).tolist() == [True, False, True] and has_area(boxes, 1.0).tolist() == [False, False, True]


def test_pairs_are_the_best_of_each_level_at_most_as_many_as_it_has_places():
    ranks = torch.tensor([[[0.1, 0.9], [0.8, 0.2], [0.7, 0.6], [0.5, 0.4]]])  # places 0 to 2 are the first level
    values, rows, labels = best_pairs(ranks, [3, 1], per_level=2)
    assert list(zip(rows[0].tolist(), labels[0].tolist(), strict=True)) == [(0, 1), (1, 0), (3, 0)]
    torch.testing.assert_close(values, torch.tensor([[0.9, 0.8, 0.5]]))
    valid = torch.tensor([[False, False, True, False]])  # one place on the image, so one pair
    values, rows, labels = best_pairs(ranks, [3, 1], per_level=2, valid=valid)
    assert values.isfinite().tolist() == [[True, False, False]] and (rows[0, 0], labels[0, 0]) == (2, 0)
