"""The files of a labeling: the table, written as it goes by, and how many boxes an image there are."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from scantling.data import parquet
from scantling.data.index import table
from scantling.pseudo import COLUMNS

ROWS = 1 << 20  # of a row group: those that pandas writes


def save(
    folder: Path,
    found: Iterable[pd.DataFrame],
    images: int,
    classes: Sequence[str],
    held_out: Iterable[pd.DataFrame],
    subset: str | None,
    held_out_images: int,
    facts: dict[str, object] | None = None,
) -> None:
    """Write pseudo.parquet, held_out.parquet and summary.json, which has the counts of both and `facts`.

    found, held_out   tables of COLUMNS one after the other, of `images` images of the split and of `held_out_images` of
                      `subset`; one is held at a time
    """
    counts = Counts(classes, [round(0.1 * n, 1) for n in range(1, 10)])
    write(counts.seeing(found), table([], COLUMNS), folder / "pseudo.parquet")
    boxes = write(held_out, table([], COLUMNS), folder / "held_out.parquet")
    summary = counts.summary(images)
    summary["held_out"] = {"subset": subset, "images": held_out_images, "boxes": boxes}
    (folder / "summary.json").write_text(json.dumps(summary | (facts or {}), indent=1))


def load_held_out(folder: Path) -> tuple[str, pd.DataFrame] | None:
    """The held-out subset and what the teacher found there; None where it labeled no such image, or nothing says so."""
    summary = folder / "summary.json"
    held_out = json.loads(summary.read_text()).get("held_out", {}) if summary.is_file() else {}
    if not held_out.get("images"):
        return None
    return held_out["subset"], parquet.read(folder / "held_out.parquet")


class Counts:
    """Boxes per class over a grid of score thresholds, counted while tables go by."""

    def __init__(self, classes: Sequence[str], thresholds: Sequence[float]):
        self.classes, self.thresholds, self.rows = tuple(classes), tuple(thresholds), 0
        self.above = np.zeros((len(self.thresholds), len(self.classes)), np.int64)

    def seeing(self, tables: Iterable[pd.DataFrame]) -> Iterator[pd.DataFrame]:
        """The same tables, counted."""
        for part in tables:
            score, label = part["score"].to_numpy(), part["label"].to_numpy()
            self.rows += len(part)
            for n, threshold in enumerate(self.thresholds):
                self.above[n] += np.bincount(label[score > threshold], minlength=len(self.classes))
            yield part

    def summary(self, images: int) -> dict[str, object]:
        """What was counted, as plain JSON types."""
        grid = [
            {
                "threshold": threshold,
                "boxes_per_image": round(int(above.sum()) / max(images, 1), 4),
                "boxes": dict(zip(self.classes, above.tolist(), strict=True)),
            }
            for threshold, above in zip(self.thresholds, self.above, strict=True)
        ]
        return {"images": images, "boxes": self.rows, "thresholds": grid}


def write(tables: Iterable[pd.DataFrame], empty: pd.DataFrame, file: Path, group: int | None = None) -> int:
    """Tables of the columns of `empty`, one below the other, into a Parquet file; gives the number of rows.

    The bytes are those of the whole table written by pandas, of which one row group is held at a time. group: its rows.
    """
    group = group or ROWS
    schema = pa.Schema.from_pandas(empty, preserve_index=False)
    waiting, count, rows = list[pa.Table](), 0, 0
    with pq.ParquetWriter(file, schema) as writer:
        for table in tables:
            waiting.append(pa.Table.from_pandas(table, schema, preserve_index=False))
            count, rows = count + len(table), rows + len(table)
            while count >= group:
                whole = pa.concat_tables(waiting)
                writer.write_table(whole.slice(0, group), group)
                waiting, count = [whole.slice(group)], count - group
        if count or not rows:
            writer.write_table(pa.concat_tables(waiting) if waiting else schema.empty_table(), group)
    return rows
