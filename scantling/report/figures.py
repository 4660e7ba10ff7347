"""The charts of a report, from results and summary to SVG text."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Any

from scantling.report import curves, summary
from scantling.report.chart import Dots, Line, dot_chart, extent, line_chart
from scantling.report.results import Result


@dataclass(frozen=True)
class Figure:
    """name: of its file; title and note: above the drawing; svg: the drawing."""

    name: str
    title: str
    note: str
    svg: str


def scores(group: dict[str, Any], members: Sequence[Result], styles: dict[str, str]) -> Figure:
    """AP of the averaged weights: a dot for each run, the mean, the interval."""
    rows = []
    for method in group["methods"]:
        name, found = method["method"], method["teacher"]["AP"]
        if found is None:
            continue
        values = [r.metrics["teacher"]["AP"] for r in members if r.run.method == name]
        width = (100 * found["low"], 100 * found["high"]) if found["n"] > 1 else None
        rows.append(Dots(name, [100 * v for v in values if v is not None], 100 * found["mean"], width, styles[name]))
    # The dots set the range; a wide interval of few runs is cut at its edge.
    x = extent([v for row in rows for v in row.values])
    longest = max((len(row.name) for row in rows), default=0)
    svg = dot_chart(rows, label="AP of each method and run", x=(max(x[0], 0), x[1]), left=24 + 6.4 * longest)
    return Figure("ap", "AP, averaged weights", "", svg)


def label_quality(members: Sequence[Result], charts: int) -> list[Figure]:
    """Precision and recall of pseudo labels over the score: all classes, then those with most hidden boxes."""
    sets = [one.quality for one in summary.labelings(members)]
    first = sets[0]
    hidden = {c: fmean(one["pseudo"]["classes"][c]["hidden"] for one in sets) for c in first["classes"]}
    most = sorted((c for c in hidden if hidden[c]), key=lambda c: -hidden[c])[:charts]
    shown = [c for c in first["classes"] if c in most]
    parts = [("all classes", [one["pseudo"]["all"] for one in sets])]
    parts += [(c, [one["pseudo"]["classes"][c] for one in sets]) for c in shown]
    return [_quality_figure(number, name, tables, first) for number, (name, tables) in enumerate(parts)]


def training(members: Sequence[Result], names: Sequence[str], styles: dict[str, str], points: int) -> list[Figure]:
    """Every loss term over the step, a line a method; then the pseudo boxes an image."""
    by_method = {name: [r for r in members if r.run.method == name] for name in names}
    start = {result.steps("burn_in") for result in members}
    marks = sorted(start) if start != {0} else []
    wanted = [(term, _spoken(term), "loss") for term in curves.terms(members)]
    wanted.append(("pseudo_boxes", "pseudo boxes", "an image"))
    figures = []
    for column, title, note in wanted:
        found = {name: curves.mean_curve(own, column, points) for name, own in by_method.items()}
        values = [y for line in found.values() for _, y in line]
        if not values:
            continue
        last = max(int(curves.whole(r)["step"].max()) for r in members if len(curves.whole(r)))
        # A first value far above the rest would flatten the curve: the range ends at twice the 90th percentile.
        top = min(max(values), 2 * sorted(values)[int(0.9 * (len(values) - 1))]) or max(values)
        y = extent([min(top, v) for v in values], zero=True)
        lines = [Line(name, [(x, min(v, y[1])) for x, v in c], styles[name]) for name, c in found.items() if c]
        svg = line_chart(lines, label=f"{title} over training steps", x=(0, last), y=y, marks=marks)
        figures.append(Figure(f"curve-{column.replace('/', '-')}", title, note, svg))
    return figures


def _quality_figure(number: int, name: str, tables: Sequence[dict[str, Any]], quality: dict[str, Any]) -> Figure:
    grid, at = quality["thresholds"], quality["thresholds"].index(quality["headline_threshold"])
    lines, notes = [], []
    for kind in ("recall", "precision"):
        if len(tables) > 1:
            lines += [Line(kind, list(zip(grid, t[kind], strict=True)), f"{kind} thin") for t in tables]
        mean = [_mean([t[kind][k] for t in tables]) for k in range(len(grid))]
        lines.append(Line(kind, list(zip(grid, mean, strict=True)), kind))
        notes.insert(0, f"{kind[0].upper()} {_percent(mean[at])}")
    low, high = math.floor(10 * grid[0]) / 10, math.ceil(10 * grid[-1]) / 10
    label = f"precision and recall of pseudo labels over the score threshold, {name}"
    x = (low, high) if high > low else (low, low + 0.1)
    svg = line_chart(lines, label=label, x=x, y=(0, 1), marks=[quality["headline_threshold"]])
    return Figure(f"labels-{number}", name, " \u00b7 ".join(notes), svg)


def _spoken(term: str) -> str:
    part, _, name = term.partition("/")
    return f"{name.replace('_', ' ')}, {part}"


def _mean(values: Sequence[float | None]) -> float | None:
    known = [v for v in values if v is not None]
    return fmean(known) if known else None


def _percent(value: float | None) -> str:
    return "\u2013" if value is None else f"{100 * value:.0f}\u2009%"
