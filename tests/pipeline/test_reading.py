"""DVC's own ways of looking at results work on what the pipeline declares: metrics, plots, experiments."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from tests.pipeline.toy_project import Toy


@pytest.fixture(scope="module")
def toy(tmp_path_factory: pytest.TempPathFactory) -> Toy:
    toy = Toy.create(tmp_path_factory.mktemp("reading") / "toy")
    toy.run("dvc")
    toy.commit("results")
    return toy


def test_numbers_are_in_git_and_artefacts_are_not(toy: Toy) -> None:
    kept = toy.git("ls-files").split()
    assert {p for p in kept if p.startswith(("results/", "data/"))} == {
        "results/evaluate/toy-a/metrics.json",
        "results/evaluate/toy-b/metrics.json",
    }
    assert not {"work/ran.txt", ".pipeline/dag.json"} & set(kept)
    assert not [p for p in kept if p.startswith("results/") and p.endswith(".gitignore")]


def test_metrics_show_and_diff(toy: Toy) -> None:
    shown = json.loads(toy.dvc("metrics", "show", "--json"))[""]["data"]
    first = shown["results/evaluate/toy-a/metrics.json"]["data"]["AP"]
    toy.set("evaluate", threshold=1.0)
    toy.run("snakemake")
    change = json.loads(toy.dvc("metrics", "diff", "--json"))["results/evaluate/toy-a/metrics.json"]["AP"]
    assert change["old"] == first and change["new"] == pytest.approx(2 * first)
    toy.set("evaluate", threshold=0.5)
    assert toy.run("dvc") == set()


def test_plots_show(toy: Toy, tmp_path: Path) -> None:
    said = toy.dvc("plots", "show", "-o", str(tmp_path / "plots"))
    page = (tmp_path / "plots/index.html").read_text()
    assert "index.html" in said
    assert page.count("history.tsv") >= 2 and '"loss"' in page


def test_plots_diff(toy: Toy, tmp_path: Path) -> None:
    """The curves of two revisions in one page."""
    toy.set("training", a={"steps": 3})
    toy.run("dvc")
    toy.dvc("plots", "diff", "HEAD", "workspace", "-o", str(tmp_path / "plots"))
    page = (tmp_path / "plots/index.html").read_text()
    assert '"rev": "HEAD"' in page and '"rev": "workspace"' in page
    toy.set("training", a={"steps": 2})
    toy.run("dvc")


def test_report_of_snakemake_with_captions(toy: Toy, tmp_path: Path) -> None:
    """Tables and charts of the study are in it; a report stage that ran anew is copied anew."""
    toy.snakemake("pages")
    assert "Nothing to be done" in toy.snakemake("pages") and "Nothing to be done" in toy.snakemake()
    toy.snakemake("pages", "--report", str(tmp_path / "study.html"))
    page = (tmp_path / "study.html").read_text()
    for text in ("One row a run: COCO numbers", "AP of the averaged weights: a dot for each run", "Charts", "Tables"):
        assert text in page, text
    toy.set("evaluate", threshold=2.0)
    toy.snakemake("pages")
    copied = toy.read(".pipeline/pages/two/summary.csv")
    assert copied == toy.read("results/report/two/summary.csv")
    toy.set("evaluate", threshold=0.5)
    toy.snakemake("pages")
    assert copied != toy.read(".pipeline/pages/two/summary.csv") == toy.read("results/report/two/summary.csv")


def test_a_stage_that_was_run_by_hand_is_taken_over(toy: Toy) -> None:
    """As docs/reproduce.md trains on several GPUs: the engines start one process a stage."""
    toy.set("training", a={"rate": 3})
    options = "--index results/prepare/toy --training params/training.yaml:a --out results/retrain/toy-a"
    toy.call(sys.executable, "stages/retrain.py", *options.split())
    toy.dvc("commit", "-q", "-f", "retrain@toy-a")
    assert toy.run("snakemake") == {"evaluate@toy-a", "report@two"}
    toy.set("training", a={"rate": 1})
    assert toy.run("dvc") == set()


def test_an_experiment_with_a_changed_value(toy: Toy) -> None:
    toy.forget()
    toy.dvc("exp", "run", "-S", "params/evaluate.yaml:threshold=0.1", "-n", "low")
    assert toy.ran() == {"evaluate@toy-a", "evaluate@toy-b", "report@two"}
    assert "Nothing to be done" in toy.snakemake("-n")
    rows = toy.dvc("exp", "show", "--csv")
    assert "low" in rows and "0.1" in rows
    toy.git("checkout", "-q", ".")
    toy.dvc("checkout", "-q")
    assert toy.run("snakemake") == set()
    toy.dvc("exp", "apply", "low")
    assert "0.1" in toy.read("params/evaluate.yaml")
    assert toy.run("dvc") == set()


def test_a_stage_asked_for_by_name_runs_whatever_is_stale_before_it(toy: Toy) -> None:
    toy.run("dvc")
    toy.set("generate", scenes=4)
    toy.forget()
    toy.snakemake("evaluate@toy-a")
    assert toy.ran() == {"generate@toy", "prepare@toy", "retrain@toy-a", "evaluate@toy-a"}
