"""The labels that a method found while it trained, from the beginning to the end of the training."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from scantling.report.curves import Points
from scantling.report.labels import mean
from scantling.report.results import Result

NUMBERS = ("boxes_per_image", "precision", "recall", "parts")


def along(own: Sequence[Result]) -> dict[str, Any] | None:
    """steps (of retraining, the last of each stretch) and NUMBERS along them, means over the runs of a method; None if
    no run tells any, or if nothing was ever found."""
    sets = [s for r in own if (s := r.quality.get("training"))]
    if not sets or not any(sum(s["all"]["count"]) for s in sets):
        return None
    alike = [s for s in sets if s["steps"] == sets[0]["steps"]]
    unknown = [None] * len(sets[0]["steps"])  # `parts`, of what an earlier version evaluated
    lists = {name: [s["all"].get(name, unknown) for s in alike] for name in NUMBERS}
    return {"steps": sets[0]["steps"]} | {n: [mean(v) for v in zip(*of, strict=True)] for n, of in lists.items()}


def points(own: Sequence[Result], name: str) -> Points:
    """One of NUMBERS over the step of burn-in and retraining together, as `curves.whole` counts; empty if not known."""
    found = along(own)
    if found is None:
        return []
    before = own[0].steps("burn_in")
    return [(before + s, v) for s, v in zip(found["steps"], found[name], strict=True) if v is not None]
