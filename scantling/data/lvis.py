"""Reads LVIS v0.5 and v1 (Gupta et al., CVPR 2019): COCO form, and for every image what was not looked for.

In LVIS not every class was looked for in every image. An image lists the classes verified to be absent
(`neg_category_ids`) and those of which not every object has a box (`not_exhaustive_category_ids`); nothing is known of
a class that is in neither list and has no box there. A class is rare, common or frequent (`frequency`).
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Literal

from scantling.data import coco, coco_file
from scantling.data.coco_file import CocoFile, some
from scantling.data.problems import Findings
from scantling.data.source import Source
from scantling.stage import BadInput

KINDS = {"neg_category_ids": "negative", "not_exhaustive_category_ids": "not_exhaustive"}
FREQUENCIES = ("r", "c", "f")


class LvisParams(coco.JsonParams):
    """`images`: folder below `root`; `names`: what tells where an image lies below it.

    `coco_url`: the last two parts of that address, e.g. train2017/000000391895.jpg. v1 has nothing else, and its val
    takes images from train2017 too. `file_name`: the entry of that name; in v0.5 the name of COCO 2014.
    """

    format: Literal["lvis"] = "lvis"
    images: str = "."
    names: Literal["coco_url", "file_name"] = "coco_url"


def read(params: LvisParams, found: Findings) -> Source:
    """As coco.read, with image_labels (kinds `negative` and `not_exhaustive`) and the frequencies of the classes."""
    shorten = coco.last_parts(2) if params.names == "coco_url" else None
    files = [
        coco_file.read(
            Path(params.root) / file, folder=params.images, name_key=params.names, shorten=shorten, kinds=KINDS
        )
        for _, file in params.files()
    ]
    frequencies = _frequencies(next((file for file in files if file.categories), files[0]))
    return replace(coco.merge(params, params.format, files, found), frequencies=frequencies)


def _frequencies(file: CocoFile) -> tuple[str, ...]:
    """One of FREQUENCIES for every class in the order of the labels, as the first file with classes says."""
    said = {i: entry.get("frequency") for i, entry in sorted(file.categories.items())}
    if wrong := [f"category {i} has {value!r}" for i, value in said.items() if value not in FREQUENCIES]:
        raise BadInput(
            f"{file.file}: `frequency` of a class must be r, c or f: {some(wrong)}; it must be an LVIS file (format: "
            "coco reads files without frequencies)"
        )
    return tuple(map(str, said.values()))
