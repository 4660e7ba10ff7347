"""Train once in peace and once killed (signal 9) eight times in a row; print whether the weights are the same bytes.

    python tests/faults/kills.py FOLDER [SEED]
    python tests/faults/kills.py FOLDER group     once, by SIGTERM to the training and its loader worker; what it said

Each life is a fork of this process, so that it starts in milliseconds. Lives are as long as chance has it, so kills
fall into forward passes, into the writing of the state, into the start. Every second life has a loader worker.
"""

from __future__ import annotations

import copy
import json
import os
import random
import signal
import sys
import time
from pathlib import Path

import torch
from safetensors.torch import save

from scantling import train
from scantling.stage import Stopped
from tests import tiny, toy
from tests.methods import test_battery as battery

KILLS, STEPS = 8, 60


def train_all(folder: Path, workers: int) -> None:
    """The whole training, from wherever the last life left it, into folder/student.safetensors."""
    method = battery.method_of(toy.ROOT / "params/methods/soft_teacher.yaml")
    student = tiny.detector("faster_rcnn")
    average = copy.deepcopy(student)
    params = toy.training(STEPS, checkpoint_every_steps=2, log_every_steps=5, rehearse=True, workers=workers)
    trained = train.run(
        student=student, average=average, labeler=average, method=method, pool=toy.pool(folder), views=toy.VIEWS,
        params=params, seed=4, device="cpu", work=folder / "work", what="killed",
    )  # fmt: skip
    history = trained.history.drop(columns=["images_per_second", "peak_memory_mib"])
    content = save({k: v.contiguous() for k, v in trained.student.state_dict().items()})
    (folder / "result.part").write_bytes(content + history.to_csv(index=False).encode())
    os.replace(folder / "result.part", folder / "result")


def born(folder: Path, workers: int) -> int:
    """Start a life, in a group of its own; gives its process id."""
    child = os.fork()
    if child == 0:
        status = 1
        try:
            os.setsid()
            with (folder / "said.txt").open("a") as said:
                os.dup2(said.fileno(), 1)
                os.dup2(said.fileno(), 2)
                train_all(folder, workers)
                status = 0
        except Stopped as reason:
            (folder / "reason.txt").write_text(str(reason))
            status = 2
        finally:
            os._exit(status)
    return child


def group(folder: Path) -> None:
    """SIGTERM to a whole group, as a cluster sends it: the state is saved, and the rest ends in the same bytes."""
    child = born(folder, 1)
    while not list((folder / "work").glob("state_*")):
        time.sleep(0.01)
    os.killpg(child, signal.SIGTERM)
    _, status = os.waitpid(child, 0)
    print(json.dumps({"status": os.waitstatus_to_exitcode(status), "reason": (folder / "reason.txt").read_text()}))


def main() -> None:
    torch.set_num_threads(1)
    if sys.argv[2:] == ["group"]:
        return group(Path(sys.argv[1]))
    folder, rng = Path(sys.argv[1]), random.Random(int(sys.argv[2]) if len(sys.argv) > 2 else 0)
    for name in ("peace", "killed"):
        (folder / name).mkdir(parents=True)
    started = time.monotonic()
    _, status = os.waitpid(born(folder / "peace", 0), 0)
    assert status == 0, (folder / "peace/said.txt").read_text()
    length = time.monotonic() - started

    kills = 0
    while kills < KILLS:
        child = born(folder / "killed", kills % 2)
        time.sleep(rng.uniform(0.0, 1.6) * length / KILLS)
        os.kill(child, signal.SIGKILL)
        _, status = os.waitpid(child, 0)
        if status == 0:  # it was done before; the lives were too long
            break
        kills += 1
    _, status = os.waitpid(born(folder / "killed", 0), 0)
    assert status == 0, (folder / "killed/said.txt").read_text()
    results = {name: (folder / name / "result").read_bytes() for name in ("peace", "killed")}
    resumed = (folder / "killed/said.txt").read_text().count("resumed at step")
    print(json.dumps({"kills": kills, "resumed": resumed, "equal": results["peace"] == results["killed"]}))


if __name__ == "__main__":
    main()
