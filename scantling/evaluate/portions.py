"""Tables of a data set, some whole images at a time: what is held of them does not grow with the number of images.

Nothing that is counted of labels compares one image with another one, so sums over portions of images are the sums over
all. Where a portion ends follows from the tables alone: their bytes decide the numbers, not the machine.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Protocol

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from scantling.data import parquet
from scantling.data.index import Index

ROWS = 500_000  # of all tables together in a portion; an image with more than that is one by itself
BATCH = 1 << 16  # rows of a file that are unpacked at once
LOWEST, HIGHEST = np.iinfo(np.int64).min, np.iinfo(np.int64).max


class Table(Protocol):
    """Rows that have an image_id: Stored or Held."""

    def __len__(self) -> int: ...

    def batches(self, columns: Sequence[str] | None = None) -> Iterator[pd.DataFrame]:
        """These columns (None: all) of all rows, some at a time, by ascending image."""
        ...

    def between(self, first: int, last: int) -> pd.DataFrame:
        """The rows of the images with ids from `first` to `last`, both included; those of an image in their order."""
        ...


class Held:
    """A table in memory, sorted by image."""

    def __init__(self, rows: pd.DataFrame):
        if not _ascending(rows["image_id"].to_numpy()):
            rows = rows.sort_values("image_id", kind="stable")
        self._rows, self._ids = rows, rows["image_id"].to_numpy()

    def __len__(self) -> int:
        return len(self._rows)

    def batches(self, columns: Sequence[str] | None = None) -> Iterator[pd.DataFrame]:
        yield self._rows if columns is None else self._rows[list(columns)]

    def between(self, first: int, last: int) -> pd.DataFrame:
        start, stop = np.searchsorted(self._ids, first, "left"), np.searchsorted(self._ids, last, "right")
        return self._rows.iloc[start:stop].reset_index(drop=True)


class Stored:
    """A Parquet file whose rows are sorted by image; each call reads what it is asked for and no more."""

    def __init__(self, file: Path):
        self._file = file
        with pq.ParquetFile(file) as opened:
            place = opened.schema_arrow.get_field_index("image_id")
            self._count = opened.metadata.num_rows
            said = [opened.metadata.row_group(k).column(place).statistics for k in range(opened.num_row_groups)]
        self._ranges = [(s.min, s.max) if s is not None and s.has_min_max else (LOWEST, HIGHEST) for s in said]

    def __len__(self) -> int:
        return self._count

    def batches(self, columns: Sequence[str] | None = None) -> Iterator[pd.DataFrame]:
        with pq.ParquetFile(self._file) as opened:
            for batch in opened.iter_batches(BATCH, columns=columns):
                yield batch.to_pandas()

    def between(self, first: int, last: int) -> pd.DataFrame:
        near = [k for k, (low, high) in enumerate(self._ranges) if low <= last and high >= first]
        found = []
        with pq.ParquetFile(self._file) as opened:
            for batch in opened.iter_batches(BATCH, row_groups=near):
                ids = batch.column("image_id")
                found.append(batch.filter(pc.and_(pc.greater_equal(ids, first), pc.less_equal(ids, last))))
            return pa.Table.from_batches(found, opened.schema_arrow).to_pandas()


def of_file(file: Path) -> Table:
    """The table of a file. One that is not sorted by image, as boxes.parquet of COCO's files is not, is held.

    Raises BadInput for what is no table or would not fit into memory.
    """
    parquet.check(file)
    table, last = Stored(file), LOWEST
    for batch in table.batches(["image_id"]):
        ids = batch["image_id"].to_numpy()
        if not _ascending(ids) or (len(ids) and ids[0] < last):
            return Held(_sorted(file))
        last = ids[-1] if len(ids) else last
    return table


def of_images(table: Table, image_ids: np.ndarray) -> pd.DataFrame:
    """The rows of some images."""
    parts = [batch[batch["image_id"].isin(image_ids)] for batch in table.batches()]
    return pd.concat(parts, ignore_index=True) if parts else table.between(LOWEST, HIGHEST)


def walk(
    index: Index, boxes: Table, *, at_once: int | None = None, **others: Table | None
) -> Iterator[tuple[Index, dict[str, pd.DataFrame]]]:
    """Every portion: the index of some images with their `boxes`, and their rows of the other tables; None is none.

    Each row of a table is in one portion, whether or not the index has its image. at_once: rows of one, ROWS if None.
    """
    images = index.images[["image_id", "subset"]].sort_values("image_id", kind="stable", ignore_index=True)
    ids = images["image_id"].to_numpy()
    there = {name: table for name, table in others.items() if table is not None}
    for first, last in cut(ids, [boxes, *there.values()], at_once or ROWS):
        said = index.image_labels
        part = replace(
            index,
            images=images.iloc[np.searchsorted(ids, first) : np.searchsorted(ids, last, "right")],
            boxes=boxes.between(first, last),
            image_labels=None if said is None else said[said["image_id"].between(first, last)],
        )
        yield part, {name: table.between(first, last) for name, table in there.items()}


def cut(known: np.ndarray, tables: Sequence[Table], at_once: int = ROWS) -> list[tuple[int, int]]:
    """First and last image id of each portion; they follow each other, and no id is outside of all.

    known    (N,) ascending image ids; a portion ends at one of them
    at_once  rows of all tables together in a portion
    """
    count = np.zeros(len(known) + 1, np.int64)  # the last: of images with higher ids
    for table in tables:
        for batch in table.batches(["image_id"]):
            place, rows = np.unique(np.searchsorted(known, batch["image_id"].to_numpy()), return_counts=True)
            count[place] += rows
    ends = known[np.flatnonzero(np.diff(np.cumsum(count) // at_once))].tolist()
    return list(zip([LOWEST, *(end + 1 for end in ends)], [*ends, HIGHEST], strict=True))


def _ascending(ids: np.ndarray) -> bool:
    return bool((ids[1:] >= ids[:-1]).all())


def _sorted(file: Path) -> pd.DataFrame:
    """The rows of a file sorted by image."""
    order = np.argsort(parquet.column(file, "image_id").to_numpy(), kind="stable")
    names = pq.read_schema(file).names
    return pd.DataFrame({name: parquet.column(file, name).iloc[order].array for name in names}, copy=False)
