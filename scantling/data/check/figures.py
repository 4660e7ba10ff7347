"""Small figures of a data set as SVG text: how large boxes are, how many lie on an image, how classes are spread.

Colors come from the page's style by class, so they follow light and dark. Everything in them is a number or escaped.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

import numpy as np

from scantling.data.check.counts import COCO_AREAS, MOST_BOXES, SIDE_START, SIDE_STEPS, Counts

CURVES = 5  # subsets drawn; as many colors has the style
WIDTH, HEIGHT, LEFT, RIGHT, TOP, BOTTOM = 360, 190, 34, 14, 10, 34  # SVG units
MOST_POINTS = 240  # of a curve over the classes
PER_OCTAVE = 4  # bins of the box sizes
UNIT_BINS = 40  # boxes an image that have a bin each; with more, bins double


@dataclass(frozen=True)
class Figure:
    """`note` stands below the drawing; `legend`: name and class of every curve."""

    title: str
    note: str
    svg: str
    legend: tuple[tuple[str, str], ...] = ()


def figures(counts: Counts) -> list[Figure]:
    """Those that there is something to draw for; unlabeled images have no boxes to speak of."""
    shown = [s for s in np.argsort(-counts.images, kind="stable") if counts.boxes[s]][:CURVES]
    if not shown:
        return []
    names = [counts.subsets[s] for s in shown]
    made = [_sides(names, counts.sides[shown], counts.ranges[shown].sum(0)), _on_image(names, counts.on_image[shown])]
    return made + ([_classes(counts.classes.sum(0))] if counts.classes.shape[1] > 1 else [])


def _sides(names: Sequence[str], sides: np.ndarray, ranges: np.ndarray) -> Figure:
    """Share of boxes by the square root of their area."""
    bins = sides.reshape(len(sides), -1, SIDE_STEPS // PER_OCTAVE).sum(2)
    used = np.flatnonzero(bins.sum(0))
    first, last = used[0] // PER_OCTAVE * PER_OCTAVE, -(-(used[-1] + 1) // PER_OCTAVE) * PER_OCTAVE  # whole octaves
    octaves = range(SIDE_START + first // PER_OCTAVE, SIDE_START + last // PER_OCTAVE + 1)
    ticks = [((e - octaves[0]) * PER_OCTAVE, f"{2.0**e:g}") for e in octaves[:: 1 + len(octaves) // 9]]
    limits = [np.log2(area) / 2 for area in COCO_AREAS]
    marks = [(limit - octaves[0]) * PER_OCTAVE for limit in limits if octaves[0] < limit < octaves[-1]]
    small, medium, large = ranges / ranges.sum()
    note = f"{small:.0%} small, {medium:.0%} medium, {large:.0%} large by COCO's limits of 32 and 96 px (dotted)"
    svg = _steps(bins[:, first:last], ticks, "side of a square as large as the box, px", "box sizes", marks)
    return Figure("Box sizes", note, svg, _legend(names))


def _on_image(names: Sequence[str], on_image: np.ndarray) -> Figure:
    """Share of images by the number of boxes on them."""
    most = int(np.flatnonzero(on_image.sum(0))[-1])
    if most <= UNIT_BINS:
        bins, starts = on_image[:, : most + 1], list(range(most + 1))
        ticks = [(i + 0.5, str(i)) for i in starts[:: 1 + len(starts) // 12]]
    else:
        starts = [0, 1, *(2**k + 1 for k in range(12) if 2**k < most)]
        edges = np.array([*starts, MOST_BOXES])
        bins = np.stack([on_image[:, a:b].sum(1) for a, b in zip(edges[:-1], edges[1:], strict=True)], 1)
        ends = [b - 1 for b in starts[1:]] + [most]
        texts = [str(a) if a == b else f"{a}–{b}" for a, b in zip(starts, ends, strict=True)]
        ticks = [(i + 0.5, text) for i, text in enumerate(texts)][:: 1 + len(texts) // 11]
    total = on_image.sum()
    mean = (on_image.sum(0) * np.arange(MOST_BOXES)).sum() / total
    median = int(np.searchsorted(np.cumsum(on_image.sum(0)), total / 2))
    note = f"{mean:.1f} on average, half of the images have {median} or fewer, the most is {_number(most)}"
    return Figure("Boxes on an image", note, _steps(bins, ticks, "boxes", "boxes on an image"), _legend(names))


def _classes(total: np.ndarray) -> Figure:
    """Boxes of every class, most frequent first, over a logarithmic axis."""
    ordered = np.sort(total)[::-1]
    rows = np.unique(np.linspace(0, len(ordered) - 1, min(len(ordered), MOST_POINTS)).astype(int))
    top = max(np.ceil(np.log10(max(ordered[0], 2))), 1)
    height = HEIGHT - TOP - BOTTOM

    def at(row: int) -> tuple[float, float]:
        up = np.log10(ordered[row]) / top if ordered[row] else 0
        return LEFT + (row + 0.5) / len(ordered) * (WIDTH - LEFT - RIGHT), HEIGHT - BOTTOM - up * height

    body = [_grid([(power / top, _short(10**power)) for power in range(int(top) + 1)])]
    if len(ordered) <= 60:
        wide = min(0.7 * (WIDTH - LEFT - RIGHT) / len(ordered), 40)
        for x, y in map(at, rows):
            body.append(f'<rect class="bar" x="{x - wide / 2:.1f}" y="{y:.1f}" width="{wide:.1f}" '
                        f'height="{max(HEIGHT - BOTTOM - y, 0.5):.1f}"/>')  # fmt: skip
    else:
        line = " ".join(f"{x:.1f},{y:.1f}" for x, y in map(at, rows))
        body.append(f'<polyline class="curve s0" points="{line}"/>')
    body.append(_below("classes, most frequent first"))
    rare, never = int((total < 10).sum()), int((total == 0).sum())
    note = f"the most frequent has {_number(int(ordered[0]))} boxes, the median {_number(int(np.median(total)))}"
    note += f"; {rare} of {len(total)} have fewer than 10" + (f", {never} none" if never else "")
    return Figure("Boxes of a class", note, _svg(body, "boxes of each class"))


def _steps(
    bins: np.ndarray, ticks: Sequence[tuple[float, str]], below: str, label: str, marks: Sequence[float] = ()
) -> str:
    """One outline a row of `bins` (S, B): each row's share in its bins. Ticks and marks in bins from the left."""
    share = bins / np.maximum(bins.sum(1, keepdims=True), 1)
    top = share.max() * 1.05 or 1
    per_bin = (WIDTH - LEFT - RIGHT) / bins.shape[1]
    step = next(s for s in (0.01, 0.02, 0.05, 0.1, 0.2, 0.25, 0.5) if top / s <= 5)
    body = [_grid([(i * step / top, f"{i * step:.0%}") for i in range(int(top / step) + 1)])]
    for x in marks:
        body.append(f'<path class="mark" d="M{LEFT + x * per_bin:.1f} {TOP}V{HEIGHT - BOTTOM}"/>')
    for s, row in enumerate(share):
        heights = [HEIGHT - BOTTOM - v / top * (HEIGHT - TOP - BOTTOM) for v in row]
        line = f"M{LEFT} {HEIGHT - BOTTOM}" + "".join(
            f"V{y:.1f}H{LEFT + (i + 1) * per_bin:.1f}" for i, y in enumerate(heights)
        )
        fill = f'<path class="fill s{s}" d="{line}V{HEIGHT - BOTTOM}Z"/>' if s == 0 else ""
        body.append(f'{fill}<path class="curve s{s}" d="{line}V{HEIGHT - BOTTOM}"/>')
    for x, text in ticks:
        body.append(f'<text x="{LEFT + x * per_bin:.1f}" y="{HEIGHT - BOTTOM + 13}" text-anchor="middle">{text}</text>')
    body.append(_below(below))
    return _svg(body, label)


