"""Which reader a data parameter file names. A new format is a module with parameters and `read`, and a line in both."""

from __future__ import annotations

import difflib
from dataclasses import replace
from pathlib import Path
from typing import Any

from scantling.data import coco, folder, lvis, objects365
from scantling.data.coco import CocoParams
from scantling.data.folder import FolderParams
from scantling.data.lvis import LvisParams
from scantling.data.objects365 import Objects365Params
from scantling.data.problems import Findings
from scantling.data.source import Source, SourceParams, divide
from scantling.params import ParamsError, check
from scantling.params import read as read_yaml
from scantling.stage import BadInput

FORMATS = {"coco": CocoParams, "folder": FolderParams, "lvis": LvisParams, "objects365": Objects365Params}


class DataParams(SourceParams):
    """What a file in params/data/ says; loading gives the parameters of the reader it names."""

    @classmethod
    def load(cls, spec: str | Path) -> Any:
        content = read_yaml(spec)
        name = content.get("format")
        if name not in FORMATS:
            near = difflib.get_close_matches(str(name), FORMATS, 1)
            remedy = f"did you mean `{near[0]}`?" if near else f"known: {', '.join(FORMATS)}"
            raise ParamsError(f"{spec}: `format` = {name!r} is unknown; {remedy}")
        # a data set is called like its parameter file unless the file says otherwise
        return check(FORMATS[name], {"name": Path(str(spec).partition(":")[0]).stem, **content}, spec)


def read(params: SourceParams, found: Findings) -> Source:
    """The data set as its files tell it, with the shares for val and test moved out of train."""
    if isinstance(params, CocoParams):
        source = coco.read(params, found)
    elif isinstance(params, FolderParams):
        source = folder.read(params, found)
    elif isinstance(params, LvisParams):
        source = lvis.read(params, found)
    elif isinstance(params, Objects365Params):
        source = objects365.read(params, found)
    else:
        raise TypeError(f"parameters without a reader: {type(params).__name__}")
    if not params.val_share and not params.test_share:
        return source
    for subset, share in (("val", params.val_share), ("test", params.test_share)):
        if share and (source.images.subset == subset).any():
            raise BadInput(
                f"{params.name}: `{subset}_share` is {share:g} although there is a subset {subset}; drop one"
            )
    return replace(source, images=divide(source.images, params.val_share, params.test_share)).tidy()
