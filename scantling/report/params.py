"""What `report` can be told: how much to show, nothing that changes a number."""

from __future__ import annotations

from pydantic import Field

from scantling.params import Params


class SheetParams(Params):
    """The sheet of images of one comparison."""

    images: int = Field(ge=0)  # images per comparison
    ranked: int = Field(ge=1)  # images that are ranked by disagreement; of more, so many at even distances
    boxes: int = Field(ge=1)  # boxes of each kind drawn on an image, the best scores first
    score_floor: float = Field(ge=0, le=1)  # unused pseudo labels below this score are not drawn


class PhotoParams(Params):
    """The files of all images of a report."""

    images: int = Field(ge=0)  # files at most
    total_mib: float = Field(gt=0)  # MiB of all files at most
    long_side_px: int = Field(ge=64, le=4096)
    jpeg_quality: int = Field(ge=10, le=95)


class ReportParams(Params):
    baseline: tuple[str, ...] = Field(min_length=1)  # gains are counted from the first that a group of runs has
    curve_points: int = Field(ge=2)  # points a training curve is averaged to
    class_charts: int = Field(ge=0)  # precision/recall charts per split, of the classes with most hidden boxes
    class_rows: int = Field(ge=1)  # rows of the per-class tables, the classes with most boxes
    confusion_classes: int = Field(ge=1)  # rows and columns of the table of confusions
    sheet: SheetParams
    photos: PhotoParams
