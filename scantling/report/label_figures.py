"""The charts of label quality: precision and recall over the score, and what a score means."""

from __future__ import annotations

import math
from collections.abc import Sequence
from statistics import fmean
from typing import Any

from scantling.report.chart import Line, line_chart
from scantling.report.figures import Figure
from scantling.report.labels import found, judged, labelings, mean, source
from scantling.report.results import Result
from scantling.report.words import DASH, percent

Quality = dict[str, Any]


def by_class(members: Sequence[Result], charts: int) -> list[Figure]:
    """Precision and recall of pseudo labels over the score: all classes, then those with most hidden boxes. None of
    all these charts where nothing tells how good the labels are."""
    first, sets = _judged(members)
    if not sets:
        return []
    hidden = {c: fmean(one["classes"][c]["hidden"] for one in sets) for c in first["classes"]}
    most = sorted((c for c in hidden if hidden[c]), key=lambda c: -hidden[c])[:charts]
    shown = [c for c in first["classes"] if c in most]
    parts = [("all classes", [one["all"] for one in sets])]
    parts += [(c, [one["classes"][c] for one in sets]) for c in shown]
    return [_figure(f"labels-{number}", name, tables, first) for number, (name, tables) in enumerate(parts)]


def by_size(members: Sequence[Result]) -> list[Figure]:
    """The same for small, medium and large objects; none where the results do not tell sizes apart."""
    first, sets = _judged(members)
    sizes = [size for size in sets[0].get("sizes", {}) if all("sizes" in one for one in sets)] if sets else []
    tables = {size: [one["sizes"][size] for one in sets] for size in sizes}
    return [_figure(f"size-{size}", f"{size} objects", own, first) for size, own in tables.items()]


def calibration(members: Sequence[Result]) -> list[Figure]:
    """How many labels of a score are right, of all classes, the sets together; none where that was not measured."""
    sets = [found(one, "calibration", "all") for one in _judged(members)[1]]
    known = [one for one in sets if one and any(one["count"])]
    if not known:
        return []
    points = []
    for bins in zip(
        *(zip(one["count"], one["mean_score"], one["precision"], strict=True) for one in known), strict=True
    ):
        count = sum(n for n, _, _ in bins)
        if count:
            score, right = (sum(one[0] * one[k] for one in bins if one[0]) / count for k in (1, 2))
            points.append((score, right))
    lines = [Line("ideal", [(0, 0), (1, 1)], "ideal"), Line("labels that are right", points, "precision dotted")]
    label = "share of pseudo labels that are right over their score"
    error = mean(one.get("error") for one in known)
    note = "" if error is None else f"off by {percent(error)}"
    return [Figure("calibration", "right, by score", note, line_chart(lines, label=label, x=(0, 1), y=(0, 1)))]


def _judged(members: Sequence[Result]) -> tuple[Quality, list[dict[str, Any]]]:
    """The first label_quality.json of the comparison, and the numbers of all by what tells how good labels are."""
    sets = [one.quality for one in labelings(members)]
    by = source(sets)
    return sets[0], [] if by is None else [judged(one, by) for one in sets]


def _figure(key: str, name: str, tables: Sequence[dict[str, Any]], quality: Quality) -> Figure:
    grid, at = quality["thresholds"], quality["thresholds"].index(quality["headline_threshold"])
    lines, notes = [], []
    for kind in ("recall", "precision"):
        if len(tables) > 1:
            lines += [Line(kind, list(zip(grid, t[kind], strict=True)), f"{kind} thin") for t in tables]
        means = [mean(t[kind][k] for t in tables) for k in range(len(grid))]
        lines.append(Line(kind, list(zip(grid, means, strict=True)), kind))
        notes.insert(0, f"{kind[0].upper()} {percent(means[at]) if means[at] is not None else DASH}")
    low, high = math.floor(10 * grid[0]) / 10, math.ceil(10 * grid[-1]) / 10
    label = f"precision and recall of pseudo labels over the score threshold, {name}"
    x = (low, high) if high > low else (low, low + 0.1)
    svg = line_chart(lines, label=label, x=x, y=(0, 1), marks=[quality["headline_threshold"]])
    return Figure(key, name, " \u00b7 ".join(notes), svg)
