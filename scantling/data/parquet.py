"""Reads Parquet tables that somebody may have sent: what would not fit into memory is refused before it is unpacked.

A few kilobytes of Parquet can hold billions of rows, as equal values are written once, and a text that is written once
can stand in every row. Nothing in a table is run: columns are numbers, truth values and texts.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from scantling.stage import BadInput

SMALL_BYTES = 1 << 30  # in memory; up to here a table may have been packed as well as it likes
MAX_GROWTH = 100  # times the size of the file, above that; tables of boxes grow 2 to 10 times
WIDTHS = {"BOOLEAN": 1, "INT32": 4, "FLOAT": 4, "INT64": 8, "DOUBLE": 8, "INT96": 12, "BYTE_ARRAY": 4}  # of a value


def read(file: Path) -> pd.DataFrame:
    """The table. Raises BadInput for what is no table or is too large once unpacked, OSError for no file."""
    with _told(file):
        _refuse_bomb(file)
        return pd.read_parquet(file)


def check(file: Path) -> None:
    """The same without reading: for tables of which only some rows are held at a time."""
    with _told(file):
        _refuse_bomb(file)


def column(file: Path, name: str) -> pd.Series:
    """One column of a table of ours; texts as categories. A table read so has never more than one column twice."""
    kind = pq.read_schema(file).field(name).type
    texts = [name] if pa.types.is_string(kind) or pa.types.is_large_string(kind) else []
    return pq.read_table(file, columns=[name], read_dictionary=texts).column(0).to_pandas()


@contextmanager
def _told(file: Path) -> Iterator[None]:
    """What is wrong with the file as BadInput."""
    try:
        yield
    except (BadInput, FileNotFoundError, PermissionError):
        raise
    except (pa.ArrowException, OSError, ValueError) as error:
        why = " ".join(str(error).split())[:200]
        raise BadInput(f"{file}: cannot be read ({why}); make or copy it again") from None


def _refuse_bomb(file: Path) -> None:
    """BadInput for more than SMALL_BYTES and MAX_GROWTH times the size of the file, by what the file says of itself."""
    with pq.ParquetFile(file) as opened:
        said, schema = opened.metadata, opened.schema_arrow
        groups = [said.row_group(i) for i in range(said.num_row_groups)]
    columns = [group.column(i) for group in groups for i in range(group.num_columns)]
    size = sum(max(c.num_values, said.num_rows // len(groups)) * WIDTHS.get(c.physical_type, 64) for c in columns)
    _compare(file, size)
    for field in schema:
        if pa.types.is_string(field.type) or pa.types.is_large_string(field.type):
            size += _unpacked(file, field.name)
    _compare(file, size)


def _unpacked(file: Path, name: str) -> int:
    """Bytes of a column of texts, each of which is held once here."""
    found = 0
    with pq.ParquetFile(file, read_dictionary=[name]) as opened:
        for batch in opened.iter_batches(columns=[name]):
            texts = batch.column(0)
            found += pc.sum(pc.binary_length(texts.dictionary).take(texts.indices)).as_py() or 0
    return found


def _compare(file: Path, size: int) -> None:
    if size > max(SMALL_BYTES, MAX_GROWTH * file.stat().st_size):
        raise BadInput(
            f"{file}: would take {size / 2**30:.0f} GiB of memory, more than {MAX_GROWTH} times its size on the disk; "
            "no table of ours is packed like that, do not use it"
        )
