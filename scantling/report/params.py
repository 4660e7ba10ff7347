"""What `report` can be told: how much to show, nothing that changes a number."""

from __future__ import annotations

from pydantic import Field

from scantling.params import Params


class SheetParams(Params):
    """The sheet of images."""

    images: int = Field(ge=0)  # images per split
    long_side_px: int = Field(ge=64, le=1600)
    jpeg_quality: int = Field(ge=10, le=95)
    score_floor: float = Field(ge=0, le=1)  # unused pseudo labels below this score are not drawn


class ReportParams(Params):
    baseline: tuple[str, ...] = Field(min_length=1)  # gains are counted from the first that a group of runs has
    curve_points: int = Field(ge=2)  # points a training curve is averaged to
    class_charts: int = Field(ge=0)  # precision/recall charts per split, of the classes with most hidden boxes
    class_rows: int = Field(ge=1)  # rows of the per-class table, the classes with most test boxes
    sheet: SheetParams
