"""Starts a stage in as many processes as it was given: one, torchrun's on this machine, or torchrun's on each node.

    python -m workflow.launch stages/retrain.py --index ...

How many is read from the environment, so a command of dvc.yaml is the same on a laptop and on a cluster:

    SCANTLING_PROCESSES     processes on each node; without it one for each GPU that
    CUDA_VISIBLE_DEVICES    names (Slurm sets it, and workflow/job.py from params/resources.yaml); without both: one
    SCANTLING_NODES         nodes of a Slurm job that take part; without it
    SLURM_JOB_NUM_NODES     all of them

This process becomes what it starts, so signals and the exit status pass through; one process costs a few milliseconds.
"""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Mapping

from scantling import alone
from workflow import gpus

# --overlap: the step may lie inside another one (Snakemake's); no binding: loader workers use the job's other cores;
# when a node's processes fail, those of the other nodes are ended, which NCCL alone would let wait
SRUN = ["srun", "--overlap", "--ntasks-per-node=1", "--cpu-bind=none", "--mpi=none", "--kill-on-bad-exit=1"]
TORCHRUN = [sys.executable, "-m", "torch.distributed.run"]


def counts(environment: Mapping[str, str]) -> tuple[int, int]:
    """Nodes and processes on each of them."""
    on_gpus = environment.get("SCANTLING_DEVICE", "cuda").startswith("cuda")
    given = gpus.named(environment) if on_gpus else None
    processes = _number("SCANTLING_PROCESSES", environment) or len(given or [""])
    nodes = _number("SCANTLING_NODES", environment) or _number("SLURM_JOB_NUM_NODES", environment) or 1
    return (nodes if "SLURM_JOB_ID" in environment else 1), max(processes, 1)


def command(stage: list[str], environment: Mapping[str, str]) -> list[str]:
    """What runs `stage`, a script and its arguments."""
    if "WORLD_SIZE" in environment:  # torchrun, or who sets its variables, has started this
        return [sys.executable, *stage]
    nodes, processes = counts(environment)
    if nodes == 1:
        alone = [sys.executable, *stage]
        return alone if processes == 1 else [*TORCHRUN, "--standalone", f"--nproc-per-node={processes}", "--", *stage]
    if int(environment.get("SLURM_STEP_NUM_TASKS", "1")) > 1:
        sys.exit("launch: srun started this more than once; start it once, it starts the others on all nodes by itself")
    port = _free_port()
    meet = ["--rdzv-backend=c10d", f"--rdzv-id={environment['SLURM_JOB_ID']}-{port}"]
    meet.append(f"--rdzv-endpoint={_first_node(environment)}:{port}")
    on_each = [*TORCHRUN, f"--nnodes={nodes}", f"--nproc-per-node={processes}", *meet, "--", *stage]
    return [*SRUN, f"--nodes={nodes}", f"--ntasks={nodes}", *on_each]


def _number(name: str, environment: Mapping[str, str]) -> int | None:
    text = environment.get(name, "")
    if text and not (text.isdecimal() and int(text)):
        sys.exit(f"launch: {name} = {text!r}: give a number from 1, or nothing")
    return int(text) if text else None


def _first_node(environment: Mapping[str, str]) -> str:
    """Where the processes meet: this machine if it is one of the job's, as that of a batch script always is."""
    if "SLURMD_NODENAME" in environment:
        return socket.gethostname()
    words = ["scontrol", "--oneliner", "show", "node", environment["SLURM_JOB_NODELIST"]]
    return subprocess.run(words, check=True, capture_output=True, text=True).stdout.partition("NodeAddr=")[2].split()[0]


def _free_port() -> int:
    with socket.socket() as free:
        free.bind(("", 0))
        return free.getsockname()[1]


if __name__ == "__main__":
    if not sys.argv[1:]:
        sys.exit(__doc__)
    words = command(sys.argv[1:], os.environ)
    alone.end_with_engine()  # holds on through exec
    signal.signal(signal.SIGTERM, signal.SIG_DFL)  # who started this may ignore it; what is started must not
    os.execvp(words[0], words)
