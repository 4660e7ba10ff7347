"""Ends the stage of a Snakemake job when Snakemake is gone: killed (signal 9) it tells nobody."""

from __future__ import annotations

import contextlib
import subprocess
import threading
import time

import psutil

SHELLS = ("sh", "bash", "dash", "zsh", "ksh")
LOOK_S = 0.5  # seconds between two looks at Snakemake


def watch(process: subprocess.Popen[str]) -> None:
    """From now on SIGTERM for all that `process` (DVC) started, as soon as who started this process is gone.

    A training saves its state then; DVC notes that the stage failed, and ends by itself.
    """
    threading.Thread(target=_watch, args=(_head(), process), daemon=True).start()


def _head() -> psutil.Process | None:
    """Who started this process; a shell may stand between."""
    process = psutil.Process().parent()
    while process is not None and process.name() in SHELLS:
        process = process.parent()
    return process


def _watch(head: psutil.Process | None, process: subprocess.Popen[str]) -> None:
    asked: set[int] = set()
    while head is not None and process.poll() is None:
        time.sleep(LOOK_S)
        with contextlib.suppress(psutil.NoSuchProcess):
            if head.is_running() and head.status() != psutil.STATUS_ZOMBIE:
                continue
        with contextlib.suppress(psutil.NoSuchProcess):
            for child in psutil.Process(process.pid).children(recursive=True):
                if child.pid not in asked:
                    asked.add(child.pid)
                    child.terminate()
