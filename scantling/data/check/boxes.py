"""Boxes that can be trusted: inside their images, with an area, each once. Works on a million boxes at a time."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pandas as pd

from scantling.data.check.sizes import Sizes, carry
from scantling.data.index import XYXY
from scantling.data.problems import EXAMPLES, Findings

ROWS = 1 << 20  # of a chunk: about 100 MB of temporaries
BORDER_TOLERANCE_PX = 0.01  # rounding of decimal coordinates; such boxes are clipped without being counted
NOWHERE = -1


def place(boxes: pd.DataFrame, image_ids: pd.Series) -> np.ndarray:
    """(N,) int32: the row of each box's image in a table with these ids, which are unique; NOWHERE for no image."""
    index = pd.Index(image_ids)
    at = np.empty(len(boxes), np.int32)
    ids = boxes.image_id.to_numpy()
    for rows in chunks(len(boxes)):
        at[rows] = index.get_indexer(ids[rows])
    return at


def chunks(count: int) -> Iterator[slice]:
    for start in range(0, count, ROWS):
        yield slice(start, min(start + ROWS, count))


def repair(
    boxes: pd.DataFrame, at: np.ndarray, names: pd.Series, sizes: Sizes, found: Findings
) -> tuple[pd.DataFrame, np.ndarray]:
    """Boxes in pixels of the upright picture and the rows of their images. `at`: see `place`; boxes of no image go."""
    if not len(names):
        return boxes[:0], at[:0]
    columns = {c: boxes[c].to_numpy() for c in boxes.columns}
    fresh = {c: np.empty(len(boxes), np.float32) for c in (*XYXY, "area")}
    keep, keys = np.zeros(len(boxes), bool), np.zeros(len(boxes), np.uint64)
    notes, moved = _Notes(columns["box_id"], names), sizes.moved
    border = np.tile(sizes.size.astype(np.float32), 2).T
    for rows in chunks(len(boxes)):
        here = at[rows]
        drawn = _drawn([columns[c][rows] for c in XYXY], sizes, here, moved[here])
        inside = [np.clip(values, 0, most[here]) + 0.0 for values, most in zip(drawn, border, strict=True)]  # no -0.0
        with np.errstate(invalid="ignore"):
            beyond = [np.abs(i - d) > BORDER_TOLERANCE_PX for i, d in zip(inside, drawn, strict=True)]
        width, height = inside[2] - inside[0], inside[3] - inside[1]
        flat, numbers = ~((width > 0) & (height > 0)), ~np.isnan(sum(inside))
        used = here != NOWHERE
        notes.add("box_not_numbers", used & ~numbers, rows.start, drawn, here)
        notes.add("box_outside", used & np.logical_or.reduce(beyond), rows.start, drawn, here)
        notes.add("box_without_area", used & flat & numbers, rows.start, drawn, here)
        keep[rows] = used & ~flat
        area = columns["area"][rows] * sizes.scale[here].prod(1).astype(np.float32)
        bad = keep[rows] & ~np.isnan(area) & ~((area >= 0) & (area < np.inf))
        notes.add("bad_area", bad, rows.start, drawn, here)
        fresh["area"][rows] = np.where(np.isnan(area) | bad, width * height, area)
        for c, values in zip(XYXY, inside, strict=True):
            fresh[c][rows] = values
        keys[rows] = _keys([here, columns["label"][rows], columns["crowd"][rows], *inside])
    again = _repeated(columns | fresh, at, keep, keys)
    notes.add("repeated_box", again, 0, [fresh[c] for c in XYXY], at)
    notes.report(found)
    keep &= ~again
    del keys, again
    if keep.all():
        return pd.DataFrame(columns | fresh, copy=False), at
    # column by column, so that only one is there twice
    kept = {c: (fresh.pop(c) if c in fresh else columns[c])[keep] for c in boxes.columns}
    return pd.DataFrame(kept, copy=False), at[keep]


def _drawn(corners: list[np.ndarray], sizes: Sizes, at: np.ndarray, moved: np.ndarray) -> list[np.ndarray]:
    """x1, y1, x2, y2 of a chunk in pixels of the upright pictures, before they are clipped."""
    rows = np.flatnonzero(moved)
    if not len(rows):
        return corners
    corners = [values.copy() for values in corners]
    carried = carry(np.stack([values[rows] for values in corners], 1), sizes, at[rows])
    for values, there in zip(corners, carried.T, strict=True):
        values[rows] = there
    return corners


class _Notes:
    """Counts and first examples of what is noticed, chunk after chunk, in the order in which it is to be listed."""

    def __init__(self, box_ids: np.ndarray, names: pd.Series):
        self.box_ids, self.names = box_ids, names
        self.count: dict[str, int] = {}
        self.shown: dict[str, list[str]] = {}

    def add(self, kind: str, which: np.ndarray, start: int, corners: list[np.ndarray], at: np.ndarray) -> None:
        """The boxes of a chunk that begins at row `start` where the mask is True."""
        rows = np.flatnonzero(which)
        self.count[kind] = self.count.get(kind, 0) + len(rows)
        shown = self.shown.setdefault(kind, [])
        for i in rows[: EXAMPLES - len(shown)]:
            box = ", ".join(f"{values[i]:g}" for values in corners)
            shown.append(f"box {self.box_ids[start + i]} of {self.names.iloc[at[i]]} ({box})")

    def report(self, found: Findings) -> None:
        for kind, count in self.count.items():
            found.add(kind, self.shown[kind], count)


def _keys(columns: list[np.ndarray]) -> np.ndarray:
    """(N,) uint64 that are equal where all columns are, and almost never elsewhere (multiply and shift of the bits)."""
    key = np.zeros(len(columns[0]), np.uint64)
    for column in columns:
        key ^= column.view(np.uint32) if column.itemsize == 4 else column.astype(np.uint32)
        key *= np.uint64(0x9E3779B97F4A7C15)  # 2^64 over the golden ratio
        key ^= key >> np.uint64(29)
    return key


def _repeated(columns: dict[str, np.ndarray], at: np.ndarray, keep: np.ndarray, keys: np.ndarray) -> np.ndarray:
    """Mask of the boxes that equal an earlier one in image, class, corners and crowd.

    Equal keys find the few rows that are worth comparing.
    """
    ordered = np.sort(keys[keep])
    twice = ordered[1:][ordered[1:] == ordered[:-1]]
    again = np.zeros(len(keys), bool)
    if len(twice):
        rows = np.flatnonzero(keep & pd.Series(keys).isin(twice).to_numpy())
        same = pd.DataFrame({c: columns[c][rows] for c in (*XYXY, "label", "crowd")} | {"at": at[rows]})
        again[rows[same.duplicated().to_numpy()]] = True
    return again
