"""A study through a real Slurm of two nodes: a job preempted, one on both nodes canceled half-way, no step lost."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.pipeline import slurm_cluster
from tests.pipeline.small_project import SEMI, SOFT, STUDY, Project, copy, edit

# the executor's pauses between two looks at the queue grow by 10 s; jobs of seconds are looked at every second
SNAKEMAKE = """
import sys
from snakemake.cli import main
from snakemake_executor_plugin_slurm import Executor
Executor.next_seconds_between_status_checks = property(lambda self: 1, lambda self, seconds: None)
main(sys.argv[1:])
"""
PROFILE = ["--cores", "all", "--profile", "slurm", "--slurm-status-command", "squeue"]
BURN_IN, RETRAIN = f"burn_in@{SEMI}-faster_rcnn_lite-digits-s0", f"retrain@{SOFT}"


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
    edit(training, burn_in__steps=12, burn_in__checkpoint_every_steps=1)
    edit(training, retrain__steps=12, retrain__checkpoint_every_steps=4)
    edit(training, retrain__labeled_per_step=4, retrain__unlabeled_per_step=4)
    study = STUDY | {"grid": [{"splits": ["images_5"], "methods": ["soft_teacher"]}]}
    (made.folder / "params/studies/smoke.yaml").write_text(yaml.safe_dump(study))
    edit(made.folder / "params/resources.yaml", default__mem_mb=500, retrain__nodes=2, retrain__gpu=2)
    made.begin()
    return made


def until(condition: Callable[[], Any]) -> Any:
    limit = time.monotonic() + 500
    while not (found := condition()):
        assert time.monotonic() < limit
        time.sleep(0.02)
    return found


def disturb(project: Project, done: list[str]) -> None:
    """As soon as a training has saved a state: burn_in's job is preempted, retrain's is canceled."""
    in_queue = ["squeue", "--noheader", "--format=%i"]
    for stage in ("burn_in", "retrain"):
        until(lambda stage=stage: list((project.folder / "work" / stage).glob("*/state_*.pt")))
        job = slurm_cluster.ask(*in_queue, "--states=RUNNING")
        subprocess.run(["scancel", job] if stage == "retrain" else ["scontrol", "requeue", job], check=True)
        done.append(stage)
        if stage == "burn_in":  # Slurm would wait for KillWait once more before it starts the job again
            until(lambda: slurm_cluster.ask(*in_queue, "--states=PENDING"))
            subprocess.run(["scontrol", "update", f"JobId={job}", "StartTime=now"], check=True)


def test_a_study_on_two_nodes(cluster: None, project: Project) -> None:
    done: list[str] = []
    threading.Thread(target=disturb, args=(project, done), daemon=True).start()
    said = project.run(sys.executable, "-c", SNAKEMAKE, *PROFILE, fails=True)
    assert done == ["burn_in", "retrain"]
    log = (project.folder / f"logs/{BURN_IN}.log").read_text()
    assert log.count("resumed at step") == 1, "preempted, it went on by itself"
    # everything got SIGTERM: four processes ended at one step, with the state saved and a sentence that came through
    asked = re.search(rf"{RETRAIN} failed: .*retrain: asked to end \(SIGTERM\) at step (\d+); the same command", said)
    assert asked, said
    assert len(list((project.folder / "work/retrain").glob(f"*/state_{int(asked[1]):09d}_*.pt"))) == 1

    # another cluster: it goes on with one process, and nothing else has to run again
    edit(project.folder / "params/resources.yaml", retrain__nodes=1, retrain__gpu=0)
    said = project.run(sys.executable, "-c", SNAKEMAKE, *PROFILE)
    assert set(re.findall(r"Finished jobid: \d+ \(Rule: (\w+)@", said)) == {"retrain", "evaluate", "report"}
    log = (project.folder / f"logs/{RETRAIN}.log").read_text()
    assert log.count("4 processes on cpu") == log.count("1 process on cpu") == 1
    assert re.search(rf"resumed at step {asked[1]} from \S+, which 4 processes wrote", log), log
    results = project.folder / "results"
    made = {p.parent.parent.name for p in results.rglob("provenance.json")}
    assert made == {"prepare", "split", "burn_in", "pseudo_label", "polish", "retrain", "evaluate", "report"}
    assert len(json.loads((results / f"evaluate/{SOFT}/metrics.json").read_text())["teacher"]) == 12
    assert project.dvc_ran() == set(), "the other engine has nothing to do"
