"""One Snakemake job: `dvc repro` of one stage, its lines shown with the stage's name and kept in a log file.

    python -m workflow.job STAGE LOG GPUS NODES [--force]

DVC decides whether the stage runs, is restored from the run cache or is left alone. What the stage said last before
it failed is kept for the end of the Snakemake run, where other jobs would have scrolled it away. GPUS and NODES are
what the job has (params/resources.yaml), for workflow/launch.py.

SIGTERM to everything, with which a cluster takes a machine back, and SIGINT, Ctrl-C in a terminal, are for the stage
alone: it saves its state and ends, then DVC and this process do.
"""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

from workflow import gpus
from workflow.dag import FAILED
from workflow.head import watch

LOG_ONLY = ("Running stage ", "> ", "Updating lock file", "Generating lock file")  # DVC's own, the same for every stage
GIT_HINT = "To track the changes with git, run:"  # and everything DVC says after it
ELSEWHERE = "another process ended"  # what a process says that only noticed it: the reason is in another's words


def main(stage: str, log: Path, gpu: int, nodes: int, *options: str) -> int:
    # a handler, other than SIG_IGN, is not handed on to what is started
    signal.signal(signal.SIGTERM, lambda *_: None)
    if signal.getsignal(signal.SIGINT) != signal.SIG_IGN:  # of what a shell started behind itself it stays ignored
        signal.signal(signal.SIGINT, lambda *_: None)
    # `python` in dvc.yaml is the one that runs Snakemake, with or without an activated environment
    environment = os.environ | {"PATH": f"{Path(sys.prefix) / 'bin'}{os.pathsep}{os.environ.get('PATH', '')}"}
    environment |= {"PYTHONUNBUFFERED": "1", "SCANTLING_NODES": str(nodes)}
    # Snakemake says in this variable how many threads the job was given
    environment.setdefault("SCANTLING_THREADS", os.environ.get("OMP_NUM_THREADS", "1"))
    if not gpu:  # all GPUs are seen, for all jobs to share the first
        environment.setdefault("SCANTLING_PROCESSES", "1")
        return repro(stage, log, environment, *options)
    with gpus.taken(gpu, environment) as names:
        return repro(stage, log, environment | {"CUDA_VISIBLE_DEVICES": ",".join(names)}, *options)


def repro(stage: str, log: Path, environment: Mapping[str, str], *options: str) -> int:
    """`dvc repro` of the stage alone; its exit status."""
    command = [sys.executable, "-m", "workflow.repro", stage, *options]
    failed = FAILED / stage
    failed.unlink(missing_ok=True)
    # the sentence with which a stage ends; what torchrun says after it is longer than anybody reads
    sentence = re.compile(rf"(process \d+: )?{stage.partition('@')[0]}: (?!{ELSEWHERE})")
    said: list[str] = []
    why = ""
    hint = False
    with (
        log.open("w", buffering=1) as file,
        subprocess.Popen(
            command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace"
        ) as process,
    ):
        assert process.stdout is not None
        watch(process)
        for line in process.stdout:
            hint = hint or line.startswith(GIT_HINT)
            if hint or not line.strip():
                continue
            file.write(line)
            if not line.startswith(LOG_ONLY):
                print(f"{stage} | {line}", end="", flush=True)
                said = [*said[-20:], line.strip()]
                why = why or (line.strip() if sentence.match(line) else "")
    if process.returncode:
        own = [line for line in said if not line.startswith("ERROR:")] or said
        failed.write_text(why or (own[-1] if own else f"ended with status {process.returncode}"))
    return process.returncode


def failures() -> str:
    """What the failed stages said last, a line each; forgotten once read."""
    lines = []
    for file in sorted(FAILED.iterdir()):
        lines.append(f"{file.name} failed: {file.read_text()}\n    all it said: {log_of(file.name)}")
        file.unlink()
    return "\n".join(lines)


def log_of(stage: str) -> str:
    return f"logs/snakemake/{stage}.log"


if __name__ == "__main__":
    try:
        sys.exit(main(sys.argv[1], Path(sys.argv[2]), int(sys.argv[3]), int(sys.argv[4]), *sys.argv[5:]))
    except KeyboardInterrupt:
        sys.exit(130)
