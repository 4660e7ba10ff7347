"""The report as one HTML file that needs nothing else: no script, no font, no address."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from importlib import resources
from typing import Any

from jinja2 import Environment, StrictUndefined
from markupsafe import Markup

from scantling.report import sheet, words
from scantling.report.figures import Figure
from scantling.report.results import Result, stage_keys
from scantling.report.sheet import Panel, Photo


@dataclass(frozen=True)
class Chapter:
    """What the page shows of one group of runs, beside its numbers in the summary."""

    key: str
    styles: Mapping[str, str]  # method -> class of its color
    scores: Figure
    labels: Sequence[Figure] = ()
    training: Sequence[Figure] = ()
    photos: Sequence[Photo] = ()
    panels: Mapping[str, Sequence[Panel]] = field(default_factory=dict)

    def figures(self) -> dict[str, str]:
        """File name -> SVG text of every drawing, each complete in itself."""
        charts = {f"{self.key}-{figure.name}.svg": figure.svg for figure in (self.scores, *self.labels, *self.training)}
        return charts | {
            f"{self.key}-{method}-image-{panel.photo.image_id}.svg": sheet.picture(panel, standalone=True)
            for method, panels in self.panels.items()
            for panel in panels
        }


def render(
    summary: dict[str, Any],
    chapters: Sequence[Chapter],
    results: Sequence[Result],
    class_rows: int,
) -> str:
    """index.html. `chapters` go with the groups of the summary, one each in order."""
    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    for function in (words.points, words.signed, words.percent, words.number, words.width, words.duration, words.among):
        environment.filters[function.__name__] = function
    return environment.from_string(_text("template.html")).render(
        summary=summary,
        chapters=list(zip(summary["groups"], chapters, strict=True)),
        photos={photo.name: photo for chapter in chapters for photo in chapter.photos}.values(),
        records=_records(results),
        class_rows=class_rows,
        kinds=sheet.KINDS,
        css=Markup(_text("style.css") + _text("drawing.css")),
        svg=Markup,
        picture=lambda panel: Markup(sheet.picture(panel)),
        verdict=words.verdict,
    )


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
                found.setdefault(f"{stage}/{key}", {"stage": stage, "key": key, "params": params})
    order = list(stage_keys(results[0].run))
    return sorted(found.values(), key=lambda record: order.index(record["stage"]))


def _text(name: str) -> str:
    return (resources.files("scantling.report") / name).read_text(encoding="utf-8")
