"""Every chart that a report has gets, in Snakemake's own page, the caption of its kind."""

from __future__ import annotations

from types import SimpleNamespace

import jinja2
import pytest

from scantling.report.build import build
from tests.pipeline.small_project import ROOT
from tests.report import synthetic
from tests.report.conftest import PARAMS

BEGINNINGS = {
    "ap": "AP of the averaged weights",
    "gain": "Gain in AP over the baseline",
    "curve": "Training: mean over neighboring steps",
    "errors": "What AP50 would gain",
    "labels": "Pseudo labels against the hidden truth",
    "size": "Pseudo labels against the hidden truth",
    "calibration": "How many pseudo labels of a score are right",
}


@pytest.fixture(scope="module")
def charts(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    folder = tmp_path_factory.mktemp("captions")
    study = synthetic.study(folds=(1, 2), splits=("percent_10",))
    out = folder / "report"
    out.mkdir()
    build(study, synthetic.write(folder, study), PARAMS, out)
    return sorted(path.stem for path in (out / "figures").iterdir())


def test_captions_fit_their_charts(charts: list[str]) -> None:
    caption = jinja2.Template((ROOT / "workflow/report/figures.rst").read_text())
    seen = set()
    for chart in charts:
        kind = chart.removeprefix("shapes-percent_10-small-quick-").split("-")[0]
        text = caption.render(snakemake=SimpleNamespace(wildcards={"chart": chart})).strip()
        assert text.startswith(BEGINNINGS[kind]), chart
        seen.add(kind)
    assert seen == set(BEGINNINGS)
