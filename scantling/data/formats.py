"""Which reader a data parameter file names. A new format is a module with parameters and `read`, and a line in both."""

from __future__ import annotations

import difflib
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd

from scantling import log
from scantling.data import coco, combined, folder, lvis, objects365, voc, yolo
from scantling.data.coco import CocoParams
from scantling.data.combined import CombinedParams
from scantling.data.detect import detect
from scantling.data.folder import FolderParams
from scantling.data.lvis import LvisParams
from scantling.data.objects365 import Objects365Params
from scantling.data.problems import Findings
from scantling.data.source import Source, SourceParams, divide
from scantling.data.voc import VocParams
from scantling.data.yolo import YoloParams
from scantling.params import ParamsError, check
from scantling.params import read as read_yaml
from scantling.stage import BadInput

FORMATS: dict[str, type[SourceParams]] = {
    "coco": CocoParams,
    "folder": FolderParams,
    "voc": VocParams,
    "yolo": YoloParams,
    "lvis": LvisParams,
    "objects365": Objects365Params,
    "combined": CombinedParams,
}
READERS: dict[type[SourceParams], Callable[..., Source]] = {
    CocoParams: coco.read,
    FolderParams: folder.read,
    VocParams: voc.read,
    YoloParams: yolo.read,
    LvisParams: lvis.read,
    Objects365Params: objects365.read,
    CombinedParams: lambda params, found: combined.read(params, found, _part),
}


class DataParams(SourceParams):
    """What a file in params/data/ says; loading gives the parameters of the reader it names, or that the files show."""

    @classmethod
    def load(cls, spec: str | Path) -> Any:
        content = read_yaml(spec)
        # a data set is called like its parameter file unless the file says otherwise
        content = {"name": Path(str(spec).partition(":")[0]).stem, **content}
        if content.get("format", "auto") == "auto":
            if not isinstance(content.get("root"), str):
                raise ParamsError(f"{spec}: parameter `root` is missing; name the folder of the data set")
            shown = detect(Path(content["root"]), spec)
            log.line(f"{spec}: read as {', '.join(f'{key}: {value}' for key, value in shown.items())}")
            content = {**shown, **content, "format": shown["format"]}
        name = content["format"]
        if not isinstance(name, str) or name not in FORMATS:
            near = difflib.get_close_matches(str(name), FORMATS, 1)
            remedy = f"did you mean `{near[0]}`?" if near else f"known: {', '.join(FORMATS)}"
            raise ParamsError(f"{spec}: `format` = {name!r} is unknown; {remedy}")
        return check(FORMATS[name], content, spec)


def read(params: SourceParams, found: Findings) -> Source:
    """The data set as its files tell it, with the unlabeled images beside it and the shares for val and test."""
    source = READERS[type(params)](params, found)
    if params.unlabeled is not None:
        source = _with_unlabeled(source, params.unlabeled)
    if not params.val_share and not params.test_share:
        return source
    for subset, share in (("val", params.val_share), ("test", params.test_share)):
        if share and (source.images.subset == subset).any():
            raise BadInput(
                f"{params.name}: `{subset}_share` is {share:g} although there is a subset {subset}; drop one"
            )
    return replace(source, images=divide(source.images, params.val_share, params.test_share)).tidy()


def _part(spec: str, found: Findings) -> Source:
    params = DataParams.load(spec)
    if isinstance(params, CombinedParams):
        raise BadInput(f"{spec}: is a combination itself; name its parts instead")
    return read(params, found)


def _with_unlabeled(source: Source, inside: str) -> Source:
    """The images below a folder that are not listed yet as subset `unlabeled`, by name; ids go on after the largest."""
    listed = set(source.images.file_name)
    names = [name for name in folder.image_names(Path(source.root), inside) if name not in listed]
    first = int(source.images.image_id.max()) + 1 if len(source.images) else 1
    more = {"image_id": range(first, first + len(names)), "subset": "unlabeled", "file_name": names}
    images = pd.concat([source.images, pd.DataFrame(more).assign(width=0, height=0)], ignore_index=True)
    return replace(source, images=images).tidy()
