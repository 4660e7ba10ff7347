"""What a reader hands over before anything is checked against the image files, and the parameters all readers share."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field, replace
from typing import Literal, Self

import pandas as pd
from pydantic import Field, field_validator, model_validator

from scantling.data.images import MAX_MEGAPIXELS
from scantling.data.index import BOX_COLUMNS, IMAGE_LABEL_COLUMNS, table
from scantling.data.problems import Action, check_policy
from scantling.params import Params

# Rows in the order of the files; width and height are those the annotation file states, 0 where it is silent.
SOURCE_COLUMNS = {"image_id": "int64", "subset": "str", "file_name": "str", "width": "int32", "height": "int32"}


class SourceParams(Params):
    """Which files make up a data set, and how closely they are looked at."""

    name: str = Field(pattern=r"^[A-Za-z0-9_][A-Za-z0-9_.-]*$", max_length=64)
    root: str
    unlabeled: str | None = Field(None, description="folder below `root`: images without annotations, subset unlabeled")
    watch: str | None = Field(None, description="file or folder whose change makes the data set stale, else `root`")
    val_share: float = Field(0.0, ge=0, le=0.9)
    test_share: float = Field(0.0, ge=0, le=0.9)
    verify: Literal["decode", "header", "none"] = Field(
        "decode", description="decode: every pixel; header: sizes; none: no image file is opened or asked for"
    )
    max_megapixels: float = Field(
        250.0, gt=0, le=MAX_MEGAPIXELS, description="larger images are not decoded: a small file can hold them"
    )
    record_mtime: bool = False
    problems: dict[str, Action] = Field({}, description="what happens to which kind of problem, see data/problems.py")

    @model_validator(mode="after")
    def _some_left(self) -> Self:
        if self.val_share + self.test_share >= 1:
            raise ValueError(
                f"`val_share` {self.val_share:g} and `test_share` {self.test_share:g} leave no image to train on"
            )
        return self

    @field_validator("problems")
    @classmethod
    def _known_problems(cls, policy: dict[str, Action]) -> dict[str, Action]:
        check_policy(policy)
        return policy


@dataclass(frozen=True)
class Source:
    """A data set as its files tell it. images: SOURCE_COLUMNS; boxes: index.BOX_COLUMNS with labels 0..C-1;
    image_labels: index.IMAGE_LABEL_COLUMNS."""

    name: str
    format: str
    root: str
    files: tuple[str, ...]
    classes: tuple[str, ...]
    category_ids: tuple[int, ...]
    images: pd.DataFrame
    boxes: pd.DataFrame
    image_labels: pd.DataFrame = field(default_factory=lambda: table([], IMAGE_LABEL_COLUMNS))
    frequencies: tuple[str, ...] = ()  # r, c or f per class (LVIS); () where the data set does not say

    def tidy(self) -> Source:
        """The same with exact columns and dtypes."""
        return replace(
            self,
            images=table(self.images, SOURCE_COLUMNS),
            boxes=table(self.boxes, BOX_COLUMNS),
            image_labels=table(self.image_labels, IMAGE_LABEL_COLUMNS),
        )


def divide(images: pd.DataFrame, val_share: float, test_share: float) -> pd.DataFrame:
    """`images` with a share of subset `train` moved to `val` and `test`.

    The SHA-256 of an image's file name decides, so the choice does not change when images are added or removed, and
    no chance is involved; the shares are met on average, not exactly. Of three images and more each subset that has a
    share gets at least one, and `train` keeps one: taken from the subset that has most, lowest hash first.
    """
    names = images.loc[images.subset == "train", "file_name"]
    place = names.map(lambda name: int.from_bytes(hashlib.sha256(name.encode()).digest()[:8]) / 2**64)
    moved = images.copy()
    moved.loc[place.index[place < test_share], "subset"] = "test"
    moved.loc[place.index[(place >= test_share) & (place < test_share + val_share)], "subset"] = "val"
    if len(place) >= 3:
        ranked = place.sort_values(kind="stable").index
        wanted = ["train", *(name for name, share in (("test", test_share), ("val", val_share)) if share > 0)]
        for subset in wanted:
            now = moved.loc[ranked, "subset"]
            if not (now == subset).any():
                most = max(wanted, key=lambda name: int((now == name).sum()))
                moved.loc[now.index[now == most][0], "subset"] = subset
    return moved
