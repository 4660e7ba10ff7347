"""Faults of a stage that trains, small but real: a stage function under scantling.stage, in one process or in two.

Each life is a fork of this process, so that it starts in milliseconds. The promise: the last life publishes the bytes
that an undisturbed one does.
"""

from __future__ import annotations

import contextlib
import copy
import os
import random
import signal
import socket
import time
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

from safetensors.torch import save

from scantling import distributed, stage, train, work
from scantling.data.loader import Pool
from tests import tiny, toy
from tests.faults import disk
from tests.faults.engines import Broken, flip
from tests.methods import test_battery as battery

STEPS = 40
TYPES = {"images": Path, "out": Path, "return": None}  # of a stage that is made in a function
WAIT_S = 120  # seconds for a life on a busy machine


class Lab:
    """A folder with a data set; `pool` is in memory, as every life would read the same."""

    def __init__(self, folder: Path):
        self.folder = folder
        self.images = folder / "images"
        self.images.mkdir(parents=True)
        self.pool = toy.pool(self.images)
        self.peace = {ranks: self.undisturbed(ranks) for ranks in (1, 2)}

    def undisturbed(self, ranks: int) -> bytes:
        where = self.folder / f"peace-{ranks}"
        started = time.monotonic()
        ended = Lives(self.stage(), self.images, where, ranks).wait()
        self.length = time.monotonic() - started
        if any(ended):
            raise Broken((where / "said.txt").read_text())
        return result(where)

    def stage(self, workers: int = 0) -> Callable[..., None]:
        return teach(self.pool, workers)


def result(where: Path) -> bytes:
    return b"".join((where / "out" / name).read_bytes() for name in ("student.safetensors", "history.csv"))


def teach(pool: Pool, workers: int) -> Callable[..., None]:
    """The stage function."""

    def teach(images: Path, out: Path) -> None:
        method = battery.method_of(toy.ROOT / "params/methods/soft_teacher.yaml")
        student = tiny.detector("retinanet")
        average = copy.deepcopy(student)
        keep = work.folder("teach", images=images, steps=STEPS)
        trained = train.run(
            student=student, average=average, labeler=average, method=method, pool=pool, views=toy.VIEWS,
            params=toy.training(STEPS, checkpoint_every_steps=2, log_every_steps=5, workers=workers), seed=4,
            device="cpu", work=keep, what="teach",
        )  # fmt: skip
        (out / "student.safetensors").write_bytes(
            save({k: v.contiguous() for k, v in trained.student.state_dict().items()})
        )
        trained.history.drop(columns=["images_per_second", "peak_memory_mib"]).to_csv(out / "history.csv", index=False)
        work.finished(keep)

    teach.__annotations__ = TYPES
    return teach


class Lives:
    """One process, or two together, of a stage with --images and --out, in `where`."""

    def __init__(self, function: Callable[..., None], images: Path, where: Path, ranks: int):
        self.where = where
        where.mkdir(parents=True, exist_ok=True)
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        self.pids = [self._born(function, images, rank, ranks, port) for rank in range(ranks)]

    def _born(self, function: Callable[..., None], images: Path, rank: int, ranks: int, port: int) -> int:
        child = os.fork()
        if child:
            return child
        status = 70
        try:
            os.setsid()
            os.chdir(self.where)
            with open("said.txt", "a", buffering=1) as said:
                os.dup2(said.fileno(), 1)
                os.dup2(said.fileno(), 2)
                os.environ["SCANTLING_DEVICE"] = "cpu"
                if ranks > 1:
                    os.environ |= {"RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": str(ranks)}
                    os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
                    distributed.WAIT = timedelta(seconds=WAIT_S / 2)
                stage.run(function, ["--images", str(images), "--out", "out"])
                status = 0
        except SystemExit as end:
            with contextlib.suppress(OSError):
                Path(f"reason-{rank}.txt").write_text(str(end.code))
            status = 1
        except BaseException:
            import traceback

            traceback.print_exc()
        finally:
            os._exit(status)

    def wait(self, seconds: float = WAIT_S) -> list[int]:
        """Status of each; 70 is an error that no sentence was found for."""
        until, ended = time.monotonic() + seconds, {}
        while len(ended) < len(self.pids):
            for pid in self.pids:
                if pid not in ended and (found := os.waitpid(pid, os.WNOHANG))[0]:
                    ended[pid] = os.waitstatus_to_exitcode(found[1])
            if time.monotonic() > until:
                for pid in set(self.pids) - set(ended):
                    os.kill(pid, signal.SIGKILL)
                raise Broken(
                    f"a process did not end in {seconds:.0f} s: {(self.where / 'said.txt').read_text()[-2000:]}"
                )
            time.sleep(0.01)
        return [ended[pid] for pid in self.pids]


