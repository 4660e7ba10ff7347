"""Reads Objects365 v2 (Shao et al., ICCV 2019): COCO form, with the images spread over numbered folders.

A file name in the JSON, e.g. images/v1/patch8/objects365_v1_00420917.jpg, is that on the publisher's server; where
the image lies depends on how the archives were unpacked. Boxes marked `isfake` or `isreflected` are boxes like all
others, as for MMDetection's Objects365V2Dataset, which does not look at the marks; `iscrowd` is kept.
"""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from scantling.data import coco, coco_file
from scantling.data.problems import Findings
from scantling.data.source import Source

PARTS = {"patch": 2, "flat": 1}


class Objects365Params(coco.JsonParams):
    """`images`: folder below `root` by subset name; one not named has a folder of its own name.

    `folders`: what of an entry's path lies below it: `patch` its last two parts (patch8/x.jpg), `flat` only the name
    (x.jpg), `published` all of it (images/v1/patch8/x.jpg).
    """

    format: Literal["objects365"] = "objects365"
    images: dict[str, str] = {}
    folders: Literal["patch", "flat", "published"] = "patch"


def read(params: Objects365Params, found: Findings) -> Source:
    """As coco.read, with the paths as they are on the disk."""
    shorten = coco.last_parts(PARTS[params.folders]) if params.folders in PARTS else None
    files = [
        coco_file.read(Path(params.root) / file, folder=params.images.get(subset, subset), shorten=shorten)
        for subset, file in params.files()
    ]
    return coco.merge(params, params.format, files, found)
