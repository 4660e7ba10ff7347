"""tables.md: the numbers of summary.json as Markdown."""

import json
import re

import pytest

from scantling.report import results, summary, tables
from tests.report import synthetic
from tests.report.synthetic import BASELINES


@pytest.fixture(scope="module")
def text(made):
    return (made.out / "tables.md").read_text()


@pytest.fixture(scope="module")
def facts(made):
    return json.loads((made.out / "summary.json").read_text())


def test_every_table_is_square_and_plain(text):
    """As many cells in every row as in its head; nothing but ASCII, so that it can be pasted anywhere."""
    assert text.isascii()
    for block in re.findall(r"(?:^\|.*\n)+", text, re.M):
        assert len({re.sub(r"\\\|", "", row).count("|") for row in block.splitlines()}) == 1, block
    assert text.count("| method | AP | AP50 |") == 2  # groups


def test_numbers_are_those_of_the_summary(text, facts):
    for group in facts["groups"]:
        base, other = group["methods"]
        found, gain = base["teacher"]["AP"], other["gain"]["teacher"]["AP"]
        assert f"| `{base['method']}` | {_interval(found, '.1f')} |" in text
        assert _interval(gain, "+.1f") in text
        assert f"| 3 | 60 | - | {other['seconds']:.0f} |" in text
        for row in group["per_class"]:
            mean = 100 * row["gain"][other["method"]]["mean"]
            assert row["gain"][base["method"]] is None
            assert re.search(rf"\| {row['boxes']} \|.* {re.escape(f'{mean:+.1f}')} \[", text)
    for run in facts["runs"]:
        assert f"{100 * run['teacher']['AP']:.1f} / {100 * run['teacher']['AP50']:.1f}" in text
    assert "Folds 1, 2 and 3, seeds 0" in text and "subset `test`" in text
    assert "3 images labeled and 9 not; 6 boxes kept and 21 hidden; float32; gains over" in text
    assert (
        "12 runs share 6 burn-ins: 600 training steps instead of 720, 474 s of all stages together instead of 558 s."
        in text
    )
    assert "[+nan" not in text and "None" not in text


def test_names_cannot_break_the_table(text):
    assert "# Shapes & labels: a &lt;toy> study" in text and "| &lt;b>&cross |" in text


def test_gain_of_a_class_is_paired(made):
    found = results.load(made.results, made.study)
    group = summary.summarize(made.study, found, BASELINES)["groups"][0]

    def ap(method, fold):
        (rows,) = [
            r.per_class for r in found if (r.run.method, r.run.fold, r.run.split) == (method, fold, "percent_10")
        ]
        return rows[(rows["model"] == "teacher") & (rows["class"] == "disk")]["AP"].item()

    expected = sum(ap("soft", fold) - ap("supervised", fold) for fold in (1, 2, 3)) / 3
    (row,) = [row for row in group["per_class"] if row["class"] == "disk"]
    assert row["gain"]["soft"]["mean"] == pytest.approx(expected) and row["gain"]["soft"]["n"] == 3


def test_share_of_the_gap_to_all_labels(tmp_path):
    """The ceiling is the baseline's own training on split full; without such a run there is no share."""
    study = synthetic.study(folds=(1, 2, 3), splits=("percent_10", "full"))
    full = {k: r for k, r in study.runs.items() if r.split == "full" and r.method == "supervised_two_views"}
    for run in list(full.values()):
        renamed = run.model_copy(update={"method": "supervised"})
        full[renamed.key] = renamed
    plan = study.model_copy(update={"runs": {k: r for k, r in study.runs.items() if r.split != "full"} | full})
    found = results.load(synthetic.write(tmp_path, plan), plan)
    for result in found:  # 40 points with all labels, 20 without the hidden ones, 25 with the method
        value = {"full": 0.4}.get(result.run.split, 0.25 if result.run.method == "soft" else 0.2)
        result.metrics["teacher"].update(AP=value, AP50=value)

    facts = summary.summarize(plan, found, BASELINES)
    few, all_labels = facts["groups"]
    assert few["ceiling"]["method"] == "supervised" and few["ceiling"]["AP"]["n"] == 3
    assert few["methods"][1]["closed"]["AP"]["mean"] == pytest.approx(0.25)
    assert few["methods"][0]["closed"]["AP"] is None and all_labels["ceiling"] is None
    shown = tables.markdown(facts, 100)
    assert "| `soft` | 25 % [25 %, 25 %] | 25 % [25 %, 25 %] |" in shown and shown.count("Share of this gap") == 1

    for result in found:
        if result.run.split == "full":
            result.metrics["teacher"]["AP"] = 0.1  # below the baseline: there is no gap to close
    facts = summary.summarize(plan, found, BASELINES)
    few = facts["groups"][0]
    assert few["methods"][1]["closed"]["AP"] is None and few["methods"][1]["closed"]["AP50"] is not None
    shown = tables.markdown(facts, 100)
    assert "There is no gap to close" in shown and "Share of this gap" not in shown

    for result in found:
        if result.run.split == "full":
            result.history["retrain"] = result.history["retrain"].iloc[:-4]
    assert summary.summarize(plan, found, BASELINES)["groups"][0]["ceiling"] is None  # other steps


def test_without_a_baseline_nothing_is_gained(made):
    found = results.load(made.results, made.study)
    shown = tables.markdown(summary.summarize(made.study, found, ["another"]), 100)
    assert "no baseline to count gains from" in shown and "None" not in shown


def test_long_lists_of_classes_are_cut(facts):
    shown = tables.markdown(facts, 2)
    assert "2 of 3 classes; `summary.json` has all." in shown and "3 classes" not in tables.markdown(facts, 3)


def _interval(found, form):
    return f"{100 * found['mean']:{form}} [{100 * found['low']:{form}}, {100 * found['high']:{form}}]"


def test_labels_that_were_learned_from(text, facts):
    (group,) = [g for g in facts["groups"] if g["split"] == "percent_10"]
    (own,) = [m for m in group["methods"] if m["method"] == "soft"]
    learned = [
        f"{own['targets']['class'][name]:.2f}" for name in ("boxes_per_image", "precision", "recall", "mean_iou")
    ]
    assert f"| `soft` | {' | '.join(learned)} | " in text
    assert not re.search(r"`supervised` \| \d+\.\d\d \| 0\.", text), (
        "who learns from no label of the machine has no row"
    )


def test_polished_labels_stand_as_before_and_after(facts):
    group = json.loads(json.dumps(facts["groups"][0]))
    sides = {"before": 0.71, "after": 0.8}
    group["methods"][1]["polished"] = {"moved": 0.5, "relabeled": 0.0, "mean_iou": sides, "class_precision": sides}
    assert "| 0.71 > 0.80 | 0.71 > 0.80 |" in tables.markdown(facts | {"groups": [group]}, 10)
