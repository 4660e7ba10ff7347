"""A whole study through a real Slurm of two nodes: a job canceled half-way, one on both nodes, each stage once."""

from __future__ import annotations

import json
import re
import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from tests.pipeline import slurm_cluster
from tests.pipeline.small_project import SEMI, SOFT, STUDY, Project, copy, edit

PROFILE = ["--profile", "slurm", "--slurm-status-command", "squeue", "--slurm-init-seconds-before-status-checks", "4"]
GROUPS = {  # stages that share a job, to spare the test seconds
    "labels": (f"generate@digits prepare@digits split@{SEMI} burn_in@{SEMI}-faster_rcnn_lite-digits-s0").split(),
    "teacher": [f"pseudo_label@{SEMI}-faster_rcnn_lite-digits-s0", f"polish@{SOFT}"],
    "end": [f"evaluate@{SOFT}", "report@smoke"],
}
RETRAIN = f"retrain@{SOFT}"


@pytest.fixture(scope="module")
def cluster() -> Iterator[None]:
    try:
        with slurm_cluster.running():
            yield
    except slurm_cluster.Impossible as reason:
        pytest.skip(str(reason))


@pytest.fixture
def project(tmp_path: Path) -> Project:
    made = Project(tmp_path / "project")
    copy(made.folder, "slurm")
    training = made.folder / "params/training/digits.yaml"
    edit(training, retrain__steps=12, retrain__labeled_per_step=4, retrain__unlabeled_per_step=4)
    edit(training, retrain__checkpoint_every_steps=4)
    study = STUDY | {"grid": [{"splits": ["images_5"], "methods": ["soft_teacher"]}]}
    (made.folder / "params/studies/smoke.yaml").write_text(yaml.safe_dump(study))
    edit(made.folder / "params/resources.yaml", default__mem_mb=500, retrain__nodes=2, retrain__gpu=2)
    made.begin()
    return made


def snakemake(project: Project, **options: bool) -> str:
    groups = [f"{stage}={group}" for group, stages in GROUPS.items() for stage in stages]
    return project.snakemake(*PROFILE, "--groups", *groups, "--", **options)


def cancel_when_there(state: Path, canceled: list[str]) -> None:
    """scancel of the job that runs on both nodes, as soon as its training has saved a state."""
    limit = time.monotonic() + 500
    while not list(state.glob("*/state_*.pt")) and time.monotonic() < limit:
        time.sleep(0.05)
    jobs = slurm_cluster.ask("squeue", "--noheader", "--states=RUNNING", "--format=%i %D").splitlines()
    canceled += [line.split()[0] for line in jobs if line.endswith(" 2")]
    subprocess.run(["scancel", *canceled])


def test_a_study_and_a_job_canceled_half_way(cluster: None, project: Project) -> None:
    canceled: list[str] = []
    threading.Thread(target=cancel_when_there, args=(project.folder / "work/retrain", canceled)).start()
    said = snakemake(project, fails=True)
    assert len(canceled) == 1
    # everything got SIGTERM: four processes ended at one step, with the state saved and a sentence that came through
    asked = re.search(rf"{RETRAIN} failed: .*retrain: asked to end \(SIGTERM\) at step (\d+); the same command", said)
    assert asked, said
    (state,) = (project.folder / "work/retrain").glob(f"*/state_{int(asked[1]):09d}_*.pt")
    assert state.is_file()

    said = snakemake(project)
    log = (project.folder / f"logs/{RETRAIN}.log").read_text()
    assert f"resumed at step {asked[1]} from" in log and "4 processes on cpu" in log
    made = project.folder / "results"
    processes = {f.parent.parent.name: json.loads(f.read_text())["processes"] for f in made.rglob("provenance.json")}
    assert processes == {stage: 1 for stage in processes} | {"retrain": 4}
    assert len(json.loads((made / f"evaluate/{SOFT}/metrics.json").read_text())["teacher"]) == 12
    assert project.dvc_ran() == set(), "the other engine has nothing to do"
    assert project.stale() == set()