def _grid(levels: Sequence[tuple[float, str]]) -> str:
    """Horizontal lines at shares of the height, with their texts."""
    made = []
    for share, text in levels:
        y = HEIGHT - BOTTOM - share * (HEIGHT - TOP - BOTTOM)
        made.append(f'<path class="grid" d="M{LEFT} {y:.1f}H{WIDTH - RIGHT}"/>')
        made.append(f'<text x="{LEFT - 5}" y="{y + 3.5:.1f}" text-anchor="end">{text}</text>')
    return "".join(made)


def _below(text: str) -> str:
    return f'<text x="{(LEFT + WIDTH - RIGHT) / 2:.0f}" y="{HEIGHT - 5}" text-anchor="middle">{escape(text)}</text>'


def _svg(body: Sequence[str], label: str) -> str:
    head = f'<svg class="chart" viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{escape(label)}">'
    return f"{head}{''.join(body)}</svg>"


def _legend(names: Sequence[str]) -> tuple[tuple[str, str], ...]:
    return tuple((name, f"s{s}") for s, name in enumerate(names)) if len(names) > 1 else ()


def _number(value: int) -> str:
    return f"{value:,}" if value < MOST_BOXES - 1 or value >= MOST_BOXES else f"{value:,} or more"


def _short(value: int) -> str:
    return f"{value // 10**6}M" if value >= 10**6 else f"{value // 1000}k" if value >= 1000 else str(value)
