"""A study whose results were written without training, and the report made of it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import pytest

from scantling.report.build import build
from scantling.report.params import ReportParams
from scantling.report.study import StudyParams
from tests.report import synthetic

PARAMS = ReportParams.load(Path(__file__).parents[2] / "params" / "report.yaml")


@dataclass(frozen=True)
class Made:
    study: StudyParams
    results: Path
    params: ReportParams
    out: Path


@pytest.fixture(scope="session")
def made(tmp_path_factory: pytest.TempPathFactory) -> Made:
    folder = tmp_path_factory.mktemp("study")
    study = synthetic.study()
    results = synthetic.write(folder, study)
    out = results / "report" / study.name
    out.mkdir(parents=True)
    build(study, results, PARAMS, out)
    return Made(study, results, PARAMS, out)
