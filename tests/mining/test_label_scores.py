"""Thresholds that come from the scores on labeled boxes."""

import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from scantling.mining.label_scores import LEAST, MEMORY, LabelScores, on_labels, quantiles

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
    assert quantiles(no_class, zero, 2, 0.5).tolist() == [INF, INF]
    empty = LabelScores(2)
    empty.update(no_class, zero)
    assert empty.quantiles(0.5).tolist() == [INF, INF]


def test_a_class_with_few_labeled_boxes_has_no_threshold() -> None:
    labels = torch.tensor([0] * LEAST + [1] * (LEAST - 1))
    scores = torch.linspace(0, 1, len(labels))
    first, second = quantiles(labels, scores, 2, 0.5).tolist()
    assert first == scores[:LEAST].median() and second == INF


@settings(max_examples=30, deadline=None)
@given(
    st.lists(st.lists(st.tuples(st.integers(0, 2), st.floats(0, 1, width=32)), max_size=40), max_size=8),
    st.floats(0, 1),
)
def test_what_is_remembered_is_the_newest_of_each_class(steps: list[list[tuple[int, float]]], share: float) -> None:
    memory = LabelScores(3)
    for step in steps:
        memory.update(torch.tensor([c for c, _ in step], dtype=torch.int64), torch.tensor([s for _, s in step]))
    seen = [pair for step in steps for pair in step]
    newest = [[s for k, s in seen if k == c][-MEMORY:] for c in range(3)]
    labels = torch.tensor([c for c in range(3) for _ in newest[c]], dtype=torch.int64)
    expected = quantiles(labels, torch.tensor([s for part in newest for s in part]), 3, share)
    torch.testing.assert_close(memory.quantiles(share), expected)
