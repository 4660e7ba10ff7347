"""What a recipe may ask of a view: one parameter section per step, every probability and magnitude in it.

ST = Soft Teacher, UT = Unbiased Teacher, CM = Co-mining, CS = Co-Student, SD = SparseDet: who publishes a step.
"""

from __future__ import annotations

from typing import Annotated, Literal, Self, TypeVar, get_args

from pydantic import AfterValidator, Field, model_validator

from scantling.params import Params

T = TypeVar("T")


def _rising(pair: tuple[T, T]) -> tuple[T, T]:
    if pair[0] > pair[1]:  # type: ignore[operator]
        raise ValueError(f"an interval is [lowest, highest], not {list(pair)}")
    return pair


Interval = Annotated[tuple[T, T], AfterValidator(_rising)]
Share = Annotated[float, Field(ge=0, le=1)]  # a probability, or a part of a whole
Positive = Annotated[float, Field(gt=0)]
NotNegative = Annotated[float, Field(ge=0)]
Pixels = Annotated[int, Field(gt=0)]
Count = Annotated[int, Field(ge=0)]
Gray = Annotated[int, Field(ge=0, le=255)]
Magnitude = Annotated[int, Field(ge=0, le=10)]
Fill = Gray | Literal["noise"]

Enhancement = Literal["brightness", "contrast", "saturation", "hue"]
Move = Literal["translate_x", "translate_y", "rotate", "shear", "shear_x", "shear_y"]
ColorOperation = Literal[
    "identity", "auto_contrast", "equalize", "solarize", "color", "contrast", "brightness", "sharpness", "posterize"
]


class Zoom(Params):
    """The image scaled on its canvas and put at a random place: smaller with a border, larger as a crop."""

    probability: Share
    factor: Interval[Positive] = Field(description="uniform; below 1 shrinks")


class OneOf(Params):
    """One color operation, uniform over `operations`, at an integer magnitude m. ST section 5 (the defaults)."""

    probability: Share = 1.0
    operations: tuple[ColorOperation, ...] = Field(get_args(ColorOperation), min_length=1)
    magnitude: Interval[Magnitude] = Field((1, 9), description="m, uniform integer, both ends included")
    enhance: tuple[float, float] = Field(
        (0.1, 1.9), description="factor of color, contrast, brightness, sharpness at m = 0 and 10, linear between"
    )
    solarize: int = Field(256, ge=0, le=256, description="threshold at m = 10, linear, rounded down, at most 255")
    posterize: int = Field(4, ge=0, le=7, description="bits kept at m = 0; m = 10 takes all of them")


class Jitter(Params):
    """Factors uniform on 1 +- amount (hue: a shift of -amount..amount turns). UT section 4, CM section 3."""

    probability: Share
    brightness: float = Field(0.0, ge=0)
    contrast: float = Field(0.0, ge=0)
    saturation: float = Field(0.0, ge=0)
    hue: float = Field(0.0, ge=0, le=0.5, description="fraction of a turn")
    order: tuple[Enhancement, ...] = Field((), description="random when empty (UT, CM); SD section 3 has a fixed one")


class Blur(Params):
    """Gaussian blur; `sigma_px` (Pillow's radius) is uniform. UT section 4."""

    probability: Share
    sigma_px: Interval[NotNegative]


class Geometric(Params):
    """One of `operations`, uniform; canvas kept. ST section 5 has the defaults; `shear` is x, then y."""

    probability: Share
    operations: tuple[Move, ...] = Field(("translate_x", "translate_y", "rotate", "shear"), min_length=1)
    translate: Share = Field(description="fraction of the side, either direction")
    rotate_degrees: float = Field(ge=0, le=180)
    shear_degrees: float = Field(ge=0, le=89, description="the coefficient is its tanh: geometry.shear_x")


