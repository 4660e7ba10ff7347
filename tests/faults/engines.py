"""Faults of the engines: what is broken while `dvc repro` or `snakemake` is at work, or before the next call.

A fault gets a project with something to do and leaves it in whatever state; `finish` is then the next call.
"""

from __future__ import annotations

import contextlib
import json
import os
import random
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import psutil

from tests.faults.project import Project

ENGINES = ("dvc", "snakemake")
WAIT_S = 240  # seconds an engine may take on a busy machine
PATIENCE = 6  # calls, while the message says that another run is in progress
CLEAR = re.compile(r"busy|is writing it|is at work|does not exist|missing|failed to|no such file", re.I)


class Broken(AssertionError):
    """The promise did not hold."""


def tree(process: psutil.Process) -> list[psutil.Process]:
    """A process and all it started."""
    try:
        return [process, *process.children(recursive=True)]
    except psutil.NoSuchProcess:
        return []


def running(project: Project) -> list[psutil.Process]:
    """Every process that works in the project's folder, orphans too."""
    found = []
    for process in psutil.process_iter():
        try:
            if process.status() != psutil.STATUS_ZOMBIE and process.cwd() == str(project.folder.resolve()):
                found.append(process)
        except psutil.Error:
            continue
    return found


def is_stage(process: psutil.Process) -> bool:
    return says(process, "stages/") and not says(process, "-c")


def is_dvc(process: psutil.Process) -> bool:
    return says(process, "repro") and says(process, "dvc")


def says(process: psutil.Process, word: str) -> bool:
    try:
        return any(part.startswith(word) for part in process.cmdline())
    except psutil.Error:
        return False


def wait(process: subprocess.Popen[str]) -> str:
    """What an engine said, once it ended."""
    try:
        return process.communicate(timeout=WAIT_S)[0]
    except subprocess.TimeoutExpired:
        raise Broken(f"the engine did not end in {WAIT_S} s") from None


def moment(project: Project, process: subprocess.Popen[str], rng: random.Random, stages: int) -> None:
    """Wait for a random moment of a run in which `stages` are to do: until some of them have begun, and a little."""
    wanted = begun(project) + rng.randint(0, stages)
    while process.poll() is None and begun(project) < wanted:
        time.sleep(0.01)
    time.sleep(rng.uniform(0, 1.2))


def begun(project: Project) -> int:
    file = project.folder / "work/ran.txt"
    return len(file.read_text().splitlines()) if file.exists() else 0


def kill_when(wanted: Callable[[psutil.Process], bool], project: Project, rng: random.Random, stages: int) -> str:
    """Start an engine and, from a random moment on, kill the first process of its that is `wanted`."""
    engine = rng.choice(ENGINES)
    process = project.start(engine)
    head, hit = psutil.Process(process.pid), False
    moment(project, process, rng, stages - 1)
    while process.poll() is None and not hit:
        for victim in [p for p in tree(head) if wanted(p)][-1:]:
            with contextlib.suppress(psutil.NoSuchProcess):
                victim.kill()
                hit = True
        time.sleep(0.01)
    wait(process)
    return f"{engine}{'' if hit else ': nothing was hit'}"


def kill_stage(project: Project, rng: random.Random, stages: int) -> str:
    return kill_when(is_stage, project, rng, stages)


def kill_dvc(project: Project, rng: random.Random, stages: int) -> str:
    return kill_when(is_dvc, project, rng, stages)


def kill_snakemake(project: Project, rng: random.Random, stages: int) -> str:
    """The head only: its jobs must notice by themselves."""
    process = project.start("snakemake")
    moment(project, process, rng, stages)
    process.kill()
    process.wait()
    process.stdout.close()  # type: ignore[union-attr]
    return "snakemake"


def kill_all(project: Project, rng: random.Random, stages: int) -> str:
    """As when the machine is switched off."""
    engine = rng.choice(ENGINES)
    process = project.start(engine)
    moment(project, process, rng, stages)
    project.kill(process)
    return engine


def end_politely(project: Project, rng: random.Random, stages: int) -> str:
    """Ctrl-C, or SIGTERM from a cluster, to the whole group."""
    engine, number = rng.choice(ENGINES), rng.choice((signal.SIGINT, signal.SIGTERM))
    process = project.start(engine)
    moment(project, process, rng, stages)
    os.killpg(process.pid, number)
    wait(process)
    return f"{engine} {number.name}"


def two_at_once(project: Project, rng: random.Random, stages: int) -> str:
    """The second gets on with it or says in words why not; no traceback."""
    engines = [rng.choice(ENGINES), rng.choice(ENGINES)]
    first = project.start(engines[0])
    moment(project, first, rng, stages)
    second = project.start(engines[1])
    said = [wait(process) for process in (second, first)]
    for process, text in zip((second, first), said, strict=True):
        if process.returncode and ("Traceback" in text or not CLEAR.search(text)):
            raise Broken(f"two engines at once, and one said: {text[-2000:]}")
    return " and ".join(engines)


def damage_cache(project: Project, rng: random.Random, stages: int) -> str:
    """Bits of objects flip, unseen by any time or size, and what was made of them is gone."""
    project.run("dvc")
    objects = [p for p in sorted((project.folder / ".dvc/cache/files/md5").glob("??/*"))]
    for file in rng.sample(objects, rng.randint(1, 4)):
        flip(file, rng)
    results = [p for p in sorted((project.folder / "results").rglob("*")) if p.is_file()]
    for file in rng.sample(results, rng.randint(1, 4)):
        file.unlink()
    return verified(project, rng)


