"""Seconds that a stage has taken, with those of killed attempts whose work it goes on with.

One process runs one stage, so the clock is the process's own. What an attempt did after its last checkpoint is done
again, and counted once.
"""

from __future__ import annotations

import os
import time
from pathlib import Path

from scantling import distributed

_NAME = "seconds"
_began = time.monotonic()
_earlier = 0.0


def start() -> None:
    """The stage begins now, and nothing of it was done before."""
    global _began, _earlier
    _began, _earlier = time.monotonic(), 0.0


def seconds() -> float:
    """So far, earlier attempts included."""
    return _earlier + time.monotonic() - _began


def earlier() -> float:
    """Those of earlier attempts alone; 0 if nothing of theirs is used."""
    return _earlier


def keep(folder: Path) -> None:
    """Beside work that was just kept: what it took. Of several processes the first one's clock counts."""
    if distributed.is_first():
        aside = folder / f"{_NAME}.part"
        aside.write_text(f"{seconds():.3f}\n")
        os.replace(aside, folder / _NAME)


def take_up(folder: Path) -> None:
    """Kept work in `folder` is used: its seconds are of this stage. Of several folders the latest has those of all."""
    global _earlier
    try:
        _earlier = max(_earlier, float((folder / _NAME).read_text()))
    except (OSError, ValueError):  # of a version that did not write it, or a full disk: the work is good without
        return
