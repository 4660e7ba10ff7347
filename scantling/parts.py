"""A table over many images, made in parts: each process makes some, and each part is on disk as soon as it is done.

A killed run goes on with the parts that are missing. A part is a whole number of batches, and batches are the same for
any number of processes, so the table is the same to the last bit.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pandas as pd

from scantling import distributed

BATCHES = 16  # a part; fewer where the processes would not all have work


def batches_of(rows: int, batch_size: int) -> list[range]:
    """The positions of each batch of a table of `rows` rows."""
    return [range(first, min(first + batch_size, rows)) for first in range(0, rows, batch_size)]


def parts_of(batches: Sequence[range]) -> list[list[range]]:
    """Batches that follow each other, in groups: at least two groups for each process where there are that many."""
    each = max(1, min(BATCHES, len(batches) // (2 * distributed.world())))
    return [list(batches[first : first + each]) for first in range(0, len(batches), each)]


def make(
    batches: Sequence[range],
    keep: Path,
    tables: Callable[[list[range]], Iterator[pd.DataFrame]],
    gather: Callable[[list[pd.DataFrame]], pd.DataFrame],
) -> pd.DataFrame:
    """`gather` of the tables of all batches, in order, in every process.

    tables: makes the table of each of the batches it is given; called once, with the batches of this process.
    keep: a folder of nothing but these parts, which all processes see.
    """
    keep.mkdir(parents=True, exist_ok=True)
    parts = parts_of(batches)
    own = [part for part in parts[distributed.rank() :: distributed.world()] if not _file(keep, part).is_file()]
    made = tables([batch for part in own for batch in part])
    for part in own:
        table = gather([next(made) for _ in part])
        aside = _file(keep, part).with_suffix(".part")
        table.to_parquet(aside, index=False)
        os.replace(aside, _file(keep, part))
    distributed.barrier()
    return gather([pd.read_parquet(_file(keep, part)) for part in parts])


def _file(keep: Path, part: list[range]) -> Path:
    return keep / f"rows_{part[0].start:09d}_{part[-1].stop:09d}.parquet"
