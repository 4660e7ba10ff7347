"""Looks at the image files of a source, as closely as `verify` says: nothing, their headers, or every pixel."""

from __future__ import annotations

import os
import stat
import threading
from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
import pandas as pd

from scantling.data.images import TooLarge, decode, header
from scantling.data.problems import EXAMPLES, Findings
from scantling.data.source import SourceParams
from scantling.log import Progress
from scantling.stage import BadInput

FINE, MISSING, UNREADABLE, HUGE = range(4)
KINDS = {MISSING: "missing_file", UNREADABLE: "unreadable_image", HUGE: "huge_image"}
BATCH = 64  # images a task: a task costs about as much as looking at one header
ONE_AT_A_TIME_PIXELS = 16e6  # larger images are not decoded side by side, or memory would be that of all threads
THREADS = 16  # the most; more than there are cores, since a disk in the network is waited for

Numbers = list[tuple[int, ...]]  # bytes, mtime_ns, width, height, turn, state of every image of a batch


@dataclass(frozen=True)
class Seen:
    """One value per image, zero where nobody looked: bytes, mtime_ns, width and height of the upright picture int64,
    turn (EXIF orientation) 1..8, fine bool."""

    bytes: np.ndarray
    mtime_ns: np.ndarray
    width: np.ndarray
    height: np.ndarray
    turn: np.ndarray
    fine: np.ndarray


def look(root: str, names: pd.Series, params: SourceParams, found: Findings) -> Seen:
    """What the files are. With `verify: none` no file is opened nor asked for: the annotations are trusted."""
    if not os.path.isdir(root):
        raise BadInput(f"{root}: there is no such folder; correct `root` in the data parameters")
    count = len(names)
    numbers = np.zeros((6, count), np.int64)  # bytes, mtime_ns, width, height, turn, state
    numbers[4] = 1
    if params.verify != "none":
        one = _One(root, params)
        progress = Progress("looking at images", count, "images")
        with ThreadPoolExecutor(max_workers=min(THREADS, 2 * (os.cpu_count() or 1))) as pool:
            for start, rows in _batches(one, names, pool):
                numbers[:, start : start + len(rows)] = np.array(rows, np.int64).T
                progress.advance(len(rows))
        for state, kind in KINDS.items():
            rows = np.flatnonzero(numbers[5] == state)
            found.add(kind, [one.why(names.iloc[i]) for i in rows[:EXAMPLES]], len(rows))
    return Seen(*numbers[:5], fine=numbers[5] == FINE)


class _One:
    """Looks at one image after the other; may be called by several threads."""

    def __init__(self, root: str, params: SourceParams):
        self.root, self.pixels, self.limit = root, params.verify == "decode", params.max_megapixels
        self.large = threading.Lock()

    def __call__(self, names: list[str]) -> Numbers:
        return [self._numbers(name) for name in names]

    def why(self, name: str) -> str:
        """What is wrong with an image, in words."""
        path = os.path.join(self.root, name)
        try:
            if not stat.S_ISREG(os.stat(path).st_mode):
                return f"{path} (is no file)"
        except (OSError, ValueError) as error:
            return f"{path} ({getattr(error, 'strerror', None) or error})"
        try:
            self._picture(path)
        except BadInput as error:
            return str(error).rpartition("; ")[0]  # the remedy stands with the kind of problem
        return path

    def _numbers(self, name: str) -> tuple[int, ...]:
        path = os.path.join(self.root, name)
        try:
            status = os.stat(path)
        except (OSError, ValueError):  # ValueError: a name that no file can have
            return (0, 0, 0, 0, 1, MISSING)
        if not stat.S_ISREG(status.st_mode):
            return (0, 0, 0, 0, 1, MISSING)
        try:
            return (status.st_size, status.st_mtime_ns, *self._picture(path), FINE)
        except TooLarge:
            return (0, 0, 0, 0, 1, HUGE)
        except BadInput:
            return (0, 0, 0, 0, 1, UNREADABLE)

    def _picture(self, path: str) -> tuple[int, int, int]:
        width, height, turn = header(path, self.limit)
        if self.pixels and width * height > ONE_AT_A_TIME_PIXELS:
            with self.large:
                decode(path, self.limit)
        elif self.pixels:
            decode(path, self.limit)
        return width, height, turn


def _batches(one: _One, names: pd.Series, pool: ThreadPoolExecutor) -> Iterator[tuple[int, Numbers]]:
    """(first row, numbers) of every batch, in order, the threads at most a few batches ahead of what is taken."""
    ahead: deque[tuple[int, Future[Numbers]]] = deque()
    for start in range(0, len(names), BATCH):
        ahead.append((start, pool.submit(one, names.iloc[start : start + BATCH].tolist())))
        if len(ahead) > 2 * THREADS:
            first, task = ahead.popleft()
            yield first, task.result()
    for first, task in ahead:
        yield first, task.result()
