"""How large the images are, and how boxes come from the picture they were drawn on to the one that is used.

Boxes are in pixels of the picture whose size the annotations state. It may be another than that of the upright file:
lying on its side (EXIF was not followed), or larger or smaller.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd

from scantling.data.check.files import Seen
from scantling.data.problems import EXAMPLES, Findings


@dataclass(frozen=True)
class Sizes:
    """Per image: size (N, 2) int64 width and height of the upright picture; scale (N, 2) float64, by which its boxes
    grow first; turn (N,) the EXIF orientation that its boxes follow then, 1 for none; fine (N,) False: left out."""

    size: np.ndarray
    scale: np.ndarray
    turn: np.ndarray
    fine: np.ndarray

    @property
    def moved(self) -> np.ndarray:
        """(N,) bool: images whose boxes are to be carried."""
        return (self.scale != 1).any(1) | (self.turn > 1)

    def only(self, rows: np.ndarray) -> Sizes:
        return Sizes(self.size[rows], self.scale[rows], self.turn[rows], self.fine[rows])


def compare(images: pd.DataFrame, seen: Seen, max_megapixels: float, found: Findings) -> Sizes:
    """Sizes as stated in `images` (0: not stated) against those of the files (0: nobody looked)."""
    stated = images[["width", "height"]].to_numpy(np.int64)
    real = np.stack([seen.width, seen.height], 1)
    known, told = (real > 0).all(1), (stated > 0).all(1)
    size = np.where(known[:, None], real, stated)
    names = images.file_name

    def note(kind: str, which: np.ndarray, text: str) -> None:
        rows = np.flatnonzero(which)
        numbers = {"stated": stated, "file": real}
        shown = [
            text.format(names.iloc[i], turn=seen.turn[i], **{k: f"{v[i, 0]} x {v[i, 1]}" for k, v in numbers.items()})
            for i in rows[:EXAMPLES]
        ]
        found.add(kind, shown, len(rows))

    unknown = seen.fine & ~known & ~told
    note("unknown_size", unknown, "{}")
    huge = seen.fine & ~known & told & (stated.prod(1, dtype=np.float64) > max_megapixels * 1e6)  # files: see files.py
    note("huge_image", huge, "{} (stated {stated})")

    differs = known & told & (stated != real).any(1)
    stored = np.where(seen.turn[:, None] >= 5, real[:, ::-1], real)
    lying = differs & (seen.turn >= 5) & _likes(stated, stored, real)
    wrong = differs & (stated != np.where(lying[:, None], stored, real)).any(1)
    note("wrong_size", wrong, "{} (stated {stated}, file {file})")
    note("exif_turned", lying, "{} (orientation {turn})")
    note("exif", (seen.turn > 1) & ~lying, "{} (orientation {turn})")

    drawn = np.where(lying[:, None], stored, real)
    scale = np.divide(drawn, stated, out=np.ones((len(names), 2)), where=wrong[:, None])
    return Sizes(size, scale, np.where(lying, seen.turn, 1), seen.fine & ~unknown & ~huge)


def _likes(stated: np.ndarray, one: np.ndarray, other: np.ndarray) -> np.ndarray:
    """Where the stated size has the shape of `one` rather than of `other`."""

    def shape(size: np.ndarray) -> np.ndarray:
        return np.log(np.maximum(size[:, 0], 1)) - np.log(np.maximum(size[:, 1], 1))

    return np.abs(shape(stated) - shape(one)) < np.abs(shape(stated) - shape(other))


def carry(boxes: np.ndarray, sizes: Sizes, at: np.ndarray) -> np.ndarray:
    """(N, 4) boxes as drawn on image `at` (N,) -> float32 boxes on its upright picture.

    That of width W and height H; EXIF orientation 5 carries (x, y) to (y, x), 6: (W - y, x), 7: (W - y, H - x),
    8: (y, H - x).
    """
    x1, y1, x2, y2 = (boxes.astype(np.float64) * np.tile(sizes.scale[at], 2)).T
    turn, (width, height) = sizes.turn[at], sizes.size[at].T
    left, right = np.where(np.isin(turn, (6, 7)), (width - y2, width - y1), (y1, y2))
    top, bottom = np.where(np.isin(turn, (7, 8)), (height - x2, height - x1), (x1, x2))
    turned = np.where(turn >= 5, (left, top, right, bottom), (x1, y1, x2, y2))
    return turned.T.astype(np.float32)
