"""stages/polish.py with its command line: what it says of a threshold that fits the labels or does not."""

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from scantling import pseudo_files
from scantling.data import index as indexes
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


def polished(results: tuple[Path, Run], out: Path, method: Path, **others: Path) -> tuple[dict[str, Any], list[str]]:
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
        **others,
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


def test_labels_that_held_out_images_find_wrong_are_told(
    results: tuple[Path, Run], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    folder, run = results
    index = synthetic.read_index(folder)
    index = replace(index, images=index.images.replace({"subset": {"test": "val"}}))
    (tmp_path / "index").mkdir()
    indexes.save(index, tmp_path / "index")
    images = index.images.loc[index.images["subset"] == "val", "image_id"]
    assert index.boxes is not None
    right = index.boxes[index.boxes["image_id"].isin(images)].assign(score=np.float32(0.85))
    wrong = right.assign(label=(right["label"] + 1) % len(synthetic.CLASSES))
    pseudo = folder / "pseudo_label" / run.burn_in_key
    made = tmp_path / "pseudo"
    for shares in ([right], [right, wrong, wrong.assign(score=np.float32(0.8))]):
        found = pd.concat(shares)[
            pd.read_parquet(pseudo / "pseudo.parquet").columns.drop(["spread", "class_probability"])
        ]
        shutil.rmtree(made, ignore_errors=True)
        made.mkdir()
        labels = [pd.read_parquet(pseudo / "pseudo.parquet").assign(score=np.float32(0.83))]
        found = found.assign(spread=np.float32(0.01), class_probability=found["score"])
        pseudo_files.save(made, labels, 12, synthetic.CLASSES, [found], "val", 8)
        method = with_line(tmp_path, "unbiased_teacher", "guards: {enough: 5}")
        aids, warnings = polished(results, tmp_path, method, pseudo=made, index=tmp_path / "index")
        told = aids["expected"]
        if len(shares) == 1:
            assert told["precision"] == 1 and told["verdict"] == "fine" and warnings == []
        else:
            assert told["precision"] == pytest.approx(1 / 3, abs=0.01) and told["verdict"] == "too wrong"
            assert [said for said in warnings if "33% right on `val`" in said and "`pseudo_score`" in said]
    mines = polished(
        results, tmp_path, METHODS / "co_mining_with_unlabeled.yaml", pseudo=made, index=tmp_path / "index"
    )[0]
    assert "expected" not in mines, "labels that miss boxes do not say what is right"
