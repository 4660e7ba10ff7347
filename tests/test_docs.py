"""Docs tell the truth: every command is run by a test, every snippet is valid, the way of own data can be walked."""

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from scantling.data.formats import DataParams
from tests import toy
from workflow import study

ROOT = toy.ROOT
DOCS = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
COMMAND = re.compile(r"^ {4,}((?:[A-Z_]+=\S+ )*(?:make|snakemake|dvc|python|pip|git) [^#\n]*)", re.M)

VIEWS = (
    "python -m scantling.augment --index results/prepare/bccd --views params/training/bccd.yaml:views --out views.png"
)
# of docs/review.md the test runs what it finds there, line by line
REVIEW = re.compile(r"^ {4}(python -m scantling\.(?:review|export|corrections) .*)$", re.M)
PREPARE = "python stages/prepare.py --data params/data/mine.yaml --out results/prepare/mine"
MODEL = "results/retrain/own_data-full-f1-faster_rcnn_lite_192-tens-soft_teacher_places-s0/teacher.safetensors"

# command -> the test that runs it (or, for the environment itself, what makes every test possible)
RUN_BY = {
    "make demo": "tests/test_environment.py",
    "make test": "tests/test_environment.py",
    "make study STUDY=mine": "tests/test_docs.py::test_own_data_as_the_docs_say",
    **{
        f"make study STUDY={file.stem}": "tests/pipeline/test_study.py::test_every_committed_study_expands"
        for file in (ROOT / "params/studies").glob("*.yaml")
    },
    "snakemake --cores all": "tests/pipeline/test_whole.py::test_the_whole_pipeline",
    "python -m scantling.report.overview results/report/demo --out gains.svg": "tests/report/test_overview.py",
    "python -m scantling.report.so_far --out so_far": "tests/report/test_so_far.py::test_finished_runs_alone",
    "python benchmarks/lock.py --repeats 1": "tests/test_benchmarks.py::test_an_entry_of_the_lock_file",
    "python benchmarks/pointwise.py": "tests/test_benchmarks.py::test_layers_without_neighbors",
    "python -m scantling.report.before_after KEY --out labels.jpg": "tests/report/test_before_after.py",
    "snakemake --cores all --profile slurm": "tests/pipeline/test_slurm.py::test_the_demo_on_two_nodes",
    "CUDA_VISIBLE_DEVICES=0,1,2,3 dvc repro": "tests/pipeline/test_launch.py::test_commands",
    **dict.fromkeys(
        (
            "CUDA_VISIBLE_DEVICES=0,1,2,3 python -m workflow.launch stages/retrain.py --index ...",
            "SCANTLING_PROCESSES=2 python -m workflow.launch stages/retrain.py --index ... --out ...",
        ),
        "tests/pipeline/test_launch.py::test_sigterm_to_all_and_again_gives_the_same_bytes",
    ),
    "snakemake --cores all -n": "tests/pipeline/test_reading.py::test_an_experiment_with_a_changed_value",
    "dvc commit -f retrain@KEY": "tests/pipeline/test_reading.py::test_a_stage_that_was_run_by_hand_is_taken_over",
    "dvc repro": "tests/pipeline/test_whole.py::test_the_whole_pipeline",
    "dvc metrics show": "tests/pipeline/test_reading.py::test_metrics_show_and_diff",
    "dvc metrics diff": "tests/pipeline/test_reading.py::test_metrics_show_and_diff",
    "dvc plots show": "tests/pipeline/test_reading.py::test_plots_show",
    "dvc plots diff HEAD workspace": "tests/pipeline/test_reading.py::test_plots_diff",
    "dvc exp show": "tests/pipeline/test_reading.py::test_an_experiment_with_a_changed_value",
    "snakemake --cores 1 pages": "tests/pipeline/test_reading.py::test_report_of_snakemake_with_captions",
    "snakemake --cores 1 pages --report study.html": (
        "tests/pipeline/test_reading.py::test_report_of_snakemake_with_captions"
    ),
    "python -m scantling.report results/report/demo": "tests/report/test_main.py::test_table_of_a_report",
    "python -m scantling.tensorboard results --out work/tensorboard": (
        "tests/test_tensorboard.py::test_a_file_for_each_training"
    ),
    "python benchmarks/report.py": "tests/test_benchmarks.py::test_the_benchmark_of_the_report_runs",
    "python benchmarks/report.py --images 1000000": "tests/test_benchmarks.py::test_the_benchmark_of_the_report_runs",
    "dvc exp run -S params/evaluate.yaml:subset=val": "tests/pipeline/test_reading.py::test_metrics_show_and_diff",
    **dict.fromkeys(
        (
            "python stages/prepare.py --data params/data/own_data.yaml --out results/prepare/own_data",
            "make study STUDY=own_data",
            "python -m scantling.report results/report/own_data",
            f"python -m scantling.label --model {MODEL} --images data/raw/new --out labeled/new"
            " --write coco yolo drawn",
            f"python -m scantling.export.onnx --model {MODEL} --out labeled/detector.onnx --check data/raw/new/a.jpg",
        ),
        "tests/test_own_data.py::test_the_document_is_walked",
    ),
    PREPARE: "tests/test_docs.py::test_own_data_as_the_docs_say",
    "python -m scantling.describe results/split/digits-percent_10-f1": "tests/test_describe.py::test_it_says_what_is",
    "python benchmarks/teacher_student.py --repeats 7 --steps 3": (
        "tests/test_benchmarks.py::test_a_teacher_student_step_against_its_parts"
    ),
    "python benchmarks/prepare.py": "tests/test_benchmarks.py::test_the_benchmark_of_prepare_runs",
    "python benchmarks/detectors.py fcos_lite retinanet_lite faster_rcnn_lite --clock cpu --repeats 3 --steps 10": (
        "tests/test_benchmarks.py::test_detectors_against_torchvision"
    ),
    **dict.fromkeys(
        (
            "python benchmarks/scale.py --images 10000 50000 200000 --without-detector",
            "python benchmarks/scale.py --images 2000 20000",
        ),
        "tests/test_benchmarks.py::test_the_benchmark_of_scale_runs",
    ),
    "python benchmarks/tables.py --boxes 1000000 4000000": (
        "tests/test_benchmarks.py::test_the_benchmark_of_tables_runs"
    ),
    "python benchmarks/evaluate.py": "tests/test_benchmarks.py::test_the_fast_engine_against_pycocotools",
    "python benchmarks/splits.py": "tests/test_docs.py::test_the_benchmark_of_splits_runs",
    **dict.fromkeys(
        (
            "python -m scantling.export --index results/prepare/mine --format coco --out exported/mine",
            "python -m scantling.export --index results/prepare/mine --format yolo --out exported/few"
            " --split results/split/mine-full-f1",
            "python -m scantling.export --index results/prepare/mine --format voc --out exported/made"
            " --pseudo pseudo.parquet --score-threshold 0.7",
        ),
        "tests/data/test_docs.py::test_every_export_runs",
    ),
    **dict.fromkeys(
        REVIEW.findall((ROOT / "docs/review.md").read_text()),
        "tests/review/test_docs.py::test_the_page_can_be_followed",
    ),
    **dict.fromkeys(
        (
            "dvc remote add --default team /shared/team",
            "dvc remote modify team verify true",
            'git commit .dvc/config -m "A remote for results"',
            "dvc push --run-cache --all-commits",
            "dvc pull --run-cache --all-commits",
        ),
        "tests/pipeline/test_sharing.py::test_a_second_clone_reproduces_nothing_twice",
    ),
    **dict.fromkeys(
        (
            "dvc cache dir --local /shared/scantling-cache",
            "dvc config --local cache.shared group",
            "dvc config --local cache.type reflink,hardlink,symlink,copy",
        ),
        "tests/pipeline/test_sharing.py::test_with_a_cache_on_a_shared_disk_nobody_runs_what_another_has_run",
    ),
    "python -m workflow.verify": "tests/faults/test_faults.py",
    "python -m tests.faults --minutes 60 --seed 0 --out faults.json": "tests/faults/test_faults.py",
    VIEWS: "tests/augment/test_main.py::test_a_picture_of_the_views",
    "python benchmarks/views.py": "tests/test_docs.py::test_the_benchmark_of_views_runs",
    "python benchmarks/throughput.py --repeats 3 --steps 25": "tests/test_docs.py::test_the_benchmark_runs",
}


