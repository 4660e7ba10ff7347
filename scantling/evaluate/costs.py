"""What each kind of mistake costs: how much AP50 would grow were there none of it. TIDE's dAP, see errors.py.

Like AP itself this needs all detections of a class in one order, so mistakes are collected for all images and counted
class by class.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from scantling.evaluate.fast import Matches, Scene, boxes_of, precision_of
from scantling.evaluate.rankings import ByClass

MENDED, REMOVED = ("localization", "classification"), ("both", "duplicate", "background")
KINDS = ("", *MENDED, *REMOVED)  # of a detection; "" is none
RECORD = np.dtype(
    [
        ("image", "<i4"),
        ("score", "<f8"),
        ("label", "<i4"),  # the class that it names
        ("kind", "u1"),  # place in KINDS
        ("right", "?"),
        ("ignored", "?"),
        ("mended", "?"),  # right once its mistake is mended
    ]
)


class Costs:
    """All that AP50 and its changes depend on, of the images added so far.

    boxes, missed, lost  (C,) int64: true boxes that count, those of them with no mistake about them, and those that
                         nothing found
    """

    def __init__(self, classes: int):
        self.classes = classes
        self.there, self.boxes, self.missed, self.lost = (np.zeros(classes, np.int64) for _ in range(4))
        self._own, self._moved = ByClass(RECORD, classes), ByClass(RECORD, classes)

    def add(
        self,
        before: int,
        at: Scene,
        matches: Matches,
        kind: np.ndarray,
        about: np.ndarray,
        mended: np.ndarray,
        missed: np.ndarray,
        lost: np.ndarray,
    ) -> None:
        """Images after the first `before`. Of detections: kind (P,), place in KINDS; about (P,), the true box that it
        is about; mended (P,) bool. Of true boxes: missed, lost (G,) bool."""
        label, true_label = at.found["label"].to_numpy(), at.true["label"].to_numpy()
        rows = np.zeros(len(label), RECORD)
        rows["image"], rows["score"] = before + at.found["image"].to_numpy(), at.found["score"].to_numpy()
        rows["label"], rows["kind"], rows["mended"] = label, kind, mended
        rows["right"], rows["ignored"] = matches.right[:, 0], matches.ignored[:, 0]
        self._own.add(rows, label)
        moves = mended & (kind == KINDS.index("classification"))
        self._moved.add(rows[moves], true_label[about[moves]] if moves.any() else np.zeros(0, np.int64))
        self.boxes += boxes_of(at, matches)
        self.there += np.bincount(true_label[~at.true["ignored"]], minlength=self.classes)
        self.missed += np.bincount(true_label[missed], minlength=self.classes)
        self.lost += np.bincount(true_label[lost], minlength=self.classes)

    def ap50(self) -> dict[str, float | None]:
        """AP50 as it is, "", and without each kind of mistakes: KINDS, missed, false_positives, false_negatives.

        Means over the classes with boxes; None without any. A class with none left to be found counts 0 if some of its
        detections are wrong, and is left out otherwise.
        """
        values: dict[str, list[float]] = {}
        for k in np.flatnonzero(self.there):
            for name, right, ignored, boxes in self._changed(int(k)):
                of_name = values.setdefault(name, [])
                if boxes:
                    of_name.append(precision_of(right, ignored, int(boxes)).mean())
                elif (~right & ~ignored).any():
                    of_name.append(0.0)
        names = (*KINDS, "false_positives", "missed", "false_negatives")
        return {name: float(np.mean(values[name])) if values.get(name) else None for name in names}

    def _changed(self, k: int) -> Iterator[tuple[str, np.ndarray, np.ndarray, int]]:
        """right (P,), ignored (P,) of the detections of a class, best first, and its boxes: as they are and changed."""
        rows = _best_first(self._own.of(k))
        right, ignored, boxes = rows["right"], rows["ignored"], self.boxes[k]
        yield "", right, ignored, boxes
        yield "missed", right, ignored, boxes - self.missed[k]
        yield "false_negatives", right, ignored, boxes - self.lost[k]
        yield "false_positives", right, ignored | ~right, boxes
        for name in REMOVED:
            yield name, right, ignored | (rows["kind"] == KINDS.index(name)), boxes
        for name in MENDED:  # classification last
            if name == "classification":  # mended, it is of another class
                stay = ~(rows["mended"] & (rows["kind"] == KINDS.index(name)))
                rows = _best_first(np.concatenate([rows[stay], self._moved.of(k)]))
            mine = rows["kind"] == KINDS.index(name)
            mended = mine & rows["mended"]
            yield name, rows["right"] | mended, rows["ignored"] | (mine & ~mended), boxes


def _best_first(rows: np.ndarray) -> np.ndarray:
    """Equal scores by image, and in an image by the class that they name, as in a scene."""
    return rows[np.lexsort((rows["label"], rows["image"], -rows["score"]))]
