"""What tests/test_distributed.py runs in one process and under torchrun, in the same way.

python tests/two_processes.py CASE FOLDER
"""

from __future__ import annotations

import copy
import json
import os
import signal
import sys
import time
from datetime import timedelta
from pathlib import Path
from typing import Any
from unittest import mock

import torch
import torch.distributed as dist
from safetensors.torch import save_file

from scantling import distributed, methods, parts, predict, train
from scantling.augment.views import ViewParams
from scantling.methods import supervised
from scantling.pseudo import PseudoLabelParams
from scantling.stage import run
from tests import tiny, toy
from tests.methods import test_battery as battery

# every view of one size, so that the padding of a batch does not depend on what else is in it
VIEWS = ViewParams.model_validate(
    toy.VIEWS.model_dump() | {"strong": {"short_px": [64, 64], "long_px": 96, "gray": 0.5}}
)
# Every method and mode on the two-stage detector, which has all the parts, and by turns on one of the others.
SINGLE_STAGE = [name for name in tiny.ARCHITECTURES if name != "faster_rcnn"]
RUNS: dict[str, tuple[Path, str, dict[str, Any]]] = {
    f"{file.stem}-{architecture}": (file, architecture, {})
    for turn, file in enumerate(battery.kinds())
    for architecture in ("faster_rcnn", SINGLE_STAGE[turn % len(SINGLE_STAGE)])
}
PARTS = {"accumulate": 2, "labeled_per_step": 4}
RUNS["in parts"] = (toy.ROOT / "params/methods/soft_teacher.yaml", "faster_rcnn", PARTS)
# AdamW makes a whole step of a gradient near zero, whose sign may be a rounding's
SGD = {"optimizer": {"name": "sgd", "learning_rate": 0.02}}


def train_one(pool: Any, work: Path, file: Path, architecture: str, steps: int = 2, **changes: Any) -> train.Training:
    low: dict[str, Any] = {
        k: 0.005 for k, v in battery.params_of(file) if k.endswith(("score", "floor")) and v is not None
    }
    low |= {"box_spread": 10.0, "limit": 12}  # so that even these detectors label something
    low |= {"threshold_limits": (0.001, 0.01), "threshold_warm_up_steps": 0, "reweight_warm_up_steps": 0}
    known = battery.params_of(file)
    known = known.model_copy(update={k: v for k, v in low.items() if hasattr(known, k)})
    method = methods.create(known, tiny.CLASSES, battery.refined_table(range(10)))
    student = tiny.detector(architecture)
    average = copy.deepcopy(student)
    labeler = average if method.params.teacher == "ema" else battery.labeler_of(method, architecture)
    settings = SGD | {"labeled_per_step": 2, "unlabeled_per_step": 4, "checkpoint_every_steps": 100} | changes
    return train.run(
        student=student, average=average, labeler=labeler, method=method, pool=pool, views=VIEWS,
        params=toy.training(steps, **settings), seed=3, device="cpu", work=work, what=f"{file.stem} {architecture}",
    )  # fmt: skip


def equal(folder: Path, out: Path) -> None:
    """Every method on every detector: weights and history after two steps, and pseudo labels.

    Of the two labeled images one has no box, so that in each step one process has none.
    """
    pool = toy.pool(folder, labeled=2, unlabeled=6)
    for name, (file, architecture, changes) in RUNS.items():
        trained = train_one(pool, folder / "w" / architecture, file, architecture, **changes)
        for role, model in (("student", trained.student), ("teacher", trained.teacher)):
            tensors = {k: v.contiguous() for k, v in model.state_dict().items()}
            save_file(tensors, out / f"{name}-{role}.safetensors")
        trained.history.to_csv(out / f"{name}.csv", index=False)
        (out / f"{name}.json").write_text(json.dumps(trained.aids))
    labels(folder, out)


def named(folder: Path, out: Path) -> None:
    """What each process calls its output, which names the folder of kept work: they have to agree."""
    names = distributed.joined({distributed.rank(): out.name})
    if distributed.is_first():
        (out / "names.json").write_text(json.dumps(names))


def labels(folder: Path, out: Path) -> None:
    """Pseudo labels of twelve images, in batches that the processes deal among them."""
    images, _ = toy.tables(folder, labeled=6, unlabeled=6)
    params = PseudoLabelParams.load(toy.ROOT / "params/pseudo_label.yaml").model_copy(
        update={"batch_size": 2, "spread_from": 0.3}
    )
    found = predict.pseudo_labels(
        tiny.detector("faster_rcnn"), images, folder, input=tiny.params("faster_rcnn").input, params=params,
        device="cpu", keep=folder / "parts",
    )  # fmt: skip
    assert len(found) if distributed.is_first() else not len(found)
    found.to_parquet(out / "labels.parquet", index=False)
    summary = {"world": distributed.world(), "parts": len(list((folder / "parts").iterdir()))}
    (out / "labels.json").write_text(json.dumps(summary))


