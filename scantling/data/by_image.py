"""The rows of each image of a table, found by sorted ids: two arrays in place of a million small objects.

Workers of a loader share arrays; the counters inside of small objects they would copy as they look at them.
"""

from __future__ import annotations

import numpy as np


class ByImage:
    """Where the rows of each image are, in their order, in a table with the image ids (R,) given, which may be in any.

    order  (R,) int64, the rows sorted by image; None: they are so already
    """

    def __init__(self, image_ids: np.ndarray):
        ids = np.asarray(image_ids, dtype=np.int64)
        self.order: np.ndarray | None = None
        if (ids[1:] < ids[:-1]).any():
            self.order = np.argsort(ids, kind="stable")
            ids = ids[self.order]
        first = np.flatnonzero(np.diff(ids, prepend=ids[:1] - 1))
        self.ids, self._ends = ids[first], np.append(first, len(ids))

    def place(self, image_id: int) -> int | None:
        """The number of the image among the ascending `ids`; None for one without rows."""
        at = int(np.searchsorted(self.ids, image_id))
        return at if at < len(self.ids) and self.ids[at] == image_id else None

    def sorted(self, image_id: int) -> slice:
        """The rows of an image in the table sorted by image, that is `table[order]`."""
        at = self.place(image_id)
        return slice(0, 0) if at is None else slice(int(self._ends[at]), int(self._ends[at + 1]))

    def rows(self, image_id: int) -> np.ndarray:
        """The rows (N,) of an image in the table as given, ascending."""
        there = self.sorted(image_id)
        return np.arange(there.start, there.stop) if self.order is None else self.order[there]

    def counts(self, image_ids: np.ndarray) -> np.ndarray:
        """How many rows (N,) each of the images has."""
        wanted = np.asarray(image_ids, dtype=np.int64)
        if not len(self.ids):
            return np.zeros(len(wanted), np.int64)
        at = np.searchsorted(self.ids, wanted).clip(max=len(self.ids) - 1)
        return np.where(self.ids[at] == wanted, np.diff(self._ends)[at], 0)
