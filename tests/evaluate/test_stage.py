"""stages/evaluate.py with its command line, on a detector that was never trained."""

import json
import shutil
from pathlib import Path

import pandas as pd
import pytest

from scantling import checkpoint
from scantling.evaluate import coco
from scantling.mining.record import Record
from scantling.report.study import Run
from scantling.stage import run as run_stage
from stages.evaluate import evaluate
from tests import toy
from tests.report import synthetic

PROJECT = Path(__file__).parents[2]
FILES = (
    "metrics.json",
    "per_class.csv",
    "intervals.json",
    "errors.json",
    "label_quality.json",
    "detections.parquet",
)


@pytest.fixture(scope="module")
def arguments(tmp_path_factory) -> tuple[Path, list[str]]:
    """A folder with the inputs of one run, and the options that name them."""
    folder = tmp_path_factory.mktemp("evaluate")
    plan = synthetic.study(folds=(1,), splits=("percent_10",))
    results = synthetic.write(folder, plan)
    run: Run = list(plan.runs.values())[-1]
    model = results / "retrain" / run.key
    for role, seed in (("student", 0), ("teacher", 1)):
        params = toy.detector_params("retinanet_lite")
        detector = toy.detector("retinanet_lite", synthetic.CLASSES, seed)
        checkpoint.save_weights(model / f"{role}.safetensors", detector, params, step=1, role=role)
    Record().table().to_parquet(model / "learned.parquet", index=False)
    settings = (PROJECT / "params/evaluate.yaml").read_text().replace("score_threshold: 0.05", "score_threshold: 0.0")
    (folder / "evaluate.yaml").write_text(settings)  # random weights score low
    inputs = {
        "index": results / "prepare" / "shapes",
        "split": results / "split" / run.split_key,
        "pseudo": results / "pseudo_label" / run.burn_in_key,
        "refined": results / "polish" / run.key,
        "model": model,
        "params": folder / "evaluate.yaml",
    }
    return folder, [part for name, path in inputs.items() for part in (f"--{name}", str(path))]


@pytest.fixture(autouse=True)
def elsewhere(arguments, monkeypatch):
    """Stages write logs/ into the working folder."""
    monkeypatch.chdir(arguments[0])
    monkeypatch.setenv("SCANTLING_DEVICE", "cpu")


def test_files_of_the_stage(arguments):
    folder, options = arguments
    run_stage(evaluate, [*options, "--out", "out"])
    out = folder / "out"
    assert {path.name for path in out.iterdir()} == {*FILES, "provenance.json"}
    metrics = json.loads((out / "metrics.json").read_text())
    assert list(metrics) == ["student", "teacher", "pseudo", "groups"] and list(metrics["pseudo"]) == [
        "precision",
        "recall",
    ]
    assert list(metrics["student"]) == list(metrics["teacher"]) == list(coco.NAMES)

    per_class = pd.read_csv(out / "per_class.csv")
    assert list(per_class.columns) == ["model", "class", "AP", "AP50", "AR100", "boxes", "labeled_boxes", "group"]
    assert sum(group["classes"] for group in metrics["groups"].values()) == len(synthetic.CLASSES)
    assert per_class["model"].tolist() == ["student"] * 3 + ["teacher"] * 3
    assert per_class["class"].tolist() == [*synthetic.CLASSES] * 2

    rows = pd.read_parquet(out / "detections.parquet")
    assert list(rows.columns) == ["model", "image_id", "label", "score", "x1", "y1", "x2", "y2"]
    assert set(rows["model"]) == {"student", "teacher"}  # different weights, so different boxes
    assert rows.groupby(["model", "image_id"]).size().max() <= 100
    assert set(rows["image_id"]) <= set(range(13, 21))
    index = pd.read_parquet(folder / "results/prepare/shapes/images.parquet")
    assert (rows[["x2", "y2"]].max() <= index[["width", "height"]].max().to_numpy()).all()

    student = rows[rows["model"] == "student"].drop(columns="model")
    again = coco.evaluate(synthetic.read_index(folder / "results"), "test", student)
    assert again.numbers == metrics["student"]  # the table is all that the numbers need

    spread, mistakes = (json.loads((out / f"{name}.json").read_text()) for name in ("intervals", "errors"))
    assert list(spread) == ["level", "resamples", "seed", "images", "student", "teacher", "teacher_minus_student"]
    assert spread["images"] == 8 and list(mistakes) == ["score_threshold", "classes", "student", "teacher"]
    for role in ("student", "teacher"):
        low, high = spread[role]["AP"]
        assert low <= metrics[role]["AP"] <= high and list(spread[role]["classes"]) == [*synthetic.CLASSES]
        assert mistakes[role]["AP50"] == pytest.approx(metrics[role]["AP50"])
        wrong = [entry["count"] for name, entry in mistakes[role]["types"].items() if name != "missed"]
        assert sum(wrong) == mistakes[role]["false_positives"]["count"] > 0
    gained = metrics["teacher"]["AP"] - metrics["student"]["AP"]
    assert spread["teacher_minus_student"]["AP"]["difference"] == pytest.approx(gained)


