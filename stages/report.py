"""Compare the runs of a study on one page that opens without a network.

reads   results/*/ of every run of the study
writes  index.html   the page; needs no file but those in images/
        summary.json, summary.csv   the same facts for machines
        tables.md    the tables of the study as Markdown, for a document of results
        classes.csv  AP and gain of every class
        images/      the photos of the page, bounded in number and bytes
        figures/     every chart as an SVG file of its own
"""

from __future__ import annotations

from pathlib import Path

from scantling.report.build import build
from scantling.report.params import ReportParams
from scantling.report.study import StudyParams
from scantling.stage import run


def report(study: StudyParams, results: Path, params: ReportParams, out: Path) -> None:
    build(study, results, params, out)


if __name__ == "__main__":
    run(report)