def killed_labels(folder: Path, out: Path) -> None:
    """As `labels`; the second process is killed as it writes its second part."""
    write, written = parts._write, []

    def last(*arguments: Any) -> str:
        written.append(arguments)
        if len(written) == 2 and distributed.rank() == 1:
            os.kill(os.getpid(), signal.SIGKILL)
        return write(*arguments)

    with mock.patch.object(parts, "_write", last):
        labels(folder, out)


def long_writing(folder: Path, out: Path) -> None:
    """The first process writes for longer than the others wait for a common step."""
    distributed._control = dist.new_group(backend="gloo", timeout=timedelta(seconds=2))
    distributed.lowest(1)
    if distributed.is_first():
        time.sleep(3)
        (out / "written").touch()


def dying(folder: Path, out: Path) -> None:
    """The second process fails in the middle of a step while the first one waits for its gradients."""

    class Fails(supervised.Method):
        def step(self, student: Any, teacher: Any, batch: Any) -> Any:
            if batch.step == 2 and distributed.rank() == 1:
                raise ValueError("the second process is out of luck")
            return super().step(student, teacher, batch)

    student = tiny.detector("retinanet")
    train.run(
        student=student, average=copy.deepcopy(student), labeler=None,
        method=Fails(supervised.Params(), tiny.CLASSES, None), pool=toy.pool(folder), views=VIEWS,
        params=toy.training(5), seed=3, device="cpu", work=folder / "w", what="dying",
    )  # fmt: skip


def asked_to_end(folder: Path, out: Path) -> None:
    """The second process is sent SIGTERM in its third step; both end with the state saved."""

    class Slow(supervised.Method):
        def step(self, student: Any, teacher: Any, batch: Any) -> Any:
            if batch.step == 2 and distributed.rank() == 1 and not (folder / "asked").exists():
                (folder / "asked").touch()
                os.kill(os.getpid(), signal.SIGTERM)
            time.sleep(0.01)
            return super().step(student, teacher, batch)

    _trained(Slow, folder, out, steps=5)


def slow(folder: Path, out: Path) -> None:
    """Thirty steps that tell when the third begins, and take a while where `folder` has a file `slow`."""

    class Slow(supervised.Method):
        def step(self, student: Any, teacher: Any, batch: Any) -> Any:
            if batch.step == 2 and distributed.is_first():
                (folder / "third").touch()
            if (folder / "slow").exists():
                time.sleep(0.2)
            return super().step(student, teacher, batch)

    _trained(Slow, folder, out, steps=30)


def _trained(method: type[supervised.Method], folder: Path, out: Path, steps: int) -> None:
    student = tiny.detector("retinanet")
    trained = train.run(
        student=student, average=copy.deepcopy(student), labeler=None,
        method=method(supervised.Params(), tiny.CLASSES, None), pool=toy.pool(folder), views=VIEWS,
        params=toy.training(steps, **SGD, checkpoint_every_steps=100), seed=3, device="cpu",
        work=folder / "w", what="slow",
    )  # fmt: skip
    save_file({k: v.contiguous() for k, v in trained.student.state_dict().items()}, out / "student.safetensors")


CASES = {
    "equal": equal,
    "named": named,
    "labels": labels,
    "killed_labels": killed_labels,
    "long_writing": long_writing,
    "dying": dying,
    "asked_to_end": asked_to_end,
    "slow": slow,
}


def stage(case: str, folder: Path, out: Path) -> None:
    CASES[case](folder, out)


def options(case: str, folder: Path) -> list[str]:
    return ["--case", case, "--folder", str(folder), "--out", str(folder / "out")]


def one_of_two(rank: int, port: int, function: Any, words: list[str], folder: Path) -> None:
    """What torchrun does for a process, without its seconds of starting; says into a file of its own."""
    torch.set_num_threads(1)
    os.environ |= {"RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": "2", "SCANTLING_DEVICE": "cpu"}
    os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    os.chdir(folder)
    sys.stdout = sys.stderr = (folder / f"said_{rank}.txt").open("w", buffering=1)
    run(function, words)


if __name__ == "__main__":
    torch.set_num_threads(1)
    os.chdir(sys.argv[2])
    run(stage, options(sys.argv[1], Path(sys.argv[2])))
