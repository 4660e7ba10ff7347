"""Boxes that can be trusted: inside their images, with an area, each once. Works on a million boxes at a time."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pandas as pd

from scantling.data.check_sizes import Sizes, carry
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
    count = len(boxes)
    corners = [np.empty(count, np.float32) for _ in XYXY]
    area = np.empty(count, np.float32)
    keep, keys = np.zeros(count, bool), np.zeros(count, np.uint64)
    notes = _Notes(boxes, names)
    columns = {c: boxes[c].to_numpy() for c in ("label", "area", "crowd", *XYXY)}
    for rows in chunks(count):
        here = at[rows]
        used = here != NOWHERE
        drawn = carry(np.stack([columns[c][rows] for c in XYXY], 1), sizes, here)
        numbers = ~np.isnan(drawn).any(1)
        inside = np.clip(drawn, 0, np.tile(sizes.size[here], 2)).astype(np.float32) + 0.0  # + 0.0: no -0.0
        sides = inside[:, 2:] - inside[:, :2]
        flat = ~(sides > 0).all(1)
        with np.errstate(invalid="ignore"):
            over = (np.abs(inside - drawn) > BORDER_TOLERANCE_PX).any(1)
        notes.add("box_not_numbers", used & ~numbers, rows.start, drawn, here)
        notes.add("box_outside", used & over, rows.start, drawn, here)
        notes.add("box_without_area", used & flat & numbers, rows.start, drawn, here)
        keep[rows] = used & ~flat
        published = columns["area"][rows] * sizes.scale[here].prod(1).astype(np.float32)
        bad = keep[rows] & ~np.isnan(published) & ~((published >= 0) & (published < np.inf))
        notes.add("bad_area", bad, rows.start, drawn, here)
        area[rows] = np.where(np.isnan(published) | bad, sides.prod(1), published)
        for c, values in zip(corners, inside.T, strict=True):
            c[rows] = values
        keys[rows] = _keys([here, columns["label"][rows], columns["crowd"][rows], *inside.T.copy()])
    again = _repeated(boxes, corners, at, keep, keys)
    notes.add("repeated_box", again, 0, np.stack(corners, 1) if again.any() else np.empty((0, 4)), at)
    notes.report(found)
    keep &= ~again
    boxes = boxes.assign(**dict(zip(XYXY, corners, strict=True)), area=area)
    return (boxes, at) if keep.all() else (boxes[keep], at[keep])


class _Notes:
    """Counts and first examples of what is noticed, chunk after chunk, in the order in which it is to be listed."""

    def __init__(self, boxes: pd.DataFrame, names: pd.Series):
        self.boxes, self.names = boxes, names
        self.count: dict[str, int] = {}
        self.shown: dict[str, list[str]] = {}

    def add(self, kind: str, which: np.ndarray, start: int, corners: np.ndarray, at: np.ndarray) -> None:
        """The boxes of a chunk that begins at row `start` where the mask is True."""
        rows = np.flatnonzero(which)
        self.count[kind] = self.count.get(kind, 0) + len(rows)
        shown = self.shown.setdefault(kind, [])
        for i in rows[: EXAMPLES - len(shown)]:
            box = ", ".join(f"{v:g}" for v in corners[i])
            shown.append(f"box {self.boxes.box_id.iloc[start + i]} of {self.names.iloc[at[i]]} ({box})")

    def report(self, found: Findings) -> None:
        for kind, count in self.count.items():
            found.add(kind, self.shown[kind], count)


def _keys(columns: list[np.ndarray]) -> np.ndarray:
    """(N,) uint64 that are equal where all columns are, and almost never elsewhere (multiply and shift of the bits)."""
    key = np.zeros(len(columns[0]), np.uint64)
    for column in columns:
        bits = column.view(np.uint32) if column.dtype == np.float32 else column.astype(np.uint32)
        key = (key ^ bits) * np.uint64(0x9E3779B97F4A7C15)  # 2^64 over the golden ratio
        key ^= key >> np.uint64(29)
    return key


def _repeated(
    boxes: pd.DataFrame, corners: list[np.ndarray], at: np.ndarray, keep: np.ndarray, keys: np.ndarray
) -> np.ndarray:
    """Mask of the boxes that equal an earlier one in image, class, corners and crowd. Equal keys find the few rows that
    are worth comparing."""
    ordered = np.sort(keys[keep])
    twice = ordered[1:][ordered[1:] == ordered[:-1]]
    again = np.zeros(len(boxes), bool)
    if len(twice):
        rows = np.flatnonzero(keep & pd.Series(keys).isin(twice).to_numpy())
        same = pd.DataFrame({c: values[rows] for c, values in zip(XYXY, corners, strict=True)})
        same = same.assign(at=at[rows], **{c: boxes[c].to_numpy()[rows] for c in ("label", "crowd")})
        again[rows[same.duplicated().to_numpy()]] = True
    return again
