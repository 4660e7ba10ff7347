"""One Snakemake job: `dvc repro` of one stage, its lines shown with the stage's name and kept in a log file.

    python -m workflow.job STAGE LOG [--force]

DVC decides whether the stage runs, is restored from the run cache or is left alone. What the stage said last before
it failed is kept for the end of the Snakemake run, where other jobs would have scrolled it away.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from workflow.dag import FAILED
from workflow.head import watch

LOG_ONLY = ("Running stage ", "> ", "Updating lock file", "Generating lock file")  # DVC's own, the same for every stage
GIT_HINT = "To track the changes with git, run:"  # and everything DVC says after it


def main(stage: str, log: Path, *options: str) -> int:
    command = [sys.executable, "-m", "dvc", "--wait-for-lock", "repro", "--single-item", *options, stage]
    # `python` in dvc.yaml is the one that runs Snakemake, with or without an activated environment
    environment = os.environ | {"PATH": f"{Path(sys.prefix) / 'bin'}{os.pathsep}{os.environ.get('PATH', '')}"}
    environment |= {"PYTHONUNBUFFERED": "1"}
    # Snakemake says in this variable how many threads the job was given
    environment.setdefault("SCANTLING_THREADS", os.environ.get("OMP_NUM_THREADS", "1"))
    failed = FAILED / stage
    failed.unlink(missing_ok=True)
    said: list[str] = []
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
    if process.returncode:
        own = [line for line in said if not line.startswith("ERROR:")] or said
        failed.write_text(own[-1] if own else f"ended with status {process.returncode}")
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
        sys.exit(main(sys.argv[1], Path(sys.argv[2]), *sys.argv[3:]))
    except KeyboardInterrupt:
        sys.exit(130)
