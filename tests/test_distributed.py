"""Several processes: the same result as one, one voice, and no one waits for the dead."""

import json
import multiprocessing
import os
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import torch
from safetensors.torch import load_file

from scantling import checkpoint, distributed
from scantling.stage import run as run_stage
from stages.evaluate import evaluate
from tests import toy, two_processes
from tests.report import synthetic

ROOT = toy.ROOT
MEASURED = ["images_per_second", "peak_memory_mib"]


def torchrun(*command: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    words = [sys.executable, "-W", "ignore", "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    environment = os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", "SCANTLING_DEVICE": "cpu"}
    return subprocess.run([*words, *command], cwd=cwd, env=environment, capture_output=True, text=True, timeout=500)


def both(function: Callable[..., None], words: list[str], folder: Path) -> tuple[list[int | None], list[str]]:
    """A stage in two processes, without the seconds that torchrun takes to start: exit codes and what each said."""
    folder.mkdir(exist_ok=True)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    context = multiprocessing.get_context("forkserver")  # imports once for all of them
    context.set_forkserver_preload(["tests.two_processes", "stages.evaluate"])
    started = [
        context.Process(target=two_processes.one_of_two, args=(rank, port, function, words, folder))
        for rank in range(2)
    ]
    for process in started:
        process.start()
    for process in started:
        process.join(500)  # seconds; minutes on a machine that does other work
        process.kill()
    return [p.exitcode for p in started], [(folder / f"said_{rank}.txt").read_text() for rank in range(2)]


def assert_alike(one: Path, other: Path) -> None:
    a, b = load_file(one), load_file(other)
    assert a.keys() == b.keys()
    for name in a:
        torch.testing.assert_close(a[name], b[name], rtol=1e-4, atol=1e-6, msg=f"{one.name} {name}")


def flat(content: Any, at: str = "") -> dict[str, Any]:
    """The numbers of nested dicts by their path."""
    if not isinstance(content, dict):
        return {} if isinstance(content, str) else {at: content}
    return {k: v for name, part in content.items() for k, v in flat(part, f"{at}/{name}").items()}


def test_two_processes_are_one_with_twice_the_batch(tmp_path: Path) -> None:
    ended, said = both(two_processes.stage, two_processes.options("equal", tmp_path / "two"), tmp_path / "two")
    assert ended == [0, 0], said
    one, two = tmp_path / "one" / "out", tmp_path / "two" / "out"
    one.mkdir(parents=True)
    two_processes.equal(tmp_path / "one", one)
    labeling = 0
    for name in two_processes.RUNS:
        for role in ("student", "teacher"):
            assert_alike(one / f"{name}-{role}.safetensors", two / f"{name}-{role}.safetensors")
        aids, of_two = (json.loads((out / f"{name}.json").read_text()) for out in (one, two))
        assert flat(of_two) == pytest.approx(flat(aids), rel=1e-3, abs=1e-5)
        if name == "ci_ssod-faster_rcnn":
            assert aids["gradients"]["rows"]["bar"]["bar"] < 0 and aids["detections_counted"]["square"] > 0
        alone, shared = (pd.read_csv(out / f"{name}.csv").drop(columns=MEASURED) for out in (one, two))
        losses = [c for c in alone if "/" in c or c in ("step", "loss", "learning_rate", "pseudo_boxes")]
        pd.testing.assert_frame_equal(alone[losses], shared[losses], rtol=1e-4, atol=1e-6)
        # the rest may be means over what a process happens to have: its log is the mean of these means
        pd.testing.assert_frame_equal(alone, shared, rtol=0.1, atol=0.02)
        labeling += alone.get("pseudo_boxes", pd.Series([0.0])).max() > 1
    assert labeling >= 4, "the comparison must see methods that label"
    assert (one / "labels.parquet").read_bytes() == (two / "labels.parquet").read_bytes()
    assert json.loads((two / "labels.json").read_text())["world"] == 2
    assert json.loads((two / "provenance.json").read_text())["processes"] == 2
    assert "retinanet 2/2" in said[0] and said[1] == "", "one process speaks"
    assert sorted(p.name for p in two.parent.glob(".out*")) == []


def test_processes_of_a_stage_keep_their_work_under_one_name(tmp_path: Path) -> None:
    ended, said = both(two_processes.stage, two_processes.options("named", tmp_path / "two"), tmp_path / "two")
    assert ended == [0, 0], said
    (found,) = tmp_path.rglob("names.json")
    assert len(names := json.loads(found.read_text())) == 2 and len(set(names.values())) == 1


def test_two_processes_after_a_kill_write_the_bytes_of_one(tmp_path: Path) -> None:
    """The first of them dies in the middle; what both had done stays, and one alone makes the rest."""
    one = tmp_path / "one/out"
    one.mkdir(parents=True)
    two_processes.labels(tmp_path / "one", one)
    two = tmp_path / "two"
    ended, said = both(two_processes.stage, two_processes.options("killed_labels", two), two)
    assert ended[1] == -9, said
    left = len(list((two / "parts").glob("*.parquet")))
    assert 0 < left < 6
    ended, said = both(two_processes.stage, two_processes.options("labels", two), two)
    assert ended == [0, 0], said
    assert f"goes on: {left} of 6 parts are there" in said[0]
    assert (one / "labels.parquet").read_bytes() == (two / "out/labels.parquet").read_bytes()
    assert json.loads((two / "out/labels.json").read_text())["world"] == 2


def test_the_others_wait_for_the_first_one_to_write(tmp_path: Path) -> None:
    ended, said = both(two_processes.stage, two_processes.options("long_writing", tmp_path), tmp_path)
    assert ended == [0, 0], said
    assert (tmp_path / "out/written").exists()


def test_a_dying_process_ends_the_others_with_its_error(tmp_path: Path) -> None:
    folder = tmp_path / "two"
    folder.mkdir()
    done = torchrun(str(ROOT / "tests/two_processes.py"), "dying", str(folder), cwd=folder)
    assert done.returncode != 0
    assert "the second process is out of luck" in done.stderr
    assert "process 0: stage: another process ended; see what it says" in done.stderr
    assert not (folder / "out").exists()


def test_asked_to_end_they_save_and_go_on_later(tmp_path: Path) -> None:
    ended, said = both(two_processes.stage, two_processes.options("asked_to_end", tmp_path / "two"), tmp_path / "two")
    assert ended == [1, 1]
    assert "process 0: stage: asked to end (SIGTERM) at step 3; the same command goes on from there" in said[0]
    (tmp_path / "rest").mkdir()
    two_processes.asked_to_end(tmp_path / "two", tmp_path / "rest")  # any number of processes can go on
    (tmp_path / "alone").mkdir()
    (tmp_path / "alone/asked").touch()
    two_processes.asked_to_end(tmp_path / "alone", tmp_path / "alone")
    assert_alike(tmp_path / "rest/student.safetensors", tmp_path / "alone/student.safetensors")


def test_stages_in_two_processes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    plan = synthetic.study(folds=(1,), splits=("percent_10",))
    results = synthetic.write(tmp_path, plan)
    run = next(iter(plan.runs.values()))
    training = (ROOT / "params/training/digits.yaml").read_text()
    (tmp_path / "t.yaml").write_text(training.replace("steps: 250", "steps: 2"))
    common = ["--index", str(results / "prepare/shapes"), "--split", str(results / "split" / run.split_key)]

    burn_in = [str(ROOT / "stages/burn_in.py"), *common, "--seed", "0", "--out", "model"]
    burn_in += ["--detector", str(ROOT / "params/detectors/retinanet_lite.yaml")]
    burn_in += ["--labeled", "t.yaml:views.labeled", "--training", "t.yaml:burn_in"]
    done = torchrun(*burn_in, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert json.loads((tmp_path / "model/provenance.json").read_text())["processes"] == 2
    header = checkpoint.read_header(tmp_path / "model/student.safetensors")
    assert header["step"] == 2 and header["training"]["steps"] == 2 and header["training"]["batch"] == 4

    words = [*common, "--pseudo", str(results / "pseudo_label" / run.burn_in_key), "--model", "model"]
    words += ["--refined", str(results / "polish" / run.key), "--params", str(ROOT / "params/evaluate.yaml")]
    ended, said = both(evaluate, [*words, "--out", "two"], tmp_path)
    assert ended == [0, 0], said
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("SCANTLING_DEVICE", "cpu")
    run_stage(evaluate, [*words, "--out", "one"])
    for file in ("metrics.json", "per_class.csv", "detections.parquet", "label_quality.json"):
        assert (tmp_path / "one" / file).read_bytes() == (tmp_path / "two" / file).read_bytes(), file
    assert list((tmp_path / "work").rglob("*.parquet")) == [], "parts are removed when the stage is done"


def test_alone_nothing_is_started() -> None:
    values = torch.tensor([1.0, 2.0])
    assert distributed.world() == 1 and distributed.rank() == 0 and distributed.is_first()
    assert distributed.mean(values) is values and distributed.lowest(3) == 3 and distributed.prefix() == ""
    assert not distributed.deserted(RuntimeError("Connection closed by peer"))
    assert not torch.distributed.is_initialized()
