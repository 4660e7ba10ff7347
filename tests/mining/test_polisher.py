"""What is said of polishing networks that do harm; what they do is asked in tests/methods/test_polishing_*.py."""

import pytest

from scantling import log
from scantling.mining import polisher


@pytest.mark.parametrize(
    ("facts", "worse"),
    [({"iou_before": 0.6, "iou_after": 0.03}, True), ({"iou_before": 0.6, "iou_after": 0.8}, False), ({}, False)],
)
def test_boxes_that_get_worse_are_told(monkeypatch: pytest.MonkeyPatch, facts: dict[str, float], worse: bool) -> None:
    monkeypatch.setattr(log, "_warned", [])
    polisher.warn_if_worse(facts)
    assert [("0.60 before, 0.03" in text) for text in log.warned()] == [True] * worse
