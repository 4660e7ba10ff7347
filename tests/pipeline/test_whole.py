"""The real stages under both engines, on a handful of tiny digits scenes: every artefact, no-ops, edits, kills."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pandas as pd
import pytest
import yaml

from scantling.stage import digest
from tests.pipeline.small_project import SEMI, SOFT, SPARSE, Project, copy, edit
from tests.pipeline.toy_project import wait_until_gone


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Project:
    made = Project(tmp_path_factory.mktemp("whole") / "project")
    copy(made.folder)
    made.begin()
    return made


def test_the_whole_pipeline(project: Project) -> None:
    """One story, told in order: each act starts from what the one before it left."""
    project.snakemake()
    results = project.folder / "results"
    for name in ("student", "teacher"):
        assert (results / f"retrain/{SOFT}/{name}.safetensors").stat().st_size > 1e6
    metrics = json.loads((results / f"evaluate/{SOFT}/metrics.json").read_text())
    assert set(metrics) >= {"student", "teacher", "pseudo"} and len(metrics["teacher"]) == 12
    refined = pd.read_parquet(results / f"polish/{SOFT}/refined.parquet")
    assert {"source", "refined_score", "weight", "for_objectness", "for_class", "for_box", "ignore"} <= set(refined)
    history = pd.read_csv(results / f"retrain/{SOFT}/history.tsv", sep="\t")
    assert history["pseudo_boxes"].notna().any() and history["unlabeled/class"].notna().any()
    page = (results / "report/smoke/index.html").read_text()
    assert "soft_teacher" in page and "co_mining" in page
    assert (results / f"split/{SPARSE}/split.parquet").is_file()
    for folder in results.glob("*/*"):
        assert json.loads((folder / "provenance.json").read_text())["seconds"] >= 0, folder
    # the burn-in and its pseudo labels are shared by the methods
    assert len(list((results / "burn_in").iterdir())) == len(list((results / "pseudo_label").iterdir())) == 2

    assert project.dvc_ran() == set()  # act 2: the other engine agrees that nothing is left to do
    assert "Nothing to be done" in project.snakemake()

    project.run("dvc", "plots", "show", "-o", "plots")  # real histories, and classes by the project's own template
    shown = (project.folder / "plots/index.html").read_text()
    for file in (f"burn_in/{SEMI}-faster_rcnn_lite-digits-s0/history.tsv", f"evaluate/{SOFT}/per_class.csv"):
        assert f"results/{file}" in shown
    assert '"field": "AP"' in shown and '"field": "loss"' in shown
    shutil.rmtree(project.folder / "plots")
    assert f"results/evaluate/{SOFT}/metrics.json" in project.run("dvc", "metrics", "show")

    before = digest(results / f"retrain/{SOFT}/teacher.safetensors")  # act 3: one value, under dvc
    edit(project.folder / "params/methods/soft_teacher.yaml", unlabeled_weight=2.5)
    chain = {f"{stage}@{SOFT}" for stage in ("polish", "retrain", "evaluate")}
    ran = project.dvc_ran()
    # polish writes the same table again, so nothing but the trained model and what follows from it is new
    assert ran == chain | {"report@smoke"}
    assert digest(results / f"retrain/{SOFT}/teacher.safetensors") != before
    assert "Nothing to be done" in project.snakemake()

    edit(project.folder / "params/training/digits.yaml", retrain__steps=16)  # act 4: killed under Snakemake
    shutil.rmtree(project.folder / "work", ignore_errors=True)
    kill_when(project, ["snakemake", "--cores", "1", f"retrain@{SOFT}"], project.folder / "work/retrain")
    text = project.run("dvc", "repro", "--single-item", f"retrain@{SOFT}")
    assert re.search(r"resumed at step \d+", text)
    resumed = digest(results / f"retrain/{SOFT}/student.safetensors")
    assert not list((project.folder / "work/retrain").glob("*/state_*.pt"))
    project.run(*by_hand(project, f"retrain@{SOFT}", "results/again"))
    assert digest(project.folder / "results/again/student.safetensors") == resumed

    edit(
        project.folder / "params/methods/soft_teacher.yaml", unlabeled_weigth=1.0
    )  # act 5: a typo ends in one sentence
    text = project.snakemake(fails=True)
    assert "unknown parameter `unlabeled_weigth`; did you mean `unlabeled_weight`?" in text


def by_hand(project: Project, stage: str, out: str) -> list[str]:
    """The stage's own command with another place to write to."""
    lock = yaml.safe_load((project.folder / "dvc.lock").read_text())
    words = lock["stages"][stage]["cmd"].split()
    return [sys.executable, *words[1:-1], out]


def kill_when(project: Project, command: list[str], work: Path) -> None:
    """Start, wait for the first checkpoint, and kill -9 the whole family."""
    running = subprocess.Popen(
        command, cwd=project.folder, env=project.environment, start_new_session=True,
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    limit = time.monotonic() + 240
    while not list(work.glob("*/state_*.pt")):
        assert running.poll() is None and time.monotonic() < limit, "no checkpoint was written"
        time.sleep(0.05)
    os.killpg(running.pid, signal.SIGKILL)
    running.wait()
    # a stage may have its own process group: none of this project may live on
    for process in Path("/proc").glob("[0-9]*"):
        try:
            if process.joinpath("cwd").resolve() == project.folder:
                os.kill(int(process.name), signal.SIGKILL)
        except OSError:
            continue
    wait_until_gone(running.pid)