def damage_results(project: Project, rng: random.Random, stages: int) -> str:
    """Bits of results flip, unseen by any time or size."""
    results = [p for p in sorted((project.folder / "results").rglob("*")) if p.is_file()]
    results += [p for p in sorted((project.folder / "data/generated").rglob("*")) if p.is_file()]
    for file in rng.sample(results, min(len(results), rng.randint(1, 4))):
        flip(file, rng)
    return verified(project, rng)


def verified(project: Project, rng: random.Random) -> str:
    """Before the next call, or after it has gone on or refused: the command that finds unseen damage."""
    engine = rng.choice(("", *ENGINES))
    if engine:
        said = wait(process := project.start(engine))
        if process.returncode and "workflow.verify" not in said:
            raise Broken(f"damage was noticed, and nobody said what to do: {said[-2000:]}")
    project.call(sys.executable, "-m", "workflow.verify")
    return f"verify{' after ' + engine if engine else ''}"


def flip(file: Path, rng: random.Random) -> None:
    """One bit, with the mode and the times as they were."""
    before, content = file.stat(), bytearray(file.read_bytes())
    if content:
        content[rng.randrange(len(content))] ^= 1 << rng.randrange(8)
    file.chmod(0o644)
    file.write_bytes(content)
    file.chmod(before.st_mode)
    os.utime(file, ns=(before.st_atime_ns, before.st_mtime_ns))


def torn_lock_file(project: Project, rng: random.Random, stages: int) -> str:
    """dvc.lock or DVC's own list of locks ends in the middle, as a kill leaves a file that is written in place."""
    project.run("dvc")
    file = project.folder / rng.choice(("dvc.lock", ".dvc/tmp/rwlock"))
    if file.name == "rwlock":
        file.write_text(json.dumps({"write": {str(project.folder / "results"): {"pid": 1, "cmd": "dvc repro"}}}))
    content = file.read_bytes()
    file.write_bytes(content[: rng.randrange(len(content))])
    return file.name


def stale_lock(project: Project, rng: random.Random, stages: int) -> str:
    """What a killed DVC leaves, and worse: its process id is another process's by now."""
    gone = subprocess.Popen(["true"])
    gone.wait()
    pid = rng.choice((gone.pid, os.getpid()))
    stages = ("prepare/toy/table.txt", "retrain/toy-a/model.txt", "evaluate/toy-b/metrics.json")
    paths = {str(project.folder / "results" / name): {"pid": pid, "cmd": "dvc repro"} for name in stages}
    (project.folder / ".dvc/tmp").mkdir(exist_ok=True)
    (project.folder / ".dvc/tmp/rwlock").write_text(json.dumps({"write": paths}))
    for name in ("work/locks/toy-a-000000000000", ".pipeline/lock", ".dvc/tmp/lock"):
        (project.folder / name).parent.mkdir(parents=True, exist_ok=True)
        (project.folder / name).write_text("process 1 on another")
    return "of a dead process" if pid == gone.pid else "of a process id that lives"


def clock(project: Project, rng: random.Random, stages: int) -> str:
    """The clock jumps by years, both ways: before a call every file, and during it the stamps and results."""

    def jump() -> None:
        for root in ("stages", "params", "scantling", "data", "results", ".pipeline", "work", ".dvc/cache"):
            for file in (project.folder / root).rglob("*"):
                when = time.time() + rng.uniform(-1e9, 1e9)
                try:
                    os.utime(file, (when, when))
                except FileNotFoundError:
                    continue

    jump()
    engine = rng.choice(ENGINES)
    process = project.start(engine)
    moment(project, process, rng, stages)
    jump()
    wait(process)
    jump()
    return engine


FAULTS: dict[str, Callable[[Project, random.Random, int], str]] = {
    "kill -9 of a stage": kill_stage,
    "kill -9 of DVC": kill_dvc,
    "kill -9 of Snakemake": kill_snakemake,
    "kill -9 of everything": kill_all,
    "SIGINT or SIGTERM to everything": end_politely,
    "two engines at once": two_at_once,
    "damaged objects of the cache": damage_cache,
    "damaged results": damage_results,
    "lock file cut off": torn_lock_file,
    "stale locks": stale_lock,
    "jumps of the clock": clock,
}


def finish(project: Project, rng: random.Random) -> str:
    """The next call, with the remedies that its messages name; gives which were needed."""
    engine, needed = rng.choice(ENGINES), []
    for _ in range(PATIENCE):
        process = project.start(engine)
        said = wait(process)
        if process.returncode == 0:
            break
        if "Traceback (most recent call last)" in said:
            raise Broken(f"{engine} after the fault: {said[-3000:]}")
        alive = running(project)
        if alive:
            needed.append("waited")
            time.sleep(5)
        elif any(text in said for text in ("workflow.verify", "dvc.lock", "ERROR: unexpected error")):
            needed.append("python -m workflow.verify")
            project.call(sys.executable, "-m", "workflow.verify")
        elif "rwlock" in said:
            needed.append("rm .dvc/tmp/rwlock")
            (project.folder / ".dvc/tmp/rwlock").unlink()
        else:
            raise Broken(f"{engine} after the fault, and no remedy is named: {said[-3000:]}")
    else:
        raise Broken(f"{engine} was never done: {needed}; {said[-3000:]}")
    if "up to date" not in (status := project.dvc("status")):
        raise Broken(f"after {engine} DVC says: {status}")
    if running(project):
        raise Broken(f"processes are left: {running(project)}")
    return ", ".join([engine, *needed])
