"""What kind of mistakes the finished models make: errors.json of `evaluate`, means over the runs of a method."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from scantling.report.chart import Bar, bar_chart
from scantling.report.figures import Figure
from scantling.report.labels import found, mean
from scantling.report.results import Result

TYPES = {
    "localization": "right class, badly placed",
    "classification": "well placed, wrong class",
    "both": "badly placed and wrong class",
    "duplicate": "an object found twice",
    "background": "nothing is there",
    "missed": "an object not found",
}


def facts(members: Sequence[Result], names: Sequence[str], most: int) -> dict[str, Any] | None:
    """types: method -> type -> dAP (what AP50 would gain without it), count; classes (names) and confusion: method ->
    rows [true][named] of mean counts, the last row and column for background, of the `most` classes confused most.

    Teacher weights. None unless every method has a run whose errors were analyzed.
    """
    known = {
        name: [r.errors["teacher"] for r in members if r.run.method == name and found(r.errors, "teacher", "types")]
        for name in names
    }
    if not all(known.values()):
        return None
    titles = list(members[0].quality["classes"])
    shown = _confused([one for own in known.values() for one in own], len(titles), most)
    return {
        "types": {name: {kind: _type(own, kind) for kind in TYPES} for name, own in known.items()},
        "classes": [titles[k] for k in shown],
        "confusion": {name: _table(own, [*shown, len(titles)]) for name, own in known.items() if shown},
    }


def figure(errors: dict[str, Any], styles: dict[str, str]) -> Figure:
    """A bar for each error type and method, as long as the AP50 that it costs."""
    rows = [
        (kind, [Bar(name, 100 * (of[kind]["dAP"] or 0.0), styles[name]) for name, of in errors["types"].items()])
        for kind in TYPES
    ]
    svg = bar_chart(rows, label="AP50 lost to each type of error")
    return Figure("errors", "AP50 lost to each type of error", "points", svg)


def _type(runs: Sequence[dict[str, Any]], kind: str) -> dict[str, float | None]:
    return {
        "dAP": mean(found(one, "types", kind, "dAP") for one in runs),
        "count": mean(found(one, "types", kind, "count") for one in runs),
        "shown": mean(found(one, "types", kind, "shown") for one in runs),
    }


def _confused(runs: Sequence[dict[str, Any]], background: int, most: int) -> list[int]:
    """Numbers of the classes that are most often taken for others, or others for them; background is no class."""
    errors = [0] * background
    for one in runs:
        for true, named, count in one.get("confusion", ()):
            if true != named and background not in (true, named):
                errors[true] += count
                errors[named] += count
    order = sorted(range(background), key=lambda k: -errors[k])
    return sorted(order[:most]) if any(one.get("confusion") for one in runs) else []


def _table(runs: Sequence[dict[str, Any]], shown: Sequence[int]) -> list[list[float]]:
    at = {number: place for place, number in enumerate(shown)}
    table = [[0.0] * len(shown) for _ in shown]
    for one in runs:
        for true, named, count in one.get("confusion", ()):
            if true in at and named in at:
                table[at[true]][at[named]] += count / len(runs)
    return table
