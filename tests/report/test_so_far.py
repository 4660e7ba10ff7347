"""A report while the study still runs: of what is finished, and nothing else."""

import json
import shutil

import pytest
import yaml

from scantling.report import so_far
from scantling.report.results import stage_keys


@pytest.fixture
def running(made, tmp_path):
    """The made study without the evaluation of one run and the retraining of another."""
    results = tmp_path / "results"
    shutil.copytree(made.results, results)
    first, second, *others = made.study.runs.values()
    shutil.rmtree(results / "evaluate" / stage_keys(first)["evaluate"])
    shutil.rmtree(results / "retrain" / stage_keys(second)["retrain"])
    table = tmp_path / "experiments.yaml"
    table.write_text(yaml.safe_dump({"report": made.study.resolved()}))
    params = tmp_path / "report.yaml"
    params.write_text(yaml.safe_dump(made.params.resolved()))
    return results, ["--study", f"{table}:report", "--results", str(results), "--params", str(params)], others


def test_finished_runs_alone(running, tmp_path):
    _, arguments, others = running
    out = tmp_path / "page"
    for _ in range(2):  # a second report takes the place of the first
        so_far.main([*arguments, "--out", str(out)])
    facts = json.loads((out / "summary.json").read_text())
    assert {run["key"] for run in facts["runs"]} == {run.key for run in others}
    assert facts["title"].endswith(f"({len(others)} of {len(others) + 2} runs)")
    assert (out / "index.html").is_file() and sorted(p.name for p in tmp_path.glob(".page*")) == []


def test_what_cannot_be_said(running, tmp_path):
    results, arguments, _ = running
    other = tmp_path / "photos"
    other.mkdir()
    (other / "a.jpg").touch()
    with pytest.raises(SystemExit, match="photos: holds other files than a report"):
        so_far.main([*arguments, "--out", str(other)])
    assert (other / "a.jpg").is_file()
    shutil.rmtree(results / "evaluate")
    with pytest.raises(SystemExit, match="no run of study toy is finished yet"):
        so_far.main([*arguments, "--out", str(tmp_path / "page")])
