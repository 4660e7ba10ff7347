"""The cluster profile on a real Slurm, where there is one: it may be a toy cluster on this machine."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from tests.pipeline.imports import ROOT
from tests.pipeline.toy_project import STAGES, Toy

PROFILE = ["--profile", "slurm", "--slurm-status-command", "squeue", "--slurm-init-seconds-before-status-checks", "5"]


def answers() -> bool:
    return bool(shutil.which("sbatch")) and subprocess.run(["sinfo"], capture_output=True, timeout=30).returncode == 0


@pytest.mark.skipif(not answers(), reason="no Slurm answers here (sbatch, sinfo)")
def test_every_stage_is_a_job_and_a_failure_says_why(tmp_path: Path) -> None:
    toy = Toy.create(tmp_path / "toy")
    shutil.copytree(ROOT / "slurm", toy.folder / "slurm")
    said = toy.snakemake(*PROFILE)
    assert toy.ran() == STAGES
    assert all(f"rule_{name}/" in said for name in STAGES)
    assert toy.run("dvc") == set()

    toy.flag("fail", True)
    toy.set("training", a={"rate": 7})
    said = toy.snakemake(*PROFILE, fails=True)
    assert "retrain@toy-a failed: retrain: work/fail: is there; delete it" in said
    toy.flag("fail", False)
    assert toy.run("dvc") == {"retrain@toy-a", "evaluate@toy-a", "report@two"}
