"""The demo's whole study through a real Slurm of two nodes: jobs preempted, one canceled half-way, no step lost."""

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

from tests.pipeline import slurm_cluster
from tests.pipeline.small_project import Project, copy, edit

# the executor's pauses between two looks at the queue grow by 10 s; jobs of seconds are looked at every second
SNAKEMAKE = """
import sys
from snakemake.cli import main
from snakemake_executor_plugin_slurm import Executor
Executor.next_seconds_between_status_checks = property(lambda self: 1, lambda self, seconds: None)
main(sys.argv[1:])
"""
PROFILE = ["--cores", "all", "--profile", "slurm", "--slurm-status-command", "squeue"]
STAGES = {"prepare", "split", "burn_in", "pseudo_label", "polish", "retrain", "evaluate", "report"}


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
    for recipe in ("digits", "digits_sparse"):
        training = made.folder / f"params/training/{recipe}.yaml"
        edit(training, burn_in__steps=12, burn_in__checkpoint_every_steps=1)
        edit(training, retrain__steps=12, retrain__checkpoint_every_steps=4)
        edit(training, retrain__labeled_per_step=4, retrain__unlabeled_per_step=4)
    edit(made.folder / "params/resources.yaml", default__mem_mb=500, retrain__nodes=2, retrain__gpu=2)
    made.begin("demo")
    return made


def until(condition: Callable[[], Any]) -> Any:
    limit = time.monotonic() + 500
    while not (found := condition()):
        assert time.monotonic() < limit
        time.sleep(0.02)
    return found


def running(stage: str) -> list[str]:
    jobs = slurm_cluster.ask("squeue", "--noheader", "--format=%i %k", "--states=RUNNING").splitlines()
    return [job.split()[0] for job in jobs if f"rule_{stage}@" in job]


def disturb(project: Project, done: list[str]) -> None:
    """As soon as a training has saved a state: the jobs of burn_in are preempted, that of retrain is canceled."""
    for stage in ("burn_in", "retrain"):
        until(lambda stage=stage: list((project.folder / "work" / stage).glob("*/state_*.pt")))
        for job in running(stage):
            subprocess.run(["scancel", job] if stage == "retrain" else ["scontrol", "requeue", job], check=True)
            done.append(stage)
            if stage == "burn_in":  # Slurm would wait for KillWait once more before it starts the job again
                pending = ["squeue", "--noheader", "--format=%i", "--states=PENDING", f"--jobs={job}"]
                until(lambda pending=pending: slurm_cluster.ask(*pending))
                subprocess.run(["scontrol", "update", f"JobId={job}", "StartTime=now"], check=True)


def finished(said: str) -> list[str]:
    return re.findall(r"Finished jobid: \d+ \(Rule: (\S+)\)", said)


def test_the_demo_on_two_nodes(cluster: None, project: Project) -> None:
    done: list[str] = []
    threading.Thread(target=disturb, args=(project, done), daemon=True).start()
    first = project.run(sys.executable, "-c", SNAKEMAKE, *PROFILE, fails=True)
    assert set(done) == {"burn_in", "retrain"}
    logs = project.folder / "logs"
    told = [log.read_text().count("resumed at step") for log in logs.glob("burn_in@*.log")]
    assert len(told) == 2 and max(told) == 1, "preempted, it went on by itself"
    # everything got SIGTERM: four processes ended at one step, with the state saved and a sentence that came through
    asked = re.search(
        r"(retrain@\S+) failed: .*retrain: asked to end \(SIGTERM\) at step (\d+); the same command", first
    )
    assert asked, first
    assert len(list((project.folder / "work/retrain").glob(f"*/state_{int(asked[2]):09d}_*.pt"))) == 1

    # another cluster: it goes on with one process, and nothing else has to run again
    edit(project.folder / "params/resources.yaml", retrain__nodes=1, retrain__gpu=0)
    second = project.run(sys.executable, "-c", SNAKEMAKE, *PROFILE)
    log = (logs / f"{asked[1]}.log").read_text()
    assert log.count("4 processes on cpu") == log.count("1 process on cpu") == 1
    assert re.search(rf"resumed at step {asked[2]} from \S+, which 4 processes wrote", log), log
    rules = finished(first) + finished(second)
    assert len(rules) == len(set(rules)), "nothing ran twice"
    assert {rule.partition("@")[0] for rule in rules} >= STAGES

    results = project.folder / "results"
    assert {p.parent.parent.name for p in results.rglob("provenance.json")} == STAGES
    measured = [json.loads(path.read_text()) for path in results.glob("evaluate/*/metrics.json")]
    assert len(measured) == 5 and all(len(one["teacher"]) == 12 for one in measured)
    assert project.dvc_ran() == set(), "the other engine has nothing to do"