class Erase(Params):
    """Rectangles anywhere, sides as fractions of the image's. Boxes are not removed. ST section 5."""

    probability: Share = 1.0
    count: Interval[Count] = Field(description="rectangles, uniform, both ends included")
    side: Interval[Share] = Field(description="fraction of the image's side, uniform")
    same_share: bool = Field(False, description="one fraction for both sides of a rectangle (ST, CS)")
    fill: Fill | None = Field(None, description="gray level or noise; none: the view's")


class EraseArea(Params):
    """One rectangle by area and aspect, given up after `trials` that do not fit. UT section 4."""

    probability: Share
    area: Interval[Share] = Field(description="fraction of the image's area, uniform")
    aspect: Interval[Positive] = Field(description="height / width, uniform in its logarithm")
    trials: int = Field(10, gt=0)
    fill: Fill = "noise"


class EraseBox(Params):
    """A part of one labeled box of the image; nothing where no trial fits. SD section 3."""

    probability: Share
    area: Interval[Share] = Field(description="fraction of the box's area, uniform")
    aspect: Interval[Positive] = Field(description="height / width, uniform")
    trials: int = Field(10, gt=0)
    fill: Fill = 0


class View(Params):
    """One view: resize, flips, zoom, then color and geometry, then erasing.

    Color is one_of, jitter, lighting, gray, blur, in this order. `same_geometry` (strong only): the steps follow on
    the finished weak view; with `before_resize` color and erasing act on the original pixels, before weak's steps.
    """

    short_px: Interval[Pixels] | None = Field(None, description="short side, uniform integer, ends included")
    short_px_choices: tuple[Pixels, ...] = Field((), description="or one of these, uniform")
    long_px: Pixels | None = Field(None, description="cap of the long side")
    exact_px: tuple[Pixels, Pixels] | None = Field(None, description="or height and width, the ratio not kept")
    antialias: bool = Field(True, description="shrink as Pillow does (UT, CM, SD); false: plain bilinear, as ST")
    flip_horizontal: Share = 0.0
    flip_vertical: Share = 0.0
    zoom: Zoom | None = None
    color: OneOf | None = None
    jitter: Jitter | None = None
    lighting: float = Field(0.0, ge=0, description="standard deviation of PCA lighting, on 0..255; SD section 3")
    gray: Share = 0.0
    blur: Blur | None = None
    geometric: Geometric | None = None
    random_order: bool = Field(True, description="color and geometry in random order (ST); false: color first")
    before_resize: bool = False
    erase: Erase | None = None
    erase_areas: tuple[EraseArea, ...] = ()
    erase_box: EraseBox | None = None
    fill: Gray = Field(125, description="gray level of uncovered and erased pixels; ST section 5")
    same_geometry: bool = False

    @model_validator(mode="after")
    def _one_size(self) -> Self:
        sizes = [self.short_px is not None, bool(self.short_px_choices), self.exact_px is not None]
        if self.same_geometry:
            placed = self.flip_horizontal or self.flip_vertical or self.zoom is not None
            if any(sizes) or self.long_px is not None or placed:
                raise ValueError("same_geometry takes size, flips and zoom from the weak view; leave them out here")
        elif sum(sizes) != 1:
            raise ValueError("give one of short_px, short_px_choices, exact_px, or same_geometry: true")
        elif self.exact_px is None and self.long_px is None:
            raise ValueError("give long_px, the cap of the long side, as well")
        return self


class ViewParams(Params):
    """The views of a training: `labeled` for labeled images, `weak` for the teacher, `strong` for the student.

    `raw` is the view of a teacher that sees images as they are (CS section 3).
    """

    labeled: View
    weak: View
    strong: View
    raw: View | None = None

    @model_validator(mode="after")
    def _only_strong_shares(self) -> Self:
        if any(view is not None and view.same_geometry for view in (self.labeled, self.weak, self.raw)):
            raise ValueError("only strong can have same_geometry: it follows the weak view")
        return self
