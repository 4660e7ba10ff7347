"""The report of a study that is still running, of its finished runs: python -m scantling.report.so_far --out FOLDER"""

from __future__ import annotations

import argparse
import shutil
import sys
from pathlib import Path

from scantling import log
from scantling.params import ParamsError
from scantling.report.build import build
from scantling.report.params import ReportParams
from scantling.report.results import TRAININGS, stage_keys
from scantling.report.study import Run, StudyParams
from scantling.stage import BadInput, publish

LAST = ("evaluate", "per_class.csv")  # of a run; a stage's outputs appear together


def finished(study: StudyParams, results: Path) -> StudyParams:
    """The study with the runs that have been evaluated and whose earlier outputs are there, their number in its title.
    BadInput if there is none."""
    runs = {key: run for key, run in study.runs.items() if _is_finished(run, results)}
    if not runs:
        raise BadInput(f"{results}: no run of study {study.name} is finished yet; wait for the first evaluate stage")
    if len(runs) == len(study.runs):
        return study
    return study.model_copy(update={"runs": runs, "title": f"{study.title} ({len(runs)} of {len(study.runs)} runs)"})


def _is_finished(run: Run, results: Path) -> bool:
    keys = stage_keys(run)
    needed = [LAST, *((stage, "history.tsv") for stage in TRAININGS), ("polish", "refined.parquet")]
    return all((results / stage / keys[stage] / name).is_file() for stage, name in needed)


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m scantling.report.so_far", description=__doc__)
    parser.add_argument("--study", default="params/experiments.yaml:report", help="FILE:SECTION (%(default)s)")
    parser.add_argument("--results", type=Path, default=Path("results"), help="folder of all stages (%(default)s)")
    parser.add_argument("--params", default="params/report.yaml", help="FILE (%(default)s)")
    parser.add_argument("--out", type=Path, required=True, help="folder to write; one of this command is replaced")
    given = parser.parse_args(argv)
    index = given.out / "index.html"
    if given.out.exists() and not index.is_file() and any(given.out.iterdir()):
        sys.exit(f"{given.out}: holds other files than a report; name another folder")
    try:
        study = finished(StudyParams.load(given.study), given.results)
        aside = given.out.with_name(f".{given.out.name}.new")
        shutil.rmtree(aside, ignore_errors=True)
        aside.mkdir(parents=True)
        build(study, given.results, ReportParams.load(given.params), aside)
    except (BadInput, ParamsError) as error:
        sys.exit(str(error))
    publish(aside, given.out)
    log.line(f"{index}: {study.title}")


if __name__ == "__main__":
    main()
