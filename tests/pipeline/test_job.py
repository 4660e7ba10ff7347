"""What a job tells its stage; SIGTERM or Ctrl-C to all of it, DVC included: a state is saved, the next call goes on."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.pipeline.toy_project import Toy, environment
from workflow import job


@pytest.mark.parametrize("asking", [signal.SIGTERM, signal.SIGINT])
def test_sigterm_or_ctrl_c_to_everything_is_for_the_stage(tmp_path: Path, asking: signal.Signals) -> None:
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
    os.killpg(process.pid, asking)
    time.sleep(0.1)
    os.killpg(process.pid, asking)  # whatever sends it twice
    said, _ = process.communicate(timeout=60)
    assert process.returncode not in (0, -asking), said
    assert "failed to reproduce 'retrain@toy-a'" in said, "DVC came to its end, too"
    assert toy.read(".pipeline/failed/retrain@toy-a").startswith("retrain: asked to end at step")
    reached = toy.read("work/toy-a-1-400.txt")
    assert toy.read(".dvc/tmp/rwlock") == "{}"

    toy.flag("slow", False)
    toy.forget()
    toy.dvc("repro", "-q", "retrain@toy-a")
    assert toy.ran() == {f"retrain@toy-a from {reached}"}


def test_what_a_stage_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[dict[str, str]] = []
    monkeypatch.setattr(job, "repro", lambda stage, log, environment, *options: told.append(environment) or 0)
    monkeypatch.setattr("signal.signal", lambda *_: None)
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "4,6,7")
    monkeypatch.delenv("SCANTLING_PROCESSES", raising=False)
    monkeypatch.delenv("SCANTLING_DEVICE", raising=False)
    for gpus, nodes in ((2, 3), (0, 1)):
        assert job.main("retrain@a", tmp_path / "log", gpus, nodes) == 0
    names = ("CUDA_VISIBLE_DEVICES", "SCANTLING_NODES", "SCANTLING_PROCESSES")
    assert [tuple(one.get(name) for name in names) for one in told] == [("4,6", "3", None), ("4,6,7", "1", "1")]


def test_checkout_and_environment_may_lie_below_a_name_with_a_space(tmp_path: Path) -> None:
    toy, linked = Toy.create(tmp_path / "a toy"), tmp_path / "an environment"
    linked.symlink_to(sys.prefix)
    toy.call(str(linked / "bin" / Path(sys.executable).name), "-m", "snakemake", "--cores", "2", "--", "prepare@toy")
    assert (toy.folder / "results/prepare/toy").is_dir()