def commands() -> list[tuple[str, str]]:
    return [(doc.name, found.strip()) for doc in DOCS for found in COMMAND.findall(doc.read_text())]


@pytest.mark.parametrize(("doc", "command"), commands())
def test_every_command_is_run_by_a_test(doc: str, command: str) -> None:
    assert command in RUN_BY, f"{doc}: no test runs `{command}`"
    file, _, function = RUN_BY[command].partition("::")
    assert f"def {function}" in (ROOT / file).read_text() if function else (ROOT / file).is_file()


@pytest.mark.parametrize("doc", DOCS, ids=lambda d: d.name)
def test_named_files_exist(doc: Path) -> None:
    named = re.findall(r"`((?:params|docs|slurm|scantling|tests|stages|workflow)/[\w./-]+)`", doc.read_text())
    own = {"params/data/mine.yaml", "params/studies/mine.yaml"}  # the reader writes these
    assert [name for name in named if name not in own and "NAME" not in name and not (ROOT / name).exists()] == []


def test_own_data_as_the_docs_say(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    readme = (ROOT / "README.md").read_text()
    snippets = {first: text for first, text in re.findall(r"```yaml\n# (\S+)\n(.*?)```", readme, re.S)}
    assert set(snippets) == {"params/data/mine.yaml", "params/studies/mine.yaml"}
    shutil.copytree(ROOT / "params", tmp_path / "params")
    shutil.copytree(ROOT / "scantling" / "methods", tmp_path / "scantling/methods")
    for name, text in snippets.items():
        (tmp_path / name).write_text(text)
        assert len(text.splitlines()) < 12
    folder = tmp_path / "data/raw/mine"
    folder.mkdir(parents=True)
    images, split = toy.tables(folder, labeled=8, unlabeled=2)
    rows = (
        split[split["box_id"] >= 0].merge(images, on="image_id").assign(cls=lambda t: t["label"].map({0: "a", 1: "b"}))
    )
    rows[["file_name", "cls", "x1", "y1", "x2", "y2"]].rename(columns={"cls": "class"}).to_csv(
        folder / "boxes.csv", index=False
    )

    monkeypatch.chdir(tmp_path)
    assert DataParams.load("params/data/mine.yaml")
    assert study.write(Path("params/studies/mine.yaml"))
    table = yaml.safe_load(Path("params/experiments.yaml").read_text())
    assert set(table["runs"]) == {
        f"mine-full-f1-faster_rcnn_lite_192-tens-{m}-s0"
        for m in ("supervised", "supervised_two_views", "soft_teacher_places")
    }
    words = [sys.executable, str(ROOT / PREPARE.split()[1]), *PREPARE.split()[2:]]
    done = subprocess.run(words, env={"PYTHONPATH": str(ROOT)}, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "unlabeled: 3 images" in done.stdout and Path("results/prepare/mine/check.html").is_file()


def test_the_benchmark_of_splits_runs() -> None:
    for more in ([], ["--objects365"]):
        done = subprocess.run(
            [sys.executable, "benchmarks/splits.py", "--shrink", "500", *more],
            cwd=ROOT, env={"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}, capture_output=True, text=True,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        assert "drop_category 50" in done.stdout and "peak memory" in done.stdout


def test_the_benchmark_runs() -> None:
    done = subprocess.run(
        [sys.executable, "benchmarks/throughput.py", "--repeats", "1", "--steps", "1", "--image", "64"],
        cwd=ROOT, env={"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}, capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert re.search(r"training step: throughput over the bare model's: median \d", done.stdout)
    assert re.search(r"pseudo-labeling: throughput over the bare model's: median \d", done.stdout)


def test_the_benchmark_of_views_runs() -> None:
    done = subprocess.run(
        [sys.executable, "benchmarks/views.py", "--small", "--repeats", "1", "--draws", "1", "--device", "cpu"],
        cwd=ROOT, env={"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}, capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert len(re.findall(r"ms +[\d.]+ ms +[\d.]+", done.stdout)) == 15 + 1
