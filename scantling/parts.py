"""A table over many images, made in parts: each process makes some, and each part is on disk as soon as it is done.

A killed run goes on with the parts that are missing, whatever the number of processes was and is. Which batches a part
has follows from the length of the table alone, so the table is the same to the last bit. The name of a part holds the
hash of its content: one that a full disk or a lost write has damaged is made again. No process holds more than one part
at a time; the first one reads them in order.
"""

from __future__ import annotations

import hashlib
import io
import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from scantling import distributed, elapsed, log
from scantling.stage import Stopped

PARTS = 1024  # of a table: 64 processes have 16 each, so that none waits long for the last one
BATCHES = 256  # of a part at most, which bounds memory and what a kill costs


def batches_of(rows: int, batch_size: int) -> list[range]:
    """The positions of each batch of a table of `rows` rows."""
    return [range(first, min(first + batch_size, rows)) for first in range(0, rows, batch_size)]


def parts_of(batches: Sequence[range]) -> list[list[range]]:
    """Batches that follow each other, in groups; the same whatever the number of processes."""
    each = max(1, min(BATCHES, -(-len(batches) // PARTS)))
    return [list(batches[first : first + each]) for first in range(0, len(batches), each)]


@dataclass(frozen=True)
class Parts:
    """The parts of a table, all on disk. Each pass reads them anew, one after the other."""

    files: list[Path]

    def __iter__(self) -> Iterator[pd.DataFrame]:
        for file in self.files:
            content = _content(file)
            if content is None:
                file.unlink(missing_ok=True)
                raise Stopped(f"{file}: was damaged after it was written; the same command makes this part again")
            yield pd.read_parquet(io.BytesIO(content))


def make(
    batches: Sequence[range],
    keep: Path,
    tables: Callable[[list[range]], Iterator[pd.DataFrame]],
    gather: Callable[[list[pd.DataFrame]], pd.DataFrame],
) -> Parts:
    """The tables of all batches, in order, as parts that are `gather` of theirs; all processes call this together.

    tables: makes the table of each of the batches it is given; called once, with the batches of this process.
    keep: a folder of nothing but these parts, which all processes see.
    """
    keep.mkdir(parents=True, exist_ok=True)
    parts, mine = parts_of(batches), (distributed.rank(), distributed.world())
    there = _found(keep, dict(list(enumerate(map(_stem, parts)))[mine[0] :: mine[1]]))
    there = distributed.joined(there)  # which also lets nobody begin before all have looked
    missing = [number for number in range(len(parts)) if number not in there]
    if there:
        elapsed.take_up(keep)
    if there and missing:
        log.line(f"goes on: {len(there)} of {len(parts)} parts are there")
    own = missing[mine[0] :: mine[1]]
    made = tables([batch for number in own for batch in parts[number]])
    fresh = {number: _write(gather([next(made) for _ in parts[number]]), keep, _stem(parts[number])) for number in own}
    names = there | distributed.joined(fresh)
    return Parts([keep / names[number] for number in range(len(parts))])


def _stem(part: list[range]) -> str:
    return f"rows_{part[0].start:09d}_{part[-1].stop:09d}"


def _write(table: pd.DataFrame, keep: Path, stem: str) -> str:
    stream = io.BytesIO()
    table.to_parquet(stream, index=False)
    name = f"{stem}_{_hash(stream.getvalue())}.parquet"
    aside = keep / f"{stem}.part"
    aside.write_bytes(stream.getvalue())
    os.replace(aside, keep / name)
    elapsed.keep(keep)
    return name


def _found(keep: Path, stems: dict[int, str]) -> dict[int, str]:
    """Number and file name of those parts that are there undamaged; a damaged one is removed."""
    numbers, found = {stem: number for number, stem in stems.items()}, dict[int, str]()
    for file in sorted(keep.glob("rows_*.parquet")):
        number = numbers.get(file.stem.rpartition("_")[0])
        if number is None:
            continue
        if _content(file) is None:
            log.warn(f"{file}: is damaged and will be made again")
            file.unlink()
        else:
            found[number] = file.name
    return found


def _content(file: Path) -> bytes | None:
    """The bytes of a part; None if they are not those that were written, or are gone."""
    try:
        content = file.read_bytes()
    except OSError:
        return None
    return content if _hash(content) == file.stem.rpartition("_")[2] else None


def _hash(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()[:16]
