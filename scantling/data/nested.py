"""Sparse labels on part of the images and none on the rest: one protocol draws the images, another their boxes."""

from __future__ import annotations

from typing import Any, Literal, Self

from pydantic import model_validator

from scantling.data import semi, sparse, stratified
from scantling.data.choice import Choice, ProtocolParams, Truth

WHOLE = {"percent": semi.percent, "list": semi.listed, "stratified": stratified.choose, "full": semi.full}
WHOLE_SPLIT = {"allow_missing_class", "voc_difficult"}  # keys that are said once


class NestedParams(ProtocolParams):
    """images: a protocol that labels whole images; boxes: one that hides boxes, applied to the labeled images alone."""

    protocol: Literal["combined"]
    images: semi.PercentParams | semi.ListParams | stratified.StratifiedParams | semi.FullParams
    boxes: sparse.AnySparse
    allow_missing_class: bool = False

    @model_validator(mode="after")
    def _said_once(self) -> Self:
        for part in (self.images, self.boxes):
            if said := part.model_fields_set & WHOLE_SPLIT:
                raise ValueError(f"`{min(said)}` belongs to the whole split; say it beside `images` and `boxes`")
        return self

    def resolved(self) -> dict[str, Any]:
        """Without what the sections cannot say."""
        found = super().resolved()
        for part in ("images", "boxes"):
            found[part] = {key: value for key, value in found[part].items() if key not in WHOLE_SPLIT}
        return found


def choose(truth: Truth, params: NestedParams, fold: int) -> Choice:
    """`fold` is the seed of both draws."""
    drawn = WHOLE[params.images.protocol](truth, params.images, fold)  # type: ignore[operator]
    visible = sparse.within(truth, drawn.visible, params.boxes, fold)
    return Choice(drawn.labeled, visible, complete=False, facts=drawn.facts, left_out=drawn.left_out)
