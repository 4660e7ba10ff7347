import dataclasses
import json
import shutil
from pathlib import Path

import pandas as pd
import pytest

from scantling.params import read
from scantling.report import curves, results, summary
from scantling.report.study import Run, StudyParams
from scantling.stage import BadInput
from tests.report import synthetic
from tests.report.synthetic import BASELINES

EXPERIMENTS = Path(__file__).parents[2] / "params" / "experiments.yaml"


@pytest.fixture(scope="module")
def found(made):
    return results.load(made.results, made.study)


def test_keys():
    run = Run(data="coco", split="percent_1", fold=2, detector="r50", training="long", method="soft", seed=3)
    assert run.split_key == "coco-percent_1-f2"
    assert run.burn_in_key == "coco-percent_1-f2-r50-long-s3"
    assert run.key == "coco-percent_1-f2-r50-long-soft-s3"


def test_the_generated_study_can_be_reported():
    """params/experiments.yaml, written by workflow/study.py, names its folders as the report does."""
    table = read(EXPERIMENTS)
    study = StudyParams.load(f"{EXPERIMENTS}:report")
    assert list(study.runs) == list(table["runs"])
    for key, run in study.runs.items():
        row = table["runs"][key]
        assert (run.key, run.burn_in_key, run.split_key) == (key, row["burn_in"], row["split_key"])


def test_gain_is_paired_and_the_mean_is_of_the_pairs(made, found):
    facts = summary.summarize(made.study, found, BASELINES)
    runs = {run["key"]: run for run in facts["runs"]}
    for group, name in zip(facts["groups"], ("supervised", "supervised_two_views"), strict=True):
        base, other = group["methods"]
        assert base["method"] == group["baseline"] == name and base["gain"]["teacher"]["AP"] is None
        pairs = []
        for key in other["runs"]:
            partner = runs[key.replace(other["method"], name)]
            for role in ("student", "teacher"):
                assert runs[key]["gain"][role]["AP"] == pytest.approx(runs[key][role]["AP"] - partner[role]["AP"])
            pairs.append(runs[key]["gain"]["teacher"]["AP"])
        gain = other["gain"]["teacher"]["AP"]
        assert gain["mean"] == pytest.approx(sum(pairs) / 3) and gain["n"] == 3 and gain["kind"] == "t95"
        mean = sum(runs[key]["teacher"]["AP50"] for key in base["runs"]) / 3
        assert base["teacher"]["AP50"]["mean"] == pytest.approx(mean)


def test_no_gain_without_a_partner(made, found):
    one = [r for r in found if not (r.run.method in BASELINES and r.run.fold == 1)]
    facts = summary.summarize(made.study, one, BASELINES)
    lonely = [run for run in facts["runs"] if run["fold"] == 1]
    assert {run["gain"]["teacher"]["AP"] for run in lonely} == {None}
    assert facts["groups"][0]["methods"][1]["gain"]["teacher"]["AP"]["n"] == 2
    nobody = summary.summarize(made.study, found, ["another", "third"])
    assert all(m["gain"]["teacher"]["AP"] is None for g in nobody["groups"] for m in g["methods"])
    assert all(m["equal_steps"] for g in nobody["groups"] for m in g["methods"])
    assert {entry["baseline"] for entry in nobody["groups"] + nobody["runs"]} == {None}
    assert nobody["baseline"] == "another or third"


def test_each_group_has_the_first_listed_baseline_that_it_ran(made, found):
    """supervised beside supervised_two_views is a method like others; alone it is the baseline."""
    mining = [result for result in found if result.run.split == "missing_50"]
    added = [
        dataclasses.replace(result, run=result.run.model_copy(update={"method": "supervised"}))
        for result in mining
        if result.run.method == "mining"
    ]

    def bases(results, preference):
        facts = summary.summarize(made.study, results, preference)
        assert {run["baseline"] for run in facts["runs"]} == {group["baseline"] for group in facts["groups"]}
        return facts["baseline"], [[m["method"] for m in group["methods"]] for group in facts["groups"]]

    assert bases(found, BASELINES) == (
        "supervised_two_views or supervised",
        [["supervised", "soft"], ["supervised_two_views", "mining"]],
    )
    both = mining + added
    assert bases(both, BASELINES) == ("supervised_two_views", [["supervised_two_views", "mining", "supervised"]])
    assert bases(both, BASELINES[::-1]) == ("supervised", [["supervised", "mining", "supervised_two_views"]])
    other = summary.summarize(made.study, both, BASELINES)["groups"][0]["methods"][2]
    assert other["gain"]["teacher"]["AP"]["n"] == 3


def test_sharing(made, found):
    """12 runs of 20 + 40 steps on 6 burn-ins: 6 burn-ins of 20 steps and their labeling (1.5 s) were saved."""
    sharing = summary.summarize(made.study, found, BASELINES)["sharing"]
    assert sharing == {
        "runs": 12,
        "burn_ins": 6,
        "steps": 6 * 20 + 12 * 40,
        "steps_without_sharing": 12 * 60,
        "steps_saved": 120,
        "seconds": 6 * (12.5 + 1.5) + 12 * (0.5 + 30 + 2),
        "seconds_saved": 6 * (12.5 + 1.5),
    }


