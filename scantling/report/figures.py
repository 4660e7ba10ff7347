"""The charts of scores and training of a report, from results and summary to SVG text."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from scantling.report import curves, learned
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
    values = {
        m["method"]: [r.metrics["teacher"]["AP"] for r in members if r.run.method == m["method"]]
        for m in group["methods"]
    }
    svg = _dots(group["methods"], {name: m["teacher"]["AP"] for name, m in _named(group)}, values, styles, "AP")
    return Figure("ap", "AP, averaged weights", "points", svg)


def gains(group: dict[str, Any], runs: Sequence[dict[str, Any]], styles: dict[str, str]) -> Figure | None:
    """Gain in AP over the baseline: a dot for each pair of runs, the mean, the interval; None without any pair.

    runs  those of the summary, of any group
    """
    known = [m for _, m in _named(group) if m["gain"]["teacher"]["AP"] is not None]
    if not known:
        return None
    of_run = {run["key"]: run["gain"]["teacher"]["AP"] for run in runs}
    values = {m["method"]: [of_run[key] for key in m["runs"]] for m in known}
    means = {m["method"]: m["gain"]["teacher"]["AP"] for m in known}
    svg = _dots(known, means, values, styles, "gain in AP", zero=True)
    return Figure("gain", f"gain over {group['baseline']}", "points", svg)


def _named(group: dict[str, Any]) -> list[tuple[str, dict[str, Any]]]:
    return [(m["method"], m) for m in group["methods"]]


def _dots(
    methods: Sequence[dict[str, Any]],
    means: dict[str, dict[str, Any] | None],
    values: dict[str, list[float | None]],
    styles: dict[str, str],
    what: str,
    *,
    zero: bool = False,
) -> str:
    rows = []
    for name in (m["method"] for m in methods):
        found = means[name]
        if found is not None:
            width = (100 * found["low"], 100 * found["high"]) if found["n"] > 1 else None
            known = [100 * v for v in values[name] if v is not None]
            rows.append(Dots(name, known, 100 * found["mean"], width, styles[name]))
    # The dots set the range, a wide interval is cut at its edge; but a gain is read off its interval and zero.
    ends = [v for row in rows if zero and row.width for v in row.width] + ([0.0] if zero else [])
    x = extent([v for row in rows for v in row.values] + ends)
    longest = max((len(row.name) for row in rows), default=0)
    low = x[0] if zero else max(x[0], 0)
    label = f"{what} of each method and run"
    return dot_chart(rows, label=label, x=(low, x[1]), left=24 + 6.4 * longest, marks=[0.0] if zero else [])


def training(members: Sequence[Result], names: Sequence[str], styles: dict[str, str], points: int) -> list[Figure]:
    """Every loss term over the step, a line a method; the pseudo boxes an image, and how good they are."""
    by_method = {name: [curves.whole(r) for r in members if r.run.method == name] for name in names}
    last = max((int(t["step"].max()) for tables in by_method.values() for t in tables if len(t)), default=1)
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
        # A first value far above the rest would flatten the curve: the range ends at twice the 90th percentile.
        top = min(max(values), 2 * sorted(values)[int(0.9 * (len(values) - 1))]) or max(values)
        y = extent([min(top, v) for v in values], zero=True)
        lines = [Line(name, [(x, min(v, y[1])) for x, v in c], styles[name]) for name, c in found.items() if c]
        svg = line_chart(lines, label=f"{title} over training steps", x=(0, last), y=y, marks=marks)
        figures.append(Figure(f"curve-{column.replace('/', '-')}", title, note, svg))
    note = f"IoU {members[0].quality['iou_threshold']}"
    for name in ("precision", "recall"):
        drawn = {n: learned.points([r for r in members if r.run.method == n], name) for n in names}
        lines = [Line(n, c, styles[n]) for n, c in drawn.items() if c]
        if lines:
            title, label = f"label {name}", f"{name} of the labels found over training steps"
            svg = line_chart(lines, label=label, x=(0, last), y=(0, 1), marks=marks)
            figures.append(Figure(f"curve-found-{name}", title, note, svg))
    return figures


def _spoken(term: str) -> str:
    part, _, name = term.partition("/")
    return f"{name.replace('_', ' ')}, {part}"
