"""The gains against the other baselines: one view instead of two, the same seconds instead of the same steps."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from scantling.report.intervals import plain_interval
from scantling.report.labels import mean
from scantling.report.results import Result

NAMES = ("AP", "AP50")


def compare(
    members: Sequence[Result], results: Sequence[Result], preference: Sequence[str], baseline: str | None
) -> list[dict[str, Any]]:
    """An entry for each baseline of `preference` that was run on the same data, split and detector, with a training of
    another name or beside the group's own `baseline`: training, method, runs, steps, seconds, AP and AP50 (intervals),
    and gain: method -> the same two, paired by fold and seed. [] if the group has nothing but baselines.

    members  the runs of one group; results: all runs
    """
    data, split, detector, training = members[0].run.group
    methods = [name for name in dict.fromkeys(r.run.method for r in members) if name not in preference]
    found: dict[tuple[str, str], list[Result]] = {}
    for result in results:
        same = result.run.group[:3] == (data, split, detector)
        same &= (result.run.training, result.run.method) != (training, baseline)
        if methods and same and result.run.method in preference:
            found.setdefault((result.run.training, result.run.method), []).append(result)
    return [
        {
            "training": other,
            "method": baseline,
            "runs": [result.run.key for result in own],
            "steps": round(mean(result.total_steps for result in own) or 0),
            "seconds": mean(result.training_seconds for result in own),
            **{name: plain_interval(r.metrics["teacher"][name] for r in own) for name in NAMES},
            "gain": {method: _gain([r for r in members if r.run.method == method], own) for method in methods},
        }
        for (other, baseline), own in found.items()
    ]


def _gain(mine: Sequence[Result], theirs: Sequence[Result]) -> dict[str, dict[str, Any] | None]:
    partner = {(r.run.fold, r.run.seed): r.metrics["teacher"] for r in theirs}
    pairs = [(r.metrics["teacher"], partner.get((r.run.fold, r.run.seed))) for r in mine]
    return {
        name: plain_interval(
            None if other is None or None in (own[name], other[name]) else own[name] - other[name]
            for own, other in pairs
        )
        for name in NAMES
    }