def test_each_labeling_is_counted_once(made, found):
    """A round labels with its own teacher: the burn-in is shared, its labeling is not."""
    first = [r for r in found if r.run.split == "percent_10"][:1]
    later = dataclasses.replace(first[0], run=first[0].run.model_copy(update={"after": first[0].run.key}))
    assert later.run.burn_in_key == first[0].run.burn_in_key and later.run.pseudo_key != first[0].run.pseudo_key
    sharing = summary.summarize(made.study, [*first, later], BASELINES)["sharing"]
    assert sharing["seconds"] == 12.5 + 2 * (1.5 + 0.5 + 30 + 2) and sharing["seconds_saved"] == 12.5


def test_numbers_are_those_of_the_files(made, found):
    facts = summary.summarize(made.study, found, BASELINES)
    run = facts["runs"][0]
    folder = made.results / "evaluate" / run["key"]
    metrics = json.loads((folder / "metrics.json").read_text())
    assert run["teacher"] == metrics["teacher"] and run["student"] == metrics["student"]
    assert {k: run["pseudo"][k] for k in ("precision", "recall")} == metrics["pseudo"]
    assert run["steps"] == {"burn_in": 20, "retrain": 40}
    assert run["seconds"] == {"burn_in": 12.5, "pseudo_label": 1.5, "polish": 0.5, "retrain": 30.0, "evaluate": 2.0}
    group = facts["groups"][0]
    assert [row["class"] for row in group["per_class"]] == list(synthetic.CLASSES)
    frames = [pd.read_csv(made.results / "evaluate" / key / "per_class.csv") for key in group["methods"][0]["runs"]]
    expected = sum(f[(f["model"] == "teacher") & (f["class"] == "ring")]["AP"].item() for f in frames) / 3
    assert group["per_class"][0]["AP"]["supervised"] == pytest.approx(expected)


def test_table_has_one_row_a_run(made, found):
    table = summary.table(summary.summarize(made.study, found, BASELINES))
    assert table["key"].tolist() == list(made.study.runs)
    assert {"teacher_AP", "student_ARl", "teacher_gain_AP", "pseudo_precision", "retrain_seconds"} <= set(table.columns)


def test_unequal_steps_are_marked(made, found):
    def shorter(result):
        if result.run.method != "soft" or result.run.fold != 1:
            return result
        return dataclasses.replace(result, history=result.history | {"retrain": result.history["retrain"].iloc[:-5]})

    groups = summary.summarize(made.study, [shorter(result) for result in found], BASELINES)["groups"]
    assert not groups[0]["methods"][1]["equal_steps"] and groups[1]["methods"][1]["equal_steps"]


def test_missing_and_foreign_results_are_named(made, tmp_path):
    with pytest.raises(BadInput, match=r"history.tsv: there is no such file; run `snakemake --cores all`"):
        results.load(tmp_path, made.study)
    key, run = next(iter(made.study.runs.items()))
    wrong = StudyParams(name="toy", title="", runs={"other": run})
    with pytest.raises(BadInput, match=f"run `other` has the fields of `{key}`"):
        results.load(made.results, wrong)


def test_curves_put_retraining_behind_burn_in(found):
    result = [r for r in found if r.run.method == "soft"][0]
    whole = curves.whole(result)
    assert whole["step"].tolist() == list(range(2, 61, 2))
    assert curves.terms([result]) == ["labeled/class", "labeled/box", "unlabeled/class"]
    start = curves.mean_curve([curves.whole(result)], "unlabeled/class", 6)
    assert min(x for x, _ in start) > 20  # nothing is unlabeled in burn-in


def test_curve_points_are_means(found):
    result = found[0]
    rows = curves.whole(result)
    ((step, value),) = curves.mean_curve([curves.whole(result)], "labeled/class", 1)
    assert (step, value) == pytest.approx((rows["step"].mean(), rows["labeled/class"].mean()))
    many = curves.mean_curve([curves.whole(result)], "labeled/class", 1000)
    assert [y for _, y in many] == pytest.approx(rows["labeled/class"].tolist())
    assert curves.mean_curve([curves.whole(result)], "nothing", 10) == []


def test_a_later_round_counts_the_trainings_before_it(made, tmp_path):
    first = next(run for run in made.study.runs.values() if run.method == "soft")
    second = first.model_copy(update={"method": "soft_round2", "after": first.key})
    everything = tmp_path / "results"
    shutil.copytree(made.results, everything)
    for stage in ("polish", "retrain", "evaluate"):
        shutil.copytree(everything / stage / first.key, everything / stage / second.key)
    study = made.study.model_copy(update={"runs": made.study.runs | {second.key: second}})
    loaded = results.load(everything, study)
    assert loaded[-1].previous is not None and loaded[-1].previous.run == first
    assert (loaded[-1].total_steps, loaded[-1].training_seconds) == (20 + 2 * 40, 12.5 + 2 * 30.0)
    methods = {m["method"]: m for m in summary.summarize(study, loaded, BASELINES)["groups"][0]["methods"]}
    later = methods["soft_round2"]
    assert (later["steps"], later["seconds"], later["rounds"], later["equal_steps"]) == (100, 72.5, 2, False)
    assert methods["soft"]["steps"] == 60 and methods["soft"]["rounds"] == 1 and methods["soft"]["equal_steps"]
