"""Thresholds that come from the scores on labeled boxes."""

import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from scantling.mining.label_scores import LEAST, limits, on_labels

INF = float("inf")


def test_a_labeled_box_has_the_best_score_of_its_class_on_it() -> None:
    truth = torch.tensor([[0, 0, 10, 10], [20, 20, 30, 30], [40, 40, 50, 50.0]])
    boxes = torch.tensor([[0, 0, 10, 10], [0, 0, 10, 9], [20, 20, 30, 30], [40, 40, 42, 42.0]])
    scores = torch.tensor([0.2, 0.6, 0.9, 0.9])
    found = on_labels(truth, torch.tensor([0, 1, 0]), boxes, torch.tensor([0, 0, 0, 0]), scores)
    assert torch.equal(found, torch.tensor([0.6, 0.0, 0.0]))  # the second is of another class, the third too small


def test_nothing_labeled_and_nothing_found() -> None:
    none, box = torch.zeros(0, 4), torch.tensor([[0, 0, 10, 10.0]])
    no_class, one, zero = torch.zeros(0, dtype=torch.int64), torch.tensor([0]), torch.zeros(0)
    assert on_labels(none, no_class, box, one, torch.tensor([0.5])).shape == (0,)
    assert torch.equal(on_labels(box, one, none, no_class, zero), torch.tensor([0.0]))
    nothing = limits((no_class, zero), (no_class, zero), 2, quantile=0.5, per_label=1.0)
    assert nothing.tolist() == [INF, INF]


def test_a_class_with_few_labeled_boxes_is_never_mined() -> None:
    labels = torch.tensor([0] * LEAST + [1] * (LEAST - 1))
    scores = torch.linspace(0, 1, len(labels))
    first, second = limits((labels, scores), (labels, scores), 2, quantile=0.5, per_label=9.0).tolist()
    assert first == scores[:LEAST].median() and second == INF


@settings(max_examples=40, deadline=None)
@given(
    st.lists(st.floats(0, 1, width=32), min_size=LEAST, max_size=20),
    st.lists(st.floats(0, 1, width=32), max_size=60),
    st.floats(0, 1),
    st.floats(0.1, 3),
)
def test_taken_boxes_score_above_the_quantile_and_are_not_too_many(
    own: list[float], others: list[float], share: float, most: float
) -> None:
    known, found = torch.tensor(own), torch.tensor(others)
    one = torch.zeros(len(own), dtype=torch.int64), torch.zeros(len(others), dtype=torch.int64)
    (limit,) = limits((one[0], known), (one[1], found), 1, quantile=share, per_label=most)
    taken = found > limit
    assert int(taken.sum()) <= int(most * len(own))
    assert bool((found[taken] >= known.quantile(share)).all())
    enough = int((found > known.quantile(share)).sum()) <= int(most * len(own))
    assert not enough or int(taken.sum()) == int((found > known.quantile(share)).sum())
