"""How many processes a stage is started in, and that SIGTERM to all of them loses no step."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from torch.distributed.run import parse_args

from tests import two_processes
from tests.pipeline.imports import ROOT
from tests.test_distributed import both
from workflow.launch import command, counts

JOB = {"SLURM_JOB_ID": "7", "SLURMD_NODENAME": "n1"}
STAGE = ["stages/retrain.py", "--start", "a", "--r", "b"]


@pytest.mark.parametrize(
    ("environment", "expected"),
    [
        ({}, (1, 1)),
        ({"CUDA_VISIBLE_DEVICES": ""}, (1, 1)),
        ({"CUDA_VISIBLE_DEVICES": "NoDevFiles"}, (1, 1)),
        ({"CUDA_VISIBLE_DEVICES": "-1"}, (1, 1)),
        ({"CUDA_VISIBLE_DEVICES": "3"}, (1, 1)),
        ({"CUDA_VISIBLE_DEVICES": "0,2,5"}, (1, 3)),
        ({"CUDA_VISIBLE_DEVICES": "GPU-1d, MIG-2e"}, (1, 2)),
        ({"CUDA_VISIBLE_DEVICES": "0,1", "SCANTLING_DEVICE": "cpu"}, (1, 1)),
        ({"CUDA_VISIBLE_DEVICES": "0,1", "SCANTLING_PROCESSES": "4"}, (1, 4)),
        ({"SCANTLING_PROCESSES": "2", "SCANTLING_DEVICE": "cpu"}, (1, 2)),
        ({"SCANTLING_NODES": "2"}, (1, 1)),  # there is nothing to reach other nodes with
        (JOB | {"SLURM_JOB_NUM_NODES": "2"}, (2, 1)),
        (JOB | {"SLURM_JOB_NUM_NODES": "2", "CUDA_VISIBLE_DEVICES": "0,1"}, (2, 2)),
        (JOB | {"SLURM_JOB_NUM_NODES": "4", "SCANTLING_NODES": "2"}, (2, 1)),
        (JOB | {"SLURM_JOB_NUM_NODES": "4", "SCANTLING_NODES": "1"}, (1, 1)),
    ],
)
def test_counts(environment: dict[str, str], expected: tuple[int, int]) -> None:
    assert counts(environment) == expected


@pytest.mark.parametrize("value", ["0", "two", "-1", "1.5"])
def test_a_count_that_is_none_is_refused(value: str) -> None:
    with pytest.raises(SystemExit, match=f"launch: SCANTLING_PROCESSES = '{value}': give a number from 1"):
        counts({"SCANTLING_PROCESSES": value})


def test_commands() -> None:
    assert command(STAGE, {}) == [sys.executable, *STAGE]
    started = {"WORLD_SIZE": "2", "RANK": "0", "SCANTLING_PROCESSES": "2"}
    assert command(STAGE, started) == [sys.executable, *STAGE], "torchrun is not started by torchrun"

    words = command(STAGE, {"SCANTLING_PROCESSES": "8"})
    assert words[:3] == [sys.executable, "-m", "torch.distributed.run"]
    understood = parse_args(words[3:])
    assert understood.standalone and understood.nproc_per_node == "8"
    # options of ours that torchrun has by another name, or by several, are left to the stage
    assert [understood.training_script, *understood.training_script_args] == STAGE

    words = command(STAGE, JOB | {"SLURM_JOB_NUM_NODES": "3", "CUDA_VISIBLE_DEVICES": "0,1"})
    at = words.index(sys.executable)
    assert words[0] == "srun" and {"--nodes=3", "--ntasks=3", "--ntasks-per-node=1"} <= set(words[:at])
    understood = parse_args(words[at + 3 :])
    assert (understood.nnodes, understood.nproc_per_node, understood.rdzv_backend) == ("3", "2", "c10d")
    assert (
        understood.rdzv_id.startswith("7-") and [understood.training_script, *understood.training_script_args] == STAGE
    )


def test_started_by_srun_several_times_it_says_so() -> None:
    with pytest.raises(SystemExit, match="start it once"):
        command(STAGE, JOB | {"SLURM_JOB_NUM_NODES": "2", "SLURM_STEP_NUM_TASKS": "2"})


def started(*stage: str, folder: Path, processes: int) -> subprocess.Popen[str]:
    environment = os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", "SCANTLING_DEVICE": "cpu"}
    environment |= {"SCANTLING_PROCESSES": str(processes), "PYTHONWARNINGS": "ignore"}
    return subprocess.Popen(
        [sys.executable, "-m", "workflow.launch", *stage], cwd=folder, env=environment, start_new_session=True,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
    )  # fmt: skip


def test_one_process_is_the_stage_itself(tmp_path: Path) -> None:
    script = tmp_path / "stage.py"
    script.write_text("import os, sys; print(os.getpid(), sys.argv[1:], 'torch' in sys.modules, os.getenv('RANK'))")
    process = started(str(script), "--a", "b", folder=tmp_path, processes=1)
    said, _ = process.communicate(timeout=60)
    assert said == f"{process.pid} ['--a', 'b'] False None\n" and process.returncode == 0


def test_sigterm_to_all_and_again_gives_the_same_bytes(tmp_path: Path) -> None:
    script = str(ROOT / "tests/two_processes.py")
    (tmp_path / "asked").mkdir()
    (tmp_path / "asked/slow").touch()
    process = started(script, "slow", str(tmp_path / "asked"), folder=tmp_path / "asked", processes=2)
    limit = time.monotonic() + 250
    while not (tmp_path / "asked/third").exists():
        assert process.poll() is None and time.monotonic() < limit, "the third step never began"
        time.sleep(0.02)
    # as Slurm does: torchrun and both processes get it, and torchrun tells the processes once more
    os.killpg(process.pid, signal.SIGTERM)
    said, _ = process.communicate(timeout=250)
    assert process.returncode != 0
    asked = [line for line in said.splitlines() if "stage: asked to end (SIGTERM) at step" in line]
    assert {line.partition(":")[0] for line in asked} == {"process 0", "process 1"}, said
    assert len({line.partition(":")[2] for line in asked}) == 1, "both end at one step"
    (state,) = (tmp_path / "asked/w").glob("state_*.pt")

    (tmp_path / "asked/slow").unlink()
    for name in ("asked", "peace"):
        ended, told = both(two_processes.stage, two_processes.options("slow", tmp_path / name), tmp_path / name)
        assert ended == [0, 0], told
        assert (f"resumed at step {int(state.name.split('_')[1])} from" in told[0]) == (name == "asked")
    one, two = (tmp_path / name / "out/student.safetensors" for name in ("asked", "peace"))
    assert one.read_bytes() == two.read_bytes()
