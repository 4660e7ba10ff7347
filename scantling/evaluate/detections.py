"""Detections of each model as files, no more than some rows of which are held at a time."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

import pandas as pd

from scantling import pseudo_files
from scantling.data.index import table
from scantling.evaluate.portions import Stored, Table
from scantling.predict import DETECTION_COLUMNS
from scantling.pseudo import COLUMNS

ROWS = 1 << 17  # of a row group: what is unpacked to get at some images


def stored(tables: Iterable[pd.DataFrame], file: Path) -> Stored:
    """Tables of what one model found, sorted by image and one after the other, as one in a file."""
    empty = table([], COLUMNS)[DETECTION_COLUMNS]
    pseudo_files.write((part[DETECTION_COLUMNS] for part in tables), empty, file, ROWS)
    return Stored(file)


def save(found: Mapping[str, Table], file: Path) -> None:
    """Write the detections of all models, one below the other, with the name of the model as first column."""

    def named() -> Iterator[pd.DataFrame]:
        for model, rows in found.items():
            for batch in rows.batches():
                yield _named(batch, model)

    pseudo_files.write(named(), _named(table([], COLUMNS)[DETECTION_COLUMNS], ""), file)


def _named(rows: pd.DataFrame, model: str) -> pd.DataFrame:
    names = pd.Series([model] * len(rows), index=rows.index, dtype="str")
    return pd.concat([names.rename("model"), rows], axis=1)
