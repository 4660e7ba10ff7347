"""One process at a time writes an output, and a stage ends with the engine that started it.

An engine that is killed (signal 9) cannot tell its stages. Without this a stage would go on unseen, and the next call
would start it a second time beside itself.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import fcntl
import hashlib
import math
import os
import signal
import socket
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TextIO

from scantling import log

FOLDER = Path("work/locks")
WAIT_S = 60  # seconds for a stage that was asked to end: a step of training and the writing of its state
NO_LOCKS = {errno.ENOLCK, errno.EOPNOTSUPP, errno.ENOSYS}  # what a file system without locks answers


class Busy(RuntimeError):
    """Another process holds the lock; the text says which, as far as it is known."""


@contextlib.contextmanager
def writer_of(out: Path, wait_s: float = WAIT_S) -> Iterator[None]:
    """Inside, no other process is inside for the same folder; waits `wait_s` seconds for one that is, then `Busy`.

    The lock is one of the kernel's on a file under work/locks and ends with the process, whatever ends it; a file that
    is left there means nothing.
    """
    file = FOLDER / f"{out.name}-{hashlib.sha256(str(out.resolve()).encode()).hexdigest()[:12]}"
    with hold(file, wait_s):
        yield


@contextlib.contextmanager
def hold(file: Path, wait_s: float) -> Iterator[None]:
    """The lock of `file`; see `writer_of`."""
    file.parent.mkdir(parents=True, exist_ok=True)
    with file.open("a+") as stream:
        until = time.monotonic() + wait_s
        told = False
        while not _taken(stream):
            holder = file.read_text().strip() or "another process"
            if time.monotonic() >= until:
                raise Busy(holder)
            if not told:
                limit = f"{wait_s:.0f} s " if math.isfinite(wait_s) else ""
                log.line(f"{holder} is still at work in {file}; waiting {limit}for it to end")
                told = True
            time.sleep(0.2)
        stream.truncate(0)
        stream.write(f"process {os.getpid()} on {socket.gethostname()}")
        stream.flush()
        yield


def _taken(stream: TextIO) -> bool:
    try:
        fcntl.lockf(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)  # not handed down to the processes of a data loader
    except OSError as error:
        if error.errno in NO_LOCKS:
            return True
        if error.errno not in (errno.EACCES, errno.EAGAIN):
            raise
        return False
    return True


def end_with_engine() -> None:
    """Ask for SIGTERM when DVC, which started this process, is gone. Outside DVC, and not on Linux: nothing.

    A stage that somebody started by hand may outlive its terminal.
    """
    if "DVC_STAGE" not in os.environ or not sys.platform.startswith("linux"):
        return
    parent = os.getppid()
    ctypes.CDLL(None, use_errno=True).prctl(1, signal.SIGTERM, 0, 0, 0)  # PR_SET_PDEATHSIG
    if parent == 1 or os.getppid() != parent:  # it was gone before we asked
        os.kill(os.getpid(), signal.SIGTERM)
