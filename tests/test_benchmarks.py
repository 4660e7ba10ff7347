"""The benchmarks run, and what they generate is what they say; what they measure is asked of a quiet machine."""

from __future__ import annotations

import contextlib
import importlib.util
import json
import re
import subprocess
import sys
from pathlib import Path
from types import ModuleType
from unittest import mock

import pandas as pd
import pytest

from scantling import checkpoint, stage
from scantling.data import coco_file

ROOT = Path(__file__).parents[1]


def loaded(name: str) -> ModuleType:
    """A benchmark as a module; those beside it can be imported by it."""
    spec = importlib.util.spec_from_file_location(name, ROOT / f"benchmarks/{name}.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    with mock.patch.object(sys, "path", [str(ROOT / "benchmarks"), *sys.path]):
        spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def coco_size() -> ModuleType:
    return loaded("coco_size")


def test_generated_coco_files_are_as_large_as_the_official_ones(coco_size: ModuleType, tmp_path: Path) -> None:
    files = [tmp_path / f"{k}.json" for k in range(3)]
    for file, seed in zip(files, (0, 0, 1), strict=True):
        names = coco_size.write_coco(file, images=300, boxes=4500, seed=seed)
    same, again, other = (file.read_bytes() for file in files)
    assert same == again != other
    content = json.loads(same)
    assert [len(content[part]) for part in ("images", "annotations", "categories")] == [300, 4500, 80]
    assert [image["file_name"] for image in json.loads(other)["images"]] == names
    # 448 MB of instances_train2017.json: 118,287 images at 280 bytes, 860,001 boxes at 482
    assert len(json.dumps(content["annotations"], separators=(",", ":"))) / 4500 == pytest.approx(480, rel=0.1)
    crowds = [box for box in content["annotations"] if box["iscrowd"]]
    assert 20 < len(crowds) < 90 and all(isinstance(box["segmentation"], dict) for box in crowds)
    boxes = coco_file.read(files[0]).boxes
    assert (
        len(boxes) == 4500 and boxes.x2.max() <= 640.01 and boxes.y2.max() <= 480.01 and boxes.category_id.max() == 80
    )
    assert (boxes.x2 > boxes.x1).all() and (boxes.y2 > boxes.y1).all()


def test_generated_objects365_files_lie_in_51_folders(coco_size: ModuleType, tmp_path: Path) -> None:
    file = tmp_path / "f.json"
    paths = coco_size.write_objects365(file, images=510, boxes=900)
    coco_size.touch(tmp_path / "images", paths)
    assert {path.split("/")[0] for path in paths} == {f"patch{k}" for k in range(51)}
    assert sum(path.is_file() for path in (tmp_path / "images").rglob("*")) == 510
    content = json.loads(file.read_text())
    assert [image["file_name"][len("images/v1/") :] for image in content["images"]] == paths
    assert len(coco_file.read(file).boxes) == 900


def test_the_benchmark_of_prepare_runs(tmp_path: Path) -> None:
    command = [sys.executable, ROOT / "benchmarks/prepare.py", "--small", "--repeats", "1", "--work", tmp_path]
    done = subprocess.run(list(map(str, command)), capture_output=True, text=True, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert re.search(r"coco: 200 images, 2,000 boxes, 1\.\d MB of JSON", done.stdout)
    assert re.search(r"prepare over json\.load: median time \d+\.\d\d, median peak memory \d+\.\d\d", done.stdout)
    for protocol in ("full", "percent_10"):
        assert re.search(rf"split {protocol}: \d+\.\d s \(processor \d+\.\d s\), \d+ MiB", done.stdout)
    assert list(tmp_path.iterdir()) == []  # nothing is left


def test_detectors_against_torchvision() -> None:
    done = subprocess.run(
        [sys.executable, "benchmarks/detectors.py", "--image", "64", "--batch", "1", "--steps", "1", "--repeats", "1",
         "faster_rcnn_lite"],
        cwd=ROOT, env={"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}, capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert re.search(r"faster_rcnn_lite: images/s over torchvision's: median \d", done.stdout)


def test_a_teacher_student_step_against_its_parts() -> None:
    small = ["--image", "64", "--batch", "1", "--steps", "1", "--repeats", "1"]
    done = subprocess.run(
        [sys.executable, "benchmarks/teacher_student.py", *small],
        cwd=ROOT, env={"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}, capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert re.search(r"step over student on both halves and teacher: \d", done.stdout)
    assert re.search(r"cached step over the live one: \d", done.stdout)


def test_the_benchmark_of_the_report_runs(tmp_path: Path) -> None:
    """Its results are read as those of the stages are, and the page shows them."""
    command = [
        sys.executable,
        ROOT / "benchmarks/report.py",
        "--images",
        "300",
        "--folds",
        "1",
        "--out",
        tmp_path / "a",
    ]
    done = subprocess.run(list(map(str, command)), capture_output=True, text=True, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert re.search(r"8 runs, 300 images: \d+\.\d s, \d+\.\d s of one core", done.stdout)
    assert re.search(r"page \d\.\d\d MB, \d+ images of \d\.\d MB together", done.stdout)
    assert "co_student" in (tmp_path / "a" / "index.html").read_text()


def test_the_fast_engine_against_pycocotools() -> None:
    done = subprocess.run(
        [sys.executable, "benchmarks/evaluate.py", "--shrink", "100", "--repeats", "1"],
        cwd=ROOT, env={"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}, capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("50 images, 367 boxes, 5,000 detections\n")
    assert re.search(r"twelve numbers equal: True; pycocotools over the fast engine: \d+\.\d", done.stdout)


def in_process(command: list[object], folder: Path) -> object:
    """A stage's command without the seconds that a process of its own takes to start."""
    words = [str(word) for word in command[1:]]
    without = words[0].endswith("without_detector.py")
    name = words[1] if without else Path(words[0]).stem
    module = importlib.import_module(f"stages.{name}")
    with contextlib.ExitStack() as stack:
        stack.enter_context(contextlib.chdir(folder))
        if without:
            load = loaded("without_detector").load
            target = module if hasattr(module, "load_weights") else checkpoint
            stack.enter_context(mock.patch.object(target, "load_weights", load))
        stage.run(getattr(module, name), words[2 if without else 1 :])
    return loaded("prepare").Cost(1.0, 1.0, 1.0)


@pytest.mark.parametrize("with_detector", [True, False])
def test_the_benchmark_of_scale_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture, with_detector: bool
) -> None:
    monkeypatch.setenv("SCANTLING_DEVICE", "cpu")
    scale = loaded("scale")
    monkeypatch.setattr(scale, "cost", in_process)
    monkeypatch.setattr(scale, "apart", lambda target, *arguments: target(*arguments))
    paid = scale.measure(20, 1, with_detector, list(scale.stages()), tmp_path)
    assert list(paid) == ["prepare", "split", "pseudo_label", "polish", "retrain", "evaluate"]
    pseudo = pd.read_parquet(tmp_path / "pseudo/pseudo.parquet")
    assert pseudo["image_id"].nunique() == 18 and len(pseudo) == 18 * scale.FOUND
    assert "20 images, evaluate: 1.0 s (processor 1.0 s), 1 MiB" in capsys.readouterr().out
    assert scale.table({20: paid, 40: paid}).splitlines()[3] == "pseudo_label | 1 | 1"


def test_the_benchmark_of_tables_runs(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    tables = loaded("tables")
    tables.make(tmp_path, 3000)
    for step in tables.STEPS:
        assert tables.take(step, tmp_path) is not None
    assert tables.memory("VmHWM") >= tables.memory("VmRSS") > 10


def test_layers_without_neighbors() -> None:
    done = subprocess.run(
        [sys.executable, "benchmarks/pointwise.py", "--repeats", "1", "--calls", "1"],
        cwd=ROOT, capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert len(re.findall(r"ratio \d+\.\d\d$", done.stdout, re.M)) == 7


def test_an_entry_of_the_lock_file() -> None:
    done = subprocess.run(
        [sys.executable, "benchmarks/lock.py", "--stages", "4", "--deps", "3", "--repeats", "1"],
        cwd=ROOT, capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert re.fullmatch(r"4 stages, \d+ lines: DVC [\d.]+ s, an entry [\d.]+ s: \d+\n", done.stdout)
