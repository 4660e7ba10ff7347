"""What became of every detection, and nothing else of it: all that AP depends on, class by class.

Detections are matched some images at a time. What AP, its intervals and its costs need of one is its score, its image
and a bit for each threshold: 16 to 30 bytes. These lie in a temporary file, from which one class is read at a time.
"""

from __future__ import annotations

import tempfile

import numpy as np

THRESHOLDS = np.linspace(0.5, 0.95, 10)  # IoU from which on a detection is right
BITS = 1 << np.arange(len(THRESHOLDS))


class ByClass:
    """Records of a fixed dtype, added some at a time and read one class at a time. They take no memory, but disk."""

    def __init__(self, kind: np.dtype, classes: int):
        self.classes, self._kind, self._file = classes, kind, tempfile.TemporaryFile()
        self._ends: list[np.ndarray] = []  # of each time: where in the file every class ends, in records
        self._count = 0

    def add(self, records: np.ndarray, label: np.ndarray) -> None:
        """records (N,) of classes label (N,)."""
        order = np.argsort(label, kind="stable")
        ends = np.searchsorted(label[order], np.arange(self.classes + 1), side="left")
        self._ends.append(self._count + ends)
        self._file.seek(0, 2)
        self._file.write(records[order].tobytes())
        self._count += len(records)

    def of(self, label: int) -> np.ndarray:
        """The records of a class, in the order in which they were added."""
        found = []
        for ends in self._ends:
            start, stop = int(ends[label]), int(ends[label + 1])
            if start < stop:
                self._file.seek(start * self._kind.itemsize)
                found.append(self._file.read((stop - start) * self._kind.itemsize))
        return np.frombuffer(b"".join(found), self._kind)


class Ranking:
    """Detections and true boxes of all images, matched with boxes of A ranges of sizes counted.

    boxes    (A, C) int64, true boxes that count
    found    a record for each detection: image (position among the tested ones), score, rank (0 = best of its class and
             image), right and ignored (A, bits of THRESHOLDS)
    true     a record for each true box that counts in the first range: its image
    """

    def __init__(self, classes: int, ranges: int):
        bits = ("<u2", (ranges,))
        names = {"image": "<i4", "score": "<f8", "rank": "<u2", "right": bits, "ignored": bits}
        self.kind = np.dtype([(name, *(of if isinstance(of, tuple) else (of,))) for name, of in names.items()])
        self.classes, self.boxes = classes, np.zeros((ranges, classes), np.int64)
        self.found, self.true = ByClass(self.kind, classes), ByClass(np.dtype("<i4"), classes)

    def add(
        self,
        label: np.ndarray,
        image: np.ndarray,
        score: np.ndarray,
        rank: np.ndarray,
        right: list[np.ndarray],
        ignored: list[np.ndarray],
    ) -> None:
        """P detections, those of a class and image best first; right, ignored: A masks (P, T)."""
        rows = np.zeros(len(label), self.kind)
        rows["image"], rows["score"], rows["rank"] = image, score, rank
        for a, (one, other) in enumerate(zip(right, ignored, strict=True)):
            rows["right"][:, a], rows["ignored"][:, a] = one @ BITS, other @ BITS
        self.found.add(rows, label)

    def best_first(self, label: int) -> np.ndarray:
        """The detections of a class. Equal scores keep the order of images, and in one the order given."""
        rows = self.found.of(label)
        return rows[np.argsort(-rows["score"], kind="stable")]


def mask_of(bits: np.ndarray) -> np.ndarray:
    """(P, T) bool of bits (P,)."""
    return (bits[:, None] & BITS.astype(np.uint16)) > 0