def finish(lab: Lab, where: Path, ranks: int) -> None:
    """The next call publishes the bytes of an undisturbed run and leaves nothing else."""
    ended = Lives(lab.stage(), lab.images, where, ranks).wait()
    if any(ended):
        raise Broken(f"the next call ended with {ended}: {(where / 'said.txt').read_text()[-2000:]}")
    if result(where) != lab.peace[ranks]:
        raise Broken("other bytes than an undisturbed run")
    if left := [p.name for p in where.glob(".*part")] + [str(p) for p in (where / "work/teach").glob("*/*")]:
        raise Broken(f"left behind: {left}")


def kill(lab: Lab, where: Path, rng: random.Random) -> str:
    """Several kills in a row, at random moments, with and without a loader worker."""
    lives = rng.randint(1, 5)
    for _ in range(lives):
        life = Lives(lab.stage(rng.randint(0, 1)), lab.images, where, 1)
        time.sleep(rng.uniform(0, lab.length * 1.2))
        os.kill(life.pids[0], signal.SIGKILL)
        life.wait()
    finish(lab, where, 1)
    return f"{lives} in a row"


def kill_a_rank(lab: Lab, where: Path, rng: random.Random) -> str:
    """One of two processes is killed; then torchrun ends the other, or it notices by itself."""
    rank, ended_by_torchrun = rng.randint(0, 1), rng.random() < 0.5
    life = Lives(lab.stage(rng.randint(0, 1)), lab.images, where, 2)
    time.sleep(rng.uniform(0, lab.length * 1.2))
    os.kill(life.pids[rank], signal.SIGKILL)
    if ended_by_torchrun:
        with contextlib.suppress(ProcessLookupError):
            os.kill(life.pids[1 - rank], signal.SIGTERM)
    ended = life.wait()
    if 70 in ended:
        raise Broken(f"the other process had no sentence: {(where / 'said.txt').read_text()[-2000:]}")
    finish(lab, where, 2)
    return f"rank {rank}{', the other by SIGTERM' if ended_by_torchrun else ''}"


def terminate(lab: Lab, where: Path, rng: random.Random) -> str:
    """SIGTERM to all of a job, as a cluster takes the machine back."""
    ranks = rng.randint(1, 2)
    life = Lives(lab.stage(rng.randint(0, 1)), lab.images, where, ranks)
    time.sleep(rng.uniform(0, lab.length))
    for pid in life.pids:
        os.killpg(pid, signal.SIGTERM)
    if 70 in life.wait():
        raise Broken(f"no sentence: {(where / 'said.txt').read_text()[-2000:]}")
    finish(lab, where, ranks)
    return f"{ranks} processes"


def damage_state(lab: Lab, where: Path, rng: random.Random) -> str:
    """The latest state of a killed training has a wrong bit, or its end is missing."""
    life = Lives(lab.stage(), lab.images, where, 1)
    time.sleep(rng.uniform(0.3, 1) * lab.length)
    os.kill(life.pids[0], signal.SIGKILL)
    life.wait()
    states = sorted((where / "work").rglob("state_*.pt"))
    how = rng.choice(("a bit", "cut off"))
    for state in states[-rng.randint(1, 2) :]:
        flip(state, rng) if how == "a bit" else os.truncate(state, rng.randrange(state.stat().st_size))
    finish(lab, where, 1)
    return how if states else "no state yet"


def fill_disk(lab: Lab, where: Path, rng: random.Random) -> str:
    """No space left at some write: of a state, a log, a result, in one process or in two."""
    ranks = rng.randint(1, 2)
    with disk.small(where), disk.with_room(where, rng.randrange(0, 2_000_000)):
        life = Lives(lab.stage(), lab.images, where / "run", ranks)
        ended = life.wait()
        said = (where / "run/said.txt").read_text()
        if 70 in ended:
            raise Broken(f"no sentence: {said[-2000:]}")
        (where / "filler").unlink()
        finish(lab, where / "run", ranks)
        (where / "filler").touch()
    return f"{ranks} processes, {'stopped' if any(ended) else 'went through'}"


FAULTS: dict[str, Callable[[Lab, Path, random.Random], str]] = {
    "kill -9 of a training": kill,
    "kill -9 of one rank of two": kill_a_rank,
    "SIGTERM to a training": terminate,
    "damaged state of a training": damage_state,
    "full disk under a training": fill_disk,
}
