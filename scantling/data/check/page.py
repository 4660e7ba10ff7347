"""check.html: what is in a data set and what was noticed, on one page without script, font or any other file."""

from __future__ import annotations

import functools
import re
from collections.abc import Sequence
from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np
from jinja2 import Environment, StrictUndefined, Template
from markupsafe import Markup, escape

from scantling.data.check import counts as counting
from scantling.data.check.boxes import place
from scantling.data.check.counts import Counts
from scantling.data.check.drawing import COLORS, Drawing, draw
from scantling.data.check.figures import figures
from scantling.data.index import Index
from scantling.data.problems import KINDS, LEVELS, Findings, Problem, one_line

DRAWN_IMAGES = 12
SHOWN_CLASSES = 200  # rows; 20 are open, the rest is folded away
SHOWN_SUBSETS = 12
NAME_LENGTH = 80  # characters of a class or subset


def write(index: Index, problems: Findings, file: Path) -> None:
    """The page of an index with its boxes; its size does not grow with that of the data set."""
    assert index.boxes is not None, "the page shows boxes"
    at = place(index.boxes, index.images.image_id)
    counts = counting.count(index.images, index.boxes, at, len(index.classes))
    text = _template().render(
        name=one_line(index.name),
        format=index.facts["source"]["format"],
        root=one_line(index.root),
        verdict=_verdict(len(index.images), problems),
        tiles=_tiles(index, counts),
        problems=[_row(p) for level in LEVELS for p in problems if p.level == level],
        levels=LEVELS,
        looked=bool(index.images.bytes.any()),
        subsets=_subsets(index, counts),
        figures=figures(counts),
        svg=Markup,
        drawings=_drawings(index, at),
        key=_key(index.classes),
        **_classes(index.classes, counts),
    )
    file.write_text(text, encoding="utf-8")


@functools.cache
def _template() -> Template:
    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    environment.filters["number"] = lambda n: f"{n:,}"
    environment.filters["sentence"] = _sentence
    return environment.from_string((resources.files("scantling.data.check") / "page.html").read_text(encoding="utf-8"))


def _sentence(text: str) -> Markup:
    """A text that begins with a capital; what stands in backticks is code."""
    return Markup(re.sub("`([^`]+)`", r"<code>\1</code>", str(escape(text[:1].upper() + text[1:]))))


def _verdict(images: int, problems: Findings) -> tuple[str, str]:
    """Level and sentence for the top of the page."""
    if problems.errors:
        kinds = len(problems.errors)
        what = "one kind of problem" if kinds == 1 else f"{kinds} kinds of problems"
        return "error", f"This data set is refused for {what}. What is shown below them is what would remain of it."
    if not images:
        return "repair", "There is no image in it."
    repaired = sum(p.count for p in problems if p.level == "repair")
    if repaired:
        return "repair", f"Usable: {repaired:,} {'repair was' if repaired == 1 else 'repairs were'} needed."
    return "note", "Usable: nothing had to be repaired."


def _tiles(index: Index, counts: Counts) -> list[tuple[str, str]]:
    images, boxes = int(counts.images.sum()), int(counts.boxes.sum())
    unlabeled = [s for s, name in enumerate(counts.subsets) if name == "unlabeled"]
    labeled = images - int(counts.images[unlabeled].sum())
    tiles = [
        (f"{images:,}", "image" if images == 1 else "images"),
        (f"{boxes:,}", "box" if boxes == 1 else "boxes"),
        (f"{len(index.classes):,}", "class" if len(index.classes) == 1 else "classes"),
        (f"{boxes / max(labeled, 1):.1f}", "boxes on a labeled image"),
    ]
    if labeled < images:
        tiles.append((f"{images - labeled:,}", "unlabeled images"))
    if index.image_labels is not None and len(index.image_labels):
        tiles.append((f"{len(index.image_labels):,}", "statements on classes of whole images"))
    if size := int(index.images.bytes.sum()):
        tiles.append((_bytes(size), "of image files"))
    return tiles


def _row(problem: Problem) -> dict[str, Any]:
    """What the page says of a problem, with the line that would change what happens."""
    other = "repair" if problem.level == "error" else "error"
    rule = KINDS[problem.kind].repair
    otherwise = {"repair": f"To have it repaired ({rule})", "error": "To refuse it"}[other]
    return {
        "level": problem.level,
        "count": problem.count,
        "title": problem.title,
        "what": problem.what,
        "otherwise": otherwise if other == "error" or rule else "",
        "line": f"problems: {{{problem.kind}: {other}}}",
        "examples": [e for e in problem.examples if e],
    }


def _subsets(index: Index, counts: Counts) -> list[list[str]]:
    rows = []
    for s, subset in enumerate(counts.subsets[:SHOWN_SUBSETS]):
        images, boxes = int(counts.images[s]), int(counts.boxes[s])
        size = index.images.loc[index.images.subset == subset, ["width", "height"]].median()
        sides = [f"{counts.side_quantile(s, share):.0f}" for share in (0.1, 0.5, 0.9)]
        rows.append(
            [
                one_line(subset, NAME_LENGTH),
                f"{images:,}",
                f"{boxes:,}",
                f"{boxes / max(images, 1):.1f}",
                f"{int(counts.on_image[s, 0]):,}",
                f"{int(counts.crowd[s]):,}",
                f"{size.width:.0f} × {size.height:.0f}",
                " / ".join(sides) if boxes else "",
            ]
        )
    return rows


def _classes(classes: Sequence[str], counts: Counts) -> dict[str, Any]:
    """Boxes per class, most frequent first, for the subsets that have boxes."""
    shown = [s for s in range(len(counts.subsets)) if counts.boxes[s]][:SHOWN_SUBSETS]
    total = counts.classes.sum(0)
    most = max(int(total.max(initial=0)), 1)
    order = np.argsort(-total, kind="stable")[:SHOWN_CLASSES]
    return {
        "class_subsets": [one_line(counts.subsets[s], NAME_LENGTH) for s in shown],
        "classes": [
            {
                "name": one_line(classes[c], NAME_LENGTH),
                "counts": [int(counts.classes[s, c]) for s in shown],
                "share": f"{100 * total[c] / most:.1f}",
            }
            for c in order
        ],
        "more_classes": len(classes) - len(order),
    }


def _drawings(index: Index, at: np.ndarray) -> list[Drawing]:
    """Images at even distances, with their boxes."""
    assert index.boxes is not None
    count = min(DRAWN_IMAGES, len(index.images))
    rows = np.linspace(0, len(index.images) - 1, count).astype(int)
    near = np.flatnonzero(np.isin(at, rows))
    boxes, of = index.boxes.iloc[near], at[near]
    return [draw(index.root, index.images.iloc[row], boxes[of == row], index.classes) for row in rows]


def _key(classes: Sequence[str]) -> list[tuple[str, str]]:
    """Colors of the classes; with more of them than colors the boxes carry names."""
    return [(one_line(c, NAME_LENGTH), COLORS[i]) for i, c in enumerate(classes)] if len(classes) <= len(COLORS) else []


def _bytes(size: int) -> str:
    for unit, factor in (("GB", 1e9), ("MB", 1e6)):
        if size >= factor:
            return f"{size / factor:.3g} {unit}"
    return f"{size / 1e3:.3g} kB"
