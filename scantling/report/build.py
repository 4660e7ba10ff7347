"""From results/ to everything the report stage writes."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from scantling.data import index as indexes
from scantling.data import split as splits
from scantling.report import classes, errors, figures, label_figures, page, results, sheet, summary, tables
from scantling.report.page import Chapter
from scantling.report.params import ReportParams
from scantling.report.photos import FOLDER, Album
from scantling.report.results import Result
from scantling.report.study import StudyParams

COLORS = 7  # --m1 to --m7 in drawing.css; more methods than that repeat them; --m0 is the baseline's


def build(study: StudyParams, folder: Path, params: ReportParams, out: Path) -> None:
    """Write the page, its images and charts, the summaries and tables into `out` from the finished runs under
    `folder`."""
    found = results.load(folder, study)
    facts = summary.summarize(study, found, params.baseline, params.confusion_classes)
    colors = _colors(facts["groups"])
    album = Album(params.photos)
    chapters = [
        _chapter(facts, group, members, folder, params, colors | {group["baseline"]: "m0"}, album)
        for group, members in zip(facts["groups"], summary.groups(found), strict=True)
    ]

    (out / "index.html").write_text(page.render(facts, chapters, found, params.class_rows), encoding="utf-8")
    (out / "summary.json").write_text(json.dumps(facts, indent=1))
    summary.table(facts).to_csv(out / "summary.csv", index=False)
    classes.table(facts["groups"]).to_csv(out / "classes.csv", index=False)
    (out / "tables.md").write_text(tables.markdown(facts, params.class_rows), encoding="utf-8")
    for name in (FOLDER, "figures"):
        (out / name).mkdir()
    for name, content in album.files():
        (out / FOLDER / name).write_bytes(content)
    for chapter in chapters:
        for name, svg in chapter.figures().items():
            (out / "figures" / name).write_text(page.standalone(svg), encoding="utf-8")


def _colors(groups: Sequence[dict[str, Any]]) -> dict[str, str]:
    """Method -> class of its color, the same in all groups, for those that are not the baseline everywhere."""
    names = dict.fromkeys(m["method"] for group in groups for m in group["methods"] if m["method"] != group["baseline"])
    return {name: f"m{1 + k % COLORS}" for k, name in enumerate(names)}


def _chapter(
    facts: dict[str, Any],
    group: dict[str, Any],
    members: Sequence[Result],
    folder: Path,
    params: ReportParams,
    styles: dict[str, str],
    album: Album,
) -> Chapter:
    names = [method["method"] for method in group["methods"]]
    gains = figures.gains(group, facts["runs"], styles)
    by_class = label_figures.by_class(members, params.class_charts)
    before = album.left_out
    shown = _sheet(members, names, folder, params, album) if params.sheet.images else None
    return Chapter(
        key="-".join(members[0].run.group),
        styles=styles,
        scores=[figures.scores(group, members, styles), *([gains] if gains else [])],
        labels=[*by_class, *label_figures.by_size(members), *label_figures.calibration(members)],
        class_charts=max(len(by_class) - 1, 0),
        training=figures.training(members, names, styles, params.curve_points),
        sheet=shown,
        errors=[errors.figure(group["errors"], styles)] if group["errors"] else [],
        left_out=album.left_out - before,
    )


def _sheet(
    members: Sequence[Result], names: Sequence[str], folder: Path, params: ReportParams, album: Album
) -> sheet.Sheet:
    """Images of the group's first fold and seed, under every method that learns from pseudo labels."""
    first = members[0].run
    quality = members[0].quality
    same = {r.run.method: r.run for r in members if r.run.burn_in_key == first.burn_in_key}
    learning = [name for name in names if name in same and name not in params.baseline] or list(same)
    return sheet.make(
        indexes.load(folder / "prepare" / first.data, truth=True),
        splits.load(folder / "split" / first.split_key),
        {name: folder / "polish" / same[name].key / "refined.parquet" for name in learning},
        album,
        params.sheet,
        floor=quality["headline_threshold"],
        iou_threshold=quality["iou_threshold"],
    )
