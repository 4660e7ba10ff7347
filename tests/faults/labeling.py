"""Faults of a stage that makes a table in parts, as labeling and evaluation do, in one process or in two."""

from __future__ import annotations

import os
import random
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pandas as pd

from scantling import distributed, parts, pseudo_files, work
from scantling.data.index import table
from scantling.pseudo import COLUMNS
from tests.faults.engines import Broken, flip
from tests.faults.training import TYPES, Lab, Lives

IMAGES, BATCH = 600, 2


def label(images: Path, out: Path) -> None:
    keep = work.folder("label", images=images, rows=IMAGES)

    def tables(batches: list[range]) -> Iterator[pd.DataFrame]:
        for batch in batches:
            time.sleep(0.004)  # a detector is at work
            rng = np.random.default_rng(batch.start)
            rows = {
                "image_id": list(batch),
                "label": 0,
                "score": rng.random(len(batch)),
                "spread": 0.1,
                "class_probability": 0.5,
            }
            yield table(pd.DataFrame(rows | dict.fromkeys(("x1", "y1"), 0.0) | {"x2": 9.0, "y2": 9.0}), COLUMNS)

    made = parts.make(parts.batches_of(IMAGES, BATCH), keep, tables, lambda some: pd.concat(some, ignore_index=True))
    if distributed.is_first():
        pseudo_files.write(made, table([], COLUMNS), out / "pseudo.parquet")
    work.finished(keep)


label.__annotations__ = TYPES


def damaged_parts(lab: Lab, where: Path, rng: random.Random) -> str:
    """A labeling is killed, and parts that it has left have a wrong bit, or their end is missing."""
    peace = where / "peace"
    started = time.monotonic()
    if any(Lives(label, lab.images, peace, 1).wait()):
        raise Broken((peace / "said.txt").read_text())
    length = time.monotonic() - started
    run = where / "run"
    life = Lives(label, lab.images, run, 1)
    time.sleep(rng.uniform(0.3, 0.9) * length)
    os.kill(life.pids[0], signal.SIGKILL)
    life.wait()
    made, how = sorted((run / "work").rglob("rows_*.parquet")), rng.choice(("a bit", "cut off"))
    for file in rng.sample(made, min(len(made), rng.randint(1, 4))):
        flip(file, rng) if how == "a bit" else os.truncate(file, rng.randrange(file.stat().st_size))
    ranks = rng.randint(1, 2)
    if any(Lives(label, lab.images, run, ranks).wait()):
        raise Broken(f"the next call: {(run / 'said.txt').read_text()[-2000:]}")
    if (run / "out/pseudo.parquet").read_bytes() != (peace / "out/pseudo.parquet").read_bytes():
        raise Broken("other bytes than an undisturbed run")
    return f"{how}, {ranks} processes" if made else "no part yet: nothing was hit"


FAULTS: dict[str, Callable[[Lab, Path, random.Random], str]] = {"damaged parts of labels": damaged_parts}
