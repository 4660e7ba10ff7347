"""What is said of polishing networks that do harm; what they do is asked in tests/methods/test_polishing_*.py."""

import pytest
import torch

from scantling import log
from scantling.mining import polisher
from scantling.target import Target


@pytest.mark.parametrize(
    ("facts", "worse"),
    [({"iou_before": 0.6, "iou_after": 0.03}, True), ({"iou_before": 0.6, "iou_after": 0.8}, False), ({}, False)],
)
def test_boxes_that_get_worse_are_told(monkeypatch: pytest.MonkeyPatch, facts: dict[str, float], worse: bool) -> None:
    monkeypatch.setattr(log, "_warned", [])
    polisher.warn_if_worse(facts)
    assert [("0.60 before, 0.03" in text) for text in log.warned()] == [True] * worse


def test_overlap_is_that_with_the_nearest_label_the_mean_of_the_images_that_have_one() -> None:
    two = Target.of(torch.tensor([[0.0, 0, 10, 10], [8, 0, 18, 10]]), torch.tensor([0, 0]))
    one, none = Target.of(torch.tensor([[0.0, 0, 10, 10]]), torch.tensor([0])), Target.empty()
    before = [torch.tensor([[0.0, 0, 10, 10]]), torch.tensor([[0.0, 0, 10, 5], [0, 0, 10, 5]]), none.boxes]
    after = [torch.tensor([[8.0, 0, 18, 10]]), torch.tensor([[0.0, 0, 10, 10], [0, 0, 10, 10]]), none.boxes]
    seen = polisher._improvement([two, one, none], before, after)
    assert seen == pytest.approx({"iou_before": 0.75, "iou_after": 1.0})
    assert polisher._improvement([none], [none.boxes], [none.boxes]) == {}
