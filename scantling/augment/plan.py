"""What will be done to an image: drawn (`draw.py`) before a pixel is touched, applied by any path.

The CPU path (`views.apply`) and the batched one (`batched.apply`) read the same plans.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

from torch import Tensor

Size = tuple[int, int]  # height, width


class Step(NamedTuple):
    """One operation and its drawn values.

    flip_horizontal, flip_vertical  none
    warp    the upper two rows of the matrix, on the canvas at that moment; gray level outside
    erase   x, y, width, height in pixels; gray level
    noise   x, y, width, height in pixels; seed of uniform noise
    else    a color operation and its arguments: photometry.TABLES, photometry.MIXING
    """

    name: str
    values: tuple[float, ...] = ()


Steps = tuple[Step, ...]


@dataclass(frozen=True, eq=False)
class Plan:
    """One view of one image.

    size       (height, width) of the view
    matrix     (3, 3) float64, original pixels -> view pixels
    before     steps on the original pixels, before resizing
    steps      steps after resizing to `size`
    on_weak    no resizing: `steps` go on from the finished weak view
    antialias  how to resize
    """

    size: Size
    matrix: Tensor
    before: Steps = ()
    steps: Steps = ()
    on_weak: bool = False
    antialias: bool = True