def test_an_imbalanced_split_is_measured_by_its_minority(arguments):
    folder, options = arguments
    at = options.index("--split") + 1
    split = shutil.copytree(options[at], folder / "imbalanced")
    (split / "split.json").write_text(json.dumps({"drawn": {"minority": [synthetic.CLASSES[1]]}}))
    run_stage(evaluate, [*options[:at], str(split), *options[at + 1 :], "--out", "of_imbalanced"])
    metrics = json.loads((folder / "of_imbalanced/metrics.json").read_text())
    per_class = pd.read_csv(folder / "of_imbalanced/per_class.csv").set_index(["model", "class"])
    assert list(metrics) == ["student", "teacher", "pseudo", "groups", "imbalance"]
    assert metrics["imbalance"]["majority"]["classes"] == 2
    for role in ("student", "teacher"):
        few, many = (metrics["imbalance"][kind][role] for kind in ("minority", "majority"))
        others = [synthetic.CLASSES[0], synthetic.CLASSES[2]]
        for name in ("AP", "AP50"):
            assert few[name] == pytest.approx(per_class.loc[(role, synthetic.CLASSES[1]), name])
            assert many[name] == pytest.approx(per_class.loc[role].loc[others, name].mean())


def test_same_bytes_again(arguments):
    folder, options = arguments
    for out in ("first", "second"):
        run_stage(evaluate, [*options, "--out", out])
    for name in FILES:
        assert (folder / "first" / name).read_bytes() == (folder / "second" / name).read_bytes()


def test_a_teacher_below_its_burn_in_is_told_of(arguments):
    """The run's own teacher stands for the burn-in: equal is not below; then an untrained one stands for the run's."""
    folder, options = arguments
    model = Path(options[options.index("--model") + 1])
    run_stage(evaluate, [*options, "--burn_in", str(model), "--out", "with"])
    metrics = json.loads((folder / "with/metrics.json").read_text())
    assert metrics["burn_in"] == {
        "images": 8, "burn_in_AP": metrics["teacher"]["AP"], "teacher_AP": metrics["teacher"]["AP"],
        "below_burn_in": False,
    }  # fmt: skip
    assert json.loads((folder / "with/provenance.json").read_text())["warnings"] == []
    assert set(pd.read_parquet(folder / "with/detections.parquet")["model"]) == {"student", "teacher"}


def test_weights_of_other_classes_are_refused(arguments):
    folder, options = arguments
    model = folder / "other"
    model.mkdir()
    params, detector = toy.detector_params("retinanet_lite"), toy.detector("retinanet_lite", ("a", "b"))
    for role in ("student", "teacher"):
        checkpoint.save_weights(model / f"{role}.safetensors", detector, params, step=1, role=role)
    at = options.index("--model") + 1
    with pytest.raises(SystemExit, match=r"evaluate: .*trained on classes \['a', 'b'\]"):
        run_stage(evaluate, [*options[:at], str(model), *options[at + 1 :], "--out", "refused"])
    assert not (folder / "refused").exists()
