"""A second baseline, trained longer or with other views: the gains over it stand beside those over the first."""

import json
import shutil
from dataclasses import replace

import pytest

from scantling.report import other_baselines, results
from scantling.report.build import build
from scantling.report.results import stage_keys
from tests.report.synthetic import BASELINES


@pytest.fixture(scope="module")
def longer(made, tmp_path_factory):
    """The made study, and its baseline on the first split a second time as training `long`, a point of AP better."""
    copies = tmp_path_factory.mktemp("longer") / "results"
    shutil.copytree(made.results, copies)
    runs = dict(made.study.runs)
    for run in made.study.runs.values():
        if run.method != "supervised":
            continue
        other = run.model_copy(update={"training": "long"})
        for (stage, old), new in zip(stage_keys(run).items(), stage_keys(other).values(), strict=True):
            if new != old and not (copies / stage / new).exists():
                shutil.copytree(copies / stage / old, copies / stage / new)
        file = copies / "evaluate" / other.key / "metrics.json"
        metrics = json.loads(file.read_text())
        metrics["teacher"]["AP"] += 0.01
        file.write_text(json.dumps(metrics))
        runs[other.key] = other
    out = copies.parent / "report"
    out.mkdir()
    build(made.study.model_copy(update={"runs": runs}), copies, made.params, out)
    return out


def test_gains_over_it_are_paired(longer):
    groups = json.loads((longer / "summary.json").read_text())["groups"]
    first = groups[0]
    (other,) = first["other_baselines"]
    assert (other["training"], other["method"], len(other["runs"])) == ("long", "supervised", 3)
    (method,) = [m for m in first["methods"] if m["method"] == "soft"]
    own, gain = method["gain"]["teacher"]["AP"], other["gain"]["soft"]["AP"]
    assert gain["n"] == 3 and gain["mean"] == pytest.approx(own["mean"] - 0.01)
    assert gain["high"] - gain["low"] == pytest.approx(own["high"] - own["low"])
    assert [g["other_baselines"] for g in groups[1:]] == [[]] * (len(groups) - 1), "baselines alone have nothing to say"


def test_page_and_tables_have_them(longer):
    assert "`supervised` trained as `long` (" in (longer / "tables.md").read_text()
    assert "over supervised of long: " in (longer / "index.html").read_text()


def test_a_second_baseline_of_the_same_training(made):
    """`supervised` beside `supervised_two_views`, from which the gains are counted."""
    found = results.load(made.results, made.study)
    two = [r for r in found if r.run.split == "percent_10"]
    renamed = [
        replace(r, run=r.run.model_copy(update={"method": "supervised_two_views"}))
        for r in two
        if r.run.method == "supervised"
    ]
    both = [*two, *renamed]
    (other,) = other_baselines.compare(both, both, BASELINES, "supervised_two_views")
    assert (other["method"], list(other["gain"]), len(other["runs"])) == ("supervised", ["soft"], 3)
    assert other_baselines.compare(two, two, BASELINES, "supervised") == []
