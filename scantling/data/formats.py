"""Which reader a data parameter file names. A new format is a module with `Params` and `read`, and a line here."""

from __future__ import annotations

import difflib
from pathlib import Path

from scantling.data import coco, folder
from scantling.data.source import Source, SourceParams, divide
from scantling.params import ParamsError, check, read as read_yaml

READERS = {"coco": (coco.CocoParams, coco.read), "folder": (folder.FolderParams, folder.read)}


class DataParams(SourceParams):
    """What a file in params/data/ says; loading gives the parameters of the reader it names."""

    @classmethod
    def load(cls, spec: str | Path) -> SourceParams:  # type: ignore[override]
        content = read_yaml(spec)
        name = content.get("format")
        if name not in READERS:
            near = difflib.get_close_matches(str(name), READERS, 1)
            remedy = f"did you mean `{near[0]}`?" if near else f"known: {', '.join(READERS)}"
            raise ParamsError(f"{spec}: `format` = {name!r} is unknown; {remedy}")
        # a data set is called like its parameter file unless the file says otherwise
        return check(READERS[name][0], {"name": Path(str(spec).partition(":")[0]).stem, **content}, spec)


def read(params: SourceParams) -> Source:
    """The data set as its files tell it, with the shares for val and test moved out of train."""
    source = READERS[params.format][1](params)
    if params.val_share or params.test_share:
        images = divide(source.images, params.val_share, params.test_share)
        return Source(**{**vars(source), "images": images}).tidy()
    return source
