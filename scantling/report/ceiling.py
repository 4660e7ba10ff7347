"""How much of what missing labels cost is won back: the share of the gap to the same training with all labels."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from scantling.report.intervals import plain_interval
from scantling.report.results import Result

FULL = "full"  # params/splits/full.yaml: nothing is hidden
NAMES = ("AP", "AP50")


def ceiling(members: Sequence[Result], results: Sequence[Result], baseline: str | None) -> dict[str, Any] | None:
    """method, runs, AP and AP50 (intervals) of the best that the baseline can do: on split `full` of the same data,
    detector and training, with as many steps. `supervised` stands in where the baseline itself was not run on it.

    None for the split `full` itself, without a baseline, and where there is no such run.
    """
    data, split, detector, training = members[0].run.group
    if split == FULL or baseline is None:
        return None
    steps = {result.total_steps for result in members if result.run.method == baseline}
    for method in dict.fromkeys((baseline, "supervised")):
        own = [
            result
            for result in results
            if result.run.group == (data, FULL, detector, training)
            and result.run.method == method
            and result.total_steps in steps
        ]
        if own:
            numbers = {name: plain_interval(r.metrics["teacher"][name] for r in own) for name in NAMES}
            return {"method": method, "runs": [result.run.key for result in own], **numbers}
    return None


def closed(
    gain: dict[str, dict[str, Any] | None], naive: dict[str, dict[str, Any] | None], top: dict[str, Any] | None
) -> dict[str, dict[str, Any] | None]:
    """The gain over the gap from the baseline's mean to the ceiling's mean, for AP and AP50: 0 nothing, 1 all of it.

    The interval is the gain's, divided by the gap as if that were known without error. None without a ceiling or gain,
    and where the ceiling is not above the baseline.
    """
    shares: dict[str, dict[str, Any] | None] = {}
    for name in NAMES:
        own, low, high = gain[name], naive[name], top[name] if top else None
        shares[name] = None
        if own is not None and low is not None and high is not None and high["mean"] > low["mean"]:
            gap = high["mean"] - low["mean"]
            shares[name] = own | {key: own[key] / gap for key in ("mean", "low", "high")}
    return shares
