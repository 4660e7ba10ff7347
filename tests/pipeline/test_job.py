"""SIGTERM to a whole job, engines and all: the stage saves its state, DVC keeps no lock, the next call goes on."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

from tests.pipeline.toy_project import Toy, environment


def test_sigterm_to_everything_is_for_the_stage(tmp_path: Path) -> None:
    toy = Toy.create(tmp_path / "toy")
    toy.dvc("repro", "-q", "prepare@toy")
    for folder in (".pipeline/failed", "logs/snakemake"):
        (toy.folder / folder).mkdir(parents=True)
    toy.flag("slow", True)
    toy.set("training", a={"steps": 400})
    words = [sys.executable, "-m", "workflow.job", "retrain@toy-a", "logs/snakemake/retrain@toy-a.log", "0", "1"]
    process = subprocess.Popen(
        words, cwd=toy.folder, env=environment(), start_new_session=True, text=True,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
    )  # fmt: skip
    toy.wait_for("work/toy-a-1-400.txt", "3")
    os.killpg(process.pid, signal.SIGTERM)
    time.sleep(0.1)
    os.killpg(process.pid, signal.SIGTERM)  # whatever sends it twice
    said, _ = process.communicate(timeout=60)
    assert process.returncode not in (0, -signal.SIGTERM), said
    assert "failed to reproduce 'retrain@toy-a'" in said, "DVC came to its end, too"
    assert toy.read(".pipeline/failed/retrain@toy-a").startswith("retrain: asked to end at step")
    reached = toy.read("work/toy-a-1-400.txt")
    assert toy.read(".dvc/tmp/rwlock") == "{}"

    toy.flag("slow", False)
    toy.forget()
    toy.dvc("repro", "-q", "retrain@toy-a")
    assert toy.ran() == {f"retrain@toy-a from {reached}"}
