"""A full disk: a project, or a training, on a small disk of its own (tmpfs, which root alone may mount)."""

from __future__ import annotations

import contextlib
import os
import random
import subprocess
from collections.abc import Iterator
from pathlib import Path

from tests.faults.engines import ENGINES, wait
from tests.faults.project import Project

SIZE = 64  # MiB
NEED = 600_000  # bytes that a whole run writes at the most


def why_not() -> str | None:
    """Why no disk can be mounted here, if so."""
    if os.geteuid() != 0:
        return "mounting a small disk needs root"
    made = subprocess.run(["unshare", "-m", "mount", "-t", "tmpfs", "none", "/mnt"], capture_output=True, text=True)
    return f"no tmpfs can be mounted: {made.stderr.strip()}" if made.returncode else None


@contextlib.contextmanager
def small(folder: Path) -> Iterator[Path]:
    """A disk of SIZE MiB at `folder`."""
    folder.mkdir(parents=True)
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={SIZE}m", "scantling-test", str(folder)], check=True)
    try:
        yield folder
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=True)


@contextlib.contextmanager
def with_room(folder: Path, room: int) -> Iterator[None]:
    """Inside, `room` bytes are free on the disk of `folder`, and what is freed meanwhile."""
    filler = folder / "filler"
    free = os.statvfs(folder).f_bavail * os.statvfs(folder).f_frsize
    with filler.open("wb") as file:
        os.posix_fallocate(file.fileno(), 0, max(free - room, 1))
    try:
        yield
    finally:
        filler.unlink()


def full(project: Project, rng: random.Random, stages: int) -> str:
    """The engine meets the full disk at some write; `project` lies on a small disk."""
    engine = rng.choice(ENGINES)
    with with_room(project.folder.parent, rng.randrange(0, NEED)):
        process = project.start(engine)
        said = wait(process)
    seen = "No space left" in said or "no space left" in said or "disk is full" in said
    return f"{engine}{' said so' if seen else ''}{' and failed' if process.returncode else ' went through'}"
