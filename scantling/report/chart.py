"""Small charts as SVG text. Colors come from the page's style sheet by class, so they follow light and dark."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

Point = tuple[float, float | None]
DIGIT = 6.4  # SVG units, the widest of the ticks' digits in the fonts of the page


@dataclass(frozen=True)
class Line:
    """points (x, y), y None = a gap; style = classes of the style sheet, e.g. "m1 thin"."""

    name: str
    points: Sequence[Point]
    style: str


@dataclass(frozen=True)
class Dots:
    """A row of a dot chart: single values, their mean and an interval (low, high) or None. Without a mean a heading."""

    name: str
    values: Sequence[float]
    mean: float | None
    width: tuple[float, float] | None
    style: str


@dataclass(frozen=True)
class Bar:
    """One bar of a group: name (said on touch), value and style."""

    name: str
    value: float
    style: str


@dataclass(frozen=True)
class Frame:
    """Where the data lie in the drawing: ranges of x and y, outer size and margins in SVG units."""

    x: tuple[float, float]
    y: tuple[float, float]
    width: float = 260
    height: float = 150
    left: float = 34
    right: float = 14
    top: float = 8
    bottom: float = 22

    def at(self, x: float, y: float) -> tuple[float, float]:
        across, up = _share(x, self.x), _share(y, self.y)
        return (
            self.left + across * (self.width - self.left - self.right),
            self.height - self.bottom - up * (self.height - self.top - self.bottom),
        )


def line_chart(
    lines: Sequence[Line], *, label: str, x: tuple[float, float], y: tuple[float, float], marks: Sequence[float] = ()
) -> str:
    """Lines over x with three or four ticks a side; `marks` are vertical lines; `label` says it to screen readers."""
    longest = max(len(_tick(value)) for value in ticks(*y, 3))
    frame = Frame(x, y, left=max(34, 9 + DIGIT * longest))
    body = [_grid(frame, ticks(*x, 4), ticks(*y, 3))]
    for mark in marks:
        (px, bottom), top = frame.at(mark, y[0]), frame.at(mark, y[1])[1]
        body.append(f'<path class="mark" d="M{_n(px)} {_n(bottom)}V{_n(top)}"/>')
    for line in lines:
        shown = f"<title>{escape(line.name)}</title>"
        body.append(f'<path class="line {line.style}" d="{_path(frame, line.points)}">{shown}</path>')
    return _svg(frame, label, body)


def dot_chart(
    rows: Sequence[Dots], *, label: str, x: tuple[float, float], left: float = 118, marks: Sequence[float] = ()
) -> str:
    """One row a name: every value a dot, the mean a bar across, the interval a line. `left` is room for names;
    `marks` are vertical lines."""
    step = 26
    frame = Frame(x, (0, len(rows)), width=400, height=step * len(rows) + 34, left=left, right=14, top=6, bottom=28)
    body = [_grid(frame, ticks(*x, 5), [])]
    for mark in marks:
        (px, bottom), top = frame.at(mark, 0), frame.at(mark, len(rows))[1]
        body.append(f'<path class="zero" d="M{_n(px)} {_n(bottom)}V{_n(top)}"/>')
    for number, row in enumerate(rows):
        level = len(rows) - number - 0.5
        py = frame.at(x[0], level)[1]
        if row.mean is None:
            body.append(f'<text class="heading" x="4" y="{_n(py + 4)}">{escape(row.name)}</text>')
            continue
        where = f'x="{left - 10:g}" y="{_n(py + 4)}" text-anchor="end"'
        body.append(f'<text class="name" {where}>{escape(row.name)}</text>')
        if row.width is not None:
            low, high = (frame.at(min(max(v, x[0]), x[1]), level)[0] for v in row.width)
            body.append(f'<path class="span {row.style}" d="M{_n(low)} {_n(py)}H{_n(high)}"/>')
        for value in row.values:
            body.append(
                f'<circle class="dot {row.style}" cx="{_n(frame.at(value, level)[0])}" cy="{_n(py)}" r="3.6">'
                f"<title>{escape(row.name)}: {value:.1f}</title></circle>"
            )
        px = frame.at(row.mean, level)[0]
        body.append(f'<path class="mean {row.style}" d="M{_n(px)} {_n(py - 8)}V{_n(py + 8)}"/>')
    return _svg(frame, label, body)


def bar_chart(rows: Sequence[tuple[str, Sequence[Bar]]], *, label: str, left: float = 118) -> str:
    """Lying bars from zero, a group for each (name, bars); the value is written behind each bar."""
    thick, gap = 11, 9
    height = sum(thick * len(bars) + gap for _, bars in rows)
    values = [bar.value for _, bars in rows for bar in bars]
    x = (min(0.0, *values), max(0.0, *values) or 1.0)
    frame = Frame(x, (0, height), width=520, height=height + 34, left=left, right=44, top=6, bottom=28)
    body, py = [_grid(frame, ticks(*x, 5), [])], frame.top
    for name, bars in rows:
        middle = py + thick * len(bars) / 2 + 4
        body.append(f'<text class="name" x="{left - 10:g}" y="{_n(middle)}" text-anchor="end">{escape(name)}</text>')
        for bar in bars:
            start, end = sorted((frame.at(0, 0)[0], frame.at(bar.value, 0)[0]))
            body.append(
                f'<rect class="bar {bar.style}" x="{_n(start)}" y="{_n(py)}" width="{_n(max(end - start, 0.8))}" '
                f'height="{thick - 2}"><title>{escape(bar.name)}: {bar.value:.1f}</title></rect>'
                f'<text x="{_n(end + 4)}" y="{_n(py + 8)}">{bar.value:.1f}</text>'
            )
            py += thick
        py += gap
    return _svg(frame, label, body)


def ticks(low: float, high: float, about: int) -> list[float]:
    """Round numbers between low and high, roughly `about` of them, steps of 1, 2 or 5 times a power of ten."""
    if not high > low:
        return [low]
    power = 10.0 ** math.floor(math.log10((high - low) / about))
    step = min((power * m for m in (1, 2, 5, 10)), key=lambda size: abs((high - low) / size - about))
    first = math.ceil(low / step - 1e-9)
    return [round(k * step, 12) for k in range(first, math.floor(high / step + 1e-9) + 1)]


def extent(values: Sequence[float], *, zero: bool = False) -> tuple[float, float]:
    """A range that holds all values with a little air; from 0 if `zero`. Never empty."""
    low, high = (min(values), max(values)) if values else (0.0, 1.0)
    low = min(low, 0.0) if zero else low
    air = 0.05 * (high - low) or abs(high) * 0.1 or 1.0
    return (low if zero and low == 0 else low - air, high + air)


def _grid(frame: Frame, xs: Sequence[float], ys: Sequence[float]) -> str:
    (left, bottom), (right, top) = frame.at(frame.x[0], frame.y[0]), frame.at(frame.x[1], frame.y[1])
    parts = []
    for value in ys:
        py = frame.at(frame.x[0], value)[1]
        parts.append(f'<path class="grid" d="M{_n(left)} {_n(py)}H{_n(right)}"/>')
        parts.append(f'<text x="{_n(left - 5)}" y="{_n(py + 3.5)}" text-anchor="end">{_tick(value)}</text>')
    for value in xs:
        px = frame.at(value, frame.y[0])[0]
        if not ys:
            parts.append(f'<path class="grid" d="M{_n(px)} {_n(bottom)}V{_n(top)}"/>')
        parts.append(f'<text x="{_n(px)}" y="{_n(bottom + 14)}" text-anchor="middle">{_tick(value)}</text>')
    parts.append(f'<path class="axis" d="M{_n(left)} {_n(bottom)}H{_n(right)}"/>')
    return "".join(parts)


def _path(frame: Frame, points: Sequence[Point]) -> str:
    """Moves and lines; a single point between gaps becomes a short dash, so that it can be seen."""
    parts, pen = [], False
    for number, (x, y) in enumerate(points):
        if y is None:
            pen = False
            continue
        px, py = frame.at(x, y)
        parts.append(f"{'L' if pen else 'M'}{_n(px)} {_n(py)}")
        alone = not pen and (number + 1 == len(points) or points[number + 1][1] is None)
        parts.append("h1.5" if alone else "")
        pen = True
    return "".join(parts)


def _svg(frame: Frame, label: str, body: Sequence[str]) -> str:
    size = f"{frame.width:g} {frame.height:g}"
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" class="chart" viewBox="0 0 {size}" role="img" '
        f'aria-label="{escape(label)}">{"".join(body)}</svg>'
    )


def _share(value: float, limits: tuple[float, float]) -> float:
    return (value - limits[0]) / ((limits[1] - limits[0]) or 1.0)


def _n(value: float) -> str:
    return f"{value:.1f}".rstrip("0").rstrip(".")


def _tick(value: float) -> str:
    return f"{value:,.0f}".replace(",", "\u2009") if abs(value) >= 1000 else f"{value:g}".replace("-", "\u2212")
