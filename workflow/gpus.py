"""Which GPUs a job may use: those nobody else's job on this machine has, held by file locks that end with the job."""

from __future__ import annotations

import contextlib
import fcntl
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TextIO

COUNT = "import torch; print(torch.cuda.device_count())"


def named(environment: Mapping[str, str]) -> list[str] | None:
    """The GPUs that CUDA_VISIBLE_DEVICES names: numbers or UUIDs; None if it is not set."""
    text = environment.get("CUDA_VISIBLE_DEVICES")
    if text is None:
        return None
    return [name.strip() for name in text.split(",") if name.strip() not in ("", "-1", "NoDevFiles")]


def there(environment: Mapping[str, str]) -> list[str]:
    """All GPUs that this process may use."""
    if environment.get("SCANTLING_DEVICE") == "cpu":
        return []
    names = named(environment)
    if names is None:
        asked = subprocess.run([sys.executable, "-c", COUNT], capture_output=True, text=True)
        names = [str(number) for number in range(int(asked.stdout))] if not asked.returncode else []
    return names


@contextlib.contextmanager
def taken(count: int, environment: Mapping[str, str]) -> Iterator[list[str]]:
    """`count` GPUs, or all where there are fewer, that no other job of this user has; waits until they are free.

    Slurm gives each job its own, so there the locks of one job do not concern another.
    """
    names = there(environment)
    folder = Path(tempfile.gettempdir()) / f"scantling-gpus-{os.getuid()}" / environment.get("SLURM_JOB_ID", "machine")
    folder.mkdir(parents=True, exist_ok=True)
    while True:
        held = _locks(folder, names, min(count, len(names)))
        if held is not None:
            break
        time.sleep(0.5)
    try:
        yield list(held)
    finally:
        for file in held.values():
            file.close()


def _locks(folder: Path, names: list[str], count: int) -> dict[str, TextIO] | None:
    """`count` of the locks of `names`, or none of them."""
    held: dict[str, TextIO] = {}
    for name in names:
        if len(held) == count:
            break
        file = (folder / name.replace("/", "_")).open("w")
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            held[name] = file
        except BlockingIOError:
            file.close()
    if len(held) == count:
        return held
    for file in held.values():
        file.close()
    return None
