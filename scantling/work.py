"""Where a stage keeps what it needs to go on after a kill: a folder keyed by everything that decides the result."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from importlib import metadata
from pathlib import Path
from typing import Any

from scantling import distributed
from scantling.params import Params
from scantling.stage import device, digest

ROOT = Path("work")


def folder(stage: str, **decides: Any) -> Path:
    """work/<stage>/<hash> of what decides the result; another value, another folder.

    That is the parameters, the input files (their content), the code, and of the machine what changes the bits: torch,
    the kind of device, the number of threads. Not the number of processes: the result is the same up to rounding, and
    a cluster may give back fewer of them.
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
    for file in sorted(Path(__file__).parent.rglob("*.py")):
        if not {"report", "evaluate", "review", "export", "label"} & set(file.parts):  # they change no training
            seen.update(file.read_bytes())
    return ROOT / stage / seen.hexdigest()[:16]


def finished(path: Path) -> None:
    """The stage has its outputs; what it kept is of no use any more."""
    distributed.barrier()  # nobody reads it any more
    if distributed.is_first():
        shutil.rmtree(path, ignore_errors=True)
