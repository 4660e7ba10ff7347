"""What a person sees while a stage works: plain lines in a file, a moving line on a terminal.

One process runs one stage, so the open log file is the process's own.
"""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import TextIO

_file: TextIO | None = None
_muted = False
_warned: list[str] = []


def open_file(path: Path) -> None:
    """Send plain lines to `path` too, from now on; nothing was warned of yet."""
    global _file
    _warned.clear()
    path.parent.mkdir(parents=True, exist_ok=True)
    _file = path.open("a", buffering=1)


def mute() -> None:
    """Say nothing from now on: of several processes one tells what all do."""
    global _muted
    _muted = True


def line(text: str) -> None:
    """One line to the log file and to standard output."""
    if _muted:
        return
    stamp = time.strftime("%H:%M:%S")
    if _file is not None:
        _file.write(f"{stamp} {text}\n")
    print(f"{stamp} {text}", flush=True)


def warn(text: str) -> None:
    """A line that begins with WARNING; provenance.json keeps it."""
    if not _muted:
        _warned.append(text)
    line(f"WARNING {text}")


def warned() -> list[str]:
    """What was warned of so far."""
    return list(_warned)


class Progress:
    """Speed and time left of a long loop: a moving line on a terminal, a plain line every `every` seconds elsewhere."""

    def __init__(self, what: str, total: int, unit: str, *, done: int = 0, every: float = 10.0):
        self.what, self.total, self.unit, self.every = what, total, unit, every
        self.first = self.done = done
        self.started = self.last = time.monotonic()
        self.terminal = sys.stderr.isatty()

    def advance(self, by: int = 1, text: str = "") -> None:
        """Count `by` more; `text` is what else is worth seeing (losses, boxes)."""
        self.done += by
        now = time.monotonic()
        finished = self.done >= self.total
        if now - self.last < (0.5 if self.terminal else self.every) and not finished:
            return
        self.last = now
        speed = (self.done - self.first) / max(now - self.started, 1e-9)
        left = (self.total - self.done) / max(speed, 1e-9)
        shown = f"{self.what} {self.done}/{self.total} {speed:.2f} {self.unit}/s left {_clock(left)} {text}"
        if self.terminal and not _muted:
            print(f"\r\x1b[K{shown[:200]}", end="\n" if finished else "", file=sys.stderr, flush=True)
            if _file is not None:
                _file.write(f"{time.strftime('%H:%M:%S')} {shown}\n")
        else:
            line(shown)


def _clock(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"
