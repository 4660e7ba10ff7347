"""The report as one HTML file: style, charts, numbers and a short script inside it, the photos in files beside it."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib import resources
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from scantling.report import errors, sheet, words
from scantling.report.figures import Figure
from scantling.report.results import Result, stage_keys
from scantling.report.sheet import Sheet

FILTERS = (
    words.points, words.signed, words.percent, words.number, words.width, words.duration, words.among, words.open_,
    words.side,
)  # fmt: skip


@dataclass(frozen=True)
class Chapter:
    """What the page shows of one group of runs, beside its numbers in the summary."""

    key: str
    styles: Mapping[str, str]  # method -> class of its color
    scores: Sequence[Figure]
    labels: Sequence[Figure] = ()
    class_charts: int = 0  # of `labels`, those of single classes
    training: Sequence[Figure] = ()
    sheet: Sheet | None = None
    errors: Sequence[Figure] = ()
    left_out: int = 0  # images that the bounds of the report had no room for

    def figures(self) -> dict[str, str]:
        """File name -> SVG text of every chart, each complete in itself."""
        drawn = (*self.scores, *self.labels, *self.training, *self.errors)
        return {f"{self.key}-{figure.name}.svg": figure.svg for figure in drawn}


def render(
    summary: dict[str, Any],
    chapters: Sequence[Chapter],
    results: Sequence[Result],
    class_rows: int,
) -> str:
    """index.html. `chapters` go with the groups of the summary, one each in order."""
    environment = Environment(
        loader=PackageLoader("scantling.report", "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    for function in FILTERS:
        environment.filters[function.__name__.rstrip("_")] = function
    records = _records(results)
    sheets = [chapter.sheet for chapter in chapters if chapter.sheet and any(chapter.sheet.panels.values())]
    return environment.get_template("page.html").render(
        summary=summary,
        chapters=list(zip(summary["groups"], chapters, strict=True)),
        records=records,
        known={record["id"] for record in records},
        stages={result.run.key: {s: f"{s}-{key}" for s, key in stage_keys(result.run).items()} for result in results},
        class_rows=class_rows,
        kinds=_kinds(sheets),
        first_sheet=sheets[0] if sheets else None,
        error_types=errors.TYPES,
        css=Markup(_text("style.css") + _text("drawing.css")),
        script=Markup(_text("script.js")),
        picture=lambda panel: Markup(sheet.picture(panel)),
        verdict=words.verdict,
    )


def _kinds(sheets: Sequence[Sheet]) -> dict[str, str]:
    """The kinds of boxes that the images show: without any truth only those of a machine."""
    known = any(one.known for one in sheets)
    return {kind: text for kind, text in sheet.KINDS.items() if known or kind in ("rejected", "used")}


def standalone(svg: str) -> str:
    """A drawing with its style, for a file of its own."""
    head, _, rest = svg.partition(">")
    return f"{head}><style>{_text('drawing.css')}</style>{rest}\n"


def _records(results: Sequence[Result]) -> list[dict[str, str]]:
    """Every stage of every run once: where it lies and the resolved parameters it ran with."""
    found: dict[str, dict[str, str]] = {}
    for result in results:
        for stage, key in stage_keys(result.run).items():
            provenance = result.provenance.get(stage)
            if provenance is not None:
                params = json.dumps(provenance.get("params", {}), indent=1, ensure_ascii=False)
                record = {"id": f"{stage}-{key}", "stage": stage, "key": key, "params": params}
                found.setdefault(f"{stage}/{key}", record)
    order = list(stage_keys(results[0].run))
    return sorted(found.values(), key=lambda record: order.index(record["stage"]))


def _text(name: str) -> str:
    return (resources.files("scantling.report") / name).read_text(encoding="utf-8")
