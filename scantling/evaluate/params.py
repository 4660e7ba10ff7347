"""What `evaluate` can be told."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import Field, field_validator, model_validator

from scantling.params import Params

Fraction = Annotated[float, Field(ge=0, le=1)]


class QualityParams(Params):
    """How pseudo labels are compared with the truth that the split hid."""

    iou_threshold: float = Field(gt=0, le=1)  # a pseudo box and a hidden box of its class are one object from here on
    headline_threshold: Fraction  # score; precision and recall of metrics.json are read at this grid point
    thresholds: tuple[Fraction, ...]  # scores; the grid of label_quality.json
    calibration_bins: int = Field(10, ge=1, le=100)  # equal ranges of the score 0..1
    stretches: int = Field(10, ge=1, le=1000)  # equal parts of a training in which its own labels are looked at
    same_iou: float = Field(0.9, gt=0, le=1)  # a label that a round left with its class and so much IoU has not moved

    @field_validator("thresholds")
    @classmethod
    def _ascending(cls, grid: tuple[float, ...]) -> tuple[float, ...]:
        if not grid or any(b <= a for a, b in zip(grid, grid[1:], strict=False)):
            raise ValueError("give at least one score, each once, in ascending order")
        return grid

    @model_validator(mode="after")
    def _on_the_grid(self) -> Self:
        if self.headline_threshold not in self.thresholds:
            raise ValueError(f"headline_threshold {self.headline_threshold} is not one of the thresholds; add it there")
        return self


class IntervalParams(Params):
    """Intervals of AP from resampled images (bootstrap.py)."""

    resamples: int = Field(ge=1)
    level: float = Field(gt=0, lt=1)  # share of the resamples inside
    seed: int = Field(ge=0)


class ErrorParams(Params):
    """Kinds of mistakes (errors.py)."""

    score_threshold: Fraction  # detections from here on are in the confusion matrix and counted as shown


class FrequencyParams(Params):
    """LVIS's borders (10 and 100), which it draws by images; here by the labeled boxes of the split."""

    rare_boxes: int = Field(10, ge=0)  # a class with as many labeled boxes or fewer is rare
    common_boxes: int = Field(100, ge=0)  # with as many or fewer common, with more frequent

    @model_validator(mode="after")
    def _rising(self) -> Self:
        if self.common_boxes < self.rare_boxes:
            raise ValueError(f"common_boxes {self.common_boxes} is below rare_boxes {self.rare_boxes}; raise it")
        return self


class EvaluateParams(Params):
    subset: str  # images of the index that the numbers are about
    metrics: tuple[Literal["coco", "voc", "lvis", "auto"], ...]  # beside COCO's twelve, which are always there
    score_threshold: Fraction  # detections below are not written and do not count
    nms_iou: Fraction | None  # class-wise non-maximum suppression; None: the detector's own
    limit: int = Field(ge=1)  # detections per image
    batch_size: int = Field(ge=1)  # images
    workers: int = Field(ge=0)  # processes that decode images; 0 = in the process itself
    intervals: IntervalParams
    errors: ErrorParams
    burn_in_images: int = Field(500, ge=0)  # at most, of the subset: on them the burn-in's teacher is compared; 0: not
    frequency: FrequencyParams = FrequencyParams()
    label_quality: QualityParams
