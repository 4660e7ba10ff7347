"""stages/polish.py with its command line: what it says of a threshold that fits the labels or does not."""

import json
from pathlib import Path
from typing import Any

import pytest

from scantling.report.study import Run
from scantling.stage import run as run_stage
from stages.polish import polish
from tests import toy
from tests.report import synthetic

METHODS = toy.ROOT / "params/methods"


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Run]:
    folder = tmp_path_factory.mktemp("polish")
    plan = synthetic.study(folds=(1,), splits=("percent_10",))
    return synthetic.write(folder, plan), list(plan.runs.values())[-1]


def polished(results: tuple[Path, Run], out: Path, method: Path) -> tuple[dict[str, Any], list[str]]:
    folder, run = results
    inputs = {
        "index": folder / "prepare/shapes",
        "split": folder / "split" / run.split_key,
        "teacher": teacher(out),
        "pseudo": folder / "pseudo_label" / run.burn_in_key,
        "corrections": toy.ROOT / "params/corrections/none.json",
        "method": method,
        "views": f"{toy.ROOT}/params/training/digits.yaml:views",
        "seed": 0,
        "out": out / "out",
    }
    run_stage(polish, [part for name, path in inputs.items() for part in (f"--{name}", str(path))])
    provenance = json.loads((out / "out/provenance.json").read_text())
    return json.loads((out / "out/aids.json").read_text()), provenance["warnings"]


def teacher(folder: Path) -> Path:
    """Weights that nobody looks through: these methods train no networks in polish."""
    place = folder / "teacher"
    place.mkdir(exist_ok=True)
    (place / "teacher.safetensors").touch()
    return place


def with_line(folder: Path, name: str, line: str) -> Path:
    path = folder / f"{name}.yaml"
    key = line.split(":")[0]
    kept = [old for old in (METHODS / f"{name}.yaml").read_text().splitlines() if not old.startswith(f"{key}:")]
    path.write_text("\n".join([*kept, line]))
    return path


def test_a_threshold_that_nothing_passes_is_told_with_one_that_fits(
    results: tuple[Path, Run], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    strict = with_line(tmp_path, "unbiased_teacher", "pseudo_score: 1.0")
    aids, (said,) = polished(results, tmp_path, strict)
    guard = aids["guard"]
    assert guard["verdict"] == "nothing" and guard["boxes_per_image"] == 0 and "in the table" in said
    assert f"pseudo_score: {guard['suggested_score']:.2f}" in said

    fitting = with_line(tmp_path, "unbiased_teacher", f"pseudo_score: {guard['suggested_score']}")
    aids, warnings = polished(results, tmp_path, fitting)
    assert aids["guard"]["verdict"] == "fine" and warnings == []
    one_box = 1 / 9  # of the unlabeled images; a score may lie between two hundredths
    assert aids["guard"]["boxes_per_image"] == pytest.approx(guard["labeled_boxes_per_image"], abs=one_box)


def test_limits_are_parameters_and_supervised_training_has_no_guard(
    results: tuple[Path, Run], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    aids, warnings = polished(results, tmp_path, with_line(tmp_path, "unbiased_teacher", "guards: {too_many: 0.1}"))
    assert aids["guard"]["verdict"] == "too much" and len(warnings) == 1
    assert polished(results, tmp_path, METHODS / "supervised.yaml") == (
        {"method": "supervised", "corrected_images": 0}, []
    )  # fmt: skip
