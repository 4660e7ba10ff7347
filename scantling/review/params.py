"""What `python -m scantling.review` can be told."""

from __future__ import annotations

from typing import Annotated, Self

from pydantic import Field, model_validator

from scantling.params import Params

Fraction = Annotated[float, Field(ge=0, le=1)]


class ReviewParams(Params):
    score_threshold: Fraction  # a box above it would be used
    match_iou: float = Field(gt=0, le=1)  # from here on a box and a label are one object
    apart_iou: float = Field(gt=0, le=1)  # a box stands alone if its IoU with every label is below
    found_score: Fraction  # a label that no box above it fits is not found
    score_margin: float = Field(gt=0, le=1)  # distance from the threshold
    spread: float = Field(gt=0)  # box spread over box side
    score_gap: float = Field(gt=0, le=1)  # difference of scores of teacher and model
    images: int = Field(ge=1, le=5000)  # on the page and in the export
    boxes: int = Field(ge=1, le=1000)  # drawn on one image
    long_side_px: int = Field(ge=64, le=4096)  # of a picture
    jpeg_quality: int = Field(ge=10, le=95)

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if self.apart_iou > self.match_iou:
            raise ValueError(f"apart_iou {self.apart_iou} is above match_iou {self.match_iou}; exchange them")
        if self.found_score > self.score_threshold:
            raise ValueError(
                f"found_score {self.found_score} is above score_threshold {self.score_threshold}; lower it"
            )
        return self
