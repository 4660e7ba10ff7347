"""What a person drew in an annotation tool, whatever file it was saved in."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

import numpy as np

from scantling.stage import BadInput

SAME_PX = 0.02  # CVAT writes hundredths of a pixel


@dataclass(frozen=True)
class Box:
    """Corners in pixels of the upright image. proposed: a machine's, which no person has accepted yet."""

    name: str
    corners: tuple[float, float, float, float]
    proposed: bool = False


@dataclass
class Drawn:
    """One image. labeled: a person says that the accepted boxes are all there are; else it counts once it has one."""

    name: str
    width: int
    height: int
    labeled: bool
    boxes: list[Box] = field(default_factory=list)

    def accepted(self) -> list[Box]:
        return [box for box in self.boxes if not box.proposed]

    def counts(self) -> bool:
        """Whether the image is as good as labeled."""
        return self.labeled or bool(self.accepted())


def joined(files: Iterable[Sequence[Drawn]]) -> list[Drawn]:
    """The images of all files that count; of an image in several the last one wins."""
    last = {image.name: image for images in files for image in images if image.counts()}
    return list(last.values())


def changed(images: Sequence[Drawn], before: Sequence[Drawn]) -> list[Drawn]:
    """The images that are not as they were before."""
    known = {image.name: image for image in before}
    return [image for image in images if not _same(image, known.get(image.name))]


def _same(one: Drawn, other: Drawn | None) -> bool:
    if other is None or one.labeled != other.labeled:
        return False
    left = other.accepted()
    for box in one.accepted():
        match = next((b for b in left if b.name == box.name and _near(b.corners, box.corners)), None)
        if match is None:
            return False
        left.remove(match)
    return not left


def _near(one: Sequence[float], other: Sequence[float]) -> bool:
    return all(abs(a - b) <= SAME_PX for a, b in zip(one, other, strict=True))


def surrounding(points: Sequence[Sequence[float]]) -> tuple[float, float, float, float]:
    """The box around points (x, y)."""
    xs, ys = zip(*points, strict=True)
    return min(xs), min(ys), max(xs), max(ys)


def turned(
    corners: tuple[float, float, float, float], degrees: float, about: tuple[float, float]
) -> tuple[float, float, float, float]:
    """The box around a box that is turned clockwise (as seen) about a point."""
    if degrees % 360 == 0:
        return corners
    x1, y1, x2, y2 = corners
    angle = np.deg2rad(degrees)
    cos, sin = float(np.cos(angle)), float(np.sin(angle))
    offsets = [(x - about[0], y - about[1]) for x in (x1, x2) for y in (y1, y2)]
    return surrounding([(about[0] + x * cos - y * sin, about[1] + x * sin + y * cos) for x, y in offsets])


def number(text: object, what: str) -> float:
    """A finite number written as text or in JSON. Raises BadInput with `what` names it, remedy included."""
    try:
        value = float(text) if isinstance(text, str | int | float) and not isinstance(text, bool) else np.nan
    except (ValueError, OverflowError):
        value = np.nan
    if not np.isfinite(value):
        raise BadInput(f"{what} is {str(text)[:60]!r}, no number; export the file again")
    return value
