"""Where a stage keeps what it needs to go on after a kill: a folder keyed by everything that decides the result."""

from __future__ import annotations

import contextlib
import hashlib
import json
import math
import os
import shutil
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path
from typing import Any

from scantling import distributed
from scantling.alone import hold
from scantling.params import Params
from scantling.stage import device, digest

ROOT = Path("work")


def folder(stage: str, **decides: Any) -> Path:
    """work/<stage>/<hash> of what decides the result; another value, another folder.

    That is the parameters, the input files (their content), the code, and of the machine what changes the bits: torch,
    the kind of device, the number of threads. Not the number of processes: the result is the same up to rounding, and
    a cluster may give back fewer of them. A stage passes the name of its output as well: two of its runs can have the
    same inputs (a copied parameter file, models that are equal to the last bit), and run at the same time.
    """
    seen = hashlib.sha256()
    decides |= {
        "torch": metadata.version("torch"),
        "device": device().partition(":")[0],
        "threads": os.environ.get("SCANTLING_THREADS", "1"),
    }
    for name, value in sorted(decides.items()):
        if isinstance(value, Params):
            text = json.dumps(value.resolved(), sort_keys=True)
        elif isinstance(value, Path):
            text = digest(value)
        else:
            text = json.dumps(value)
        seen.update(f"{name}={text}\n".encode())
    package = Path(__file__).parent
    for file in sorted(package.rglob("*.py")):
        changes_no_training = {"report", "evaluate", "review", "export", "label"} & set(file.relative_to(package).parts)
        if not changes_no_training:
            seen.update(file.read_bytes())
    return ROOT / stage / seen.hexdigest()[:16]


@contextlib.contextmanager
def alone(path: Path) -> Iterator[None]:
    """Let one run at a time into a folder that several share on purpose; the next one finds what it has left there.

    A run that is killed lets go of it. Processes of one run enter together.
    """
    with contextlib.ExitStack() as held:
        if distributed.is_first():
            held.enter_context(hold(path / "lock", math.inf))
        distributed.barrier()
        yield


def finished(path: Path) -> None:
    """The stage has its outputs; what it kept is of no use any more."""
    distributed.barrier()  # nobody reads it any more
    if distributed.is_first():
        shutil.rmtree(path, ignore_errors=True)
