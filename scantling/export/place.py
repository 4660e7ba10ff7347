"""Where the files of an export go: images as links or copies, names without folders called like the form's own."""

from __future__ import annotations

import os
import shutil
from pathlib import Path, PurePosixPath

import pandas as pd

from scantling.stage import BadInput

OWN = ("images", "JPEGImages")  # Ultralytics' tools look for the last folder of that name


def annotation_names(file_names: pd.Series, folders: pd.Series) -> pd.Series:
    """File names without folders called images or JPEGImages; others stay, so that names do not collide.

    Raises BadInput where two images of a folder would share an annotation file.
    """
    short = file_names.map(
        lambda name: "/".join(p for p in name.split("/")[:-1] if p not in OWN) + "/" + name.split("/")[-1]
    )
    short = short.str.removeprefix("/")
    stems = folders + "/" + short.map(lambda name: PurePosixPath(name).with_suffix("").as_posix())
    again = stems.duplicated(keep=False)
    if again.any():
        first = file_names[stems == stems[again].iloc[0]]
        raise BadInput(
            f"{' and '.join(first)}: both would have the same annotation file; rename one, or use --format coco"
        )
    return short


def place(root: Path, out: Path, places: dict[str, str], how: str) -> None:
    """Link or copy image files of an index below `out`."""
    for name, to in places.items():
        source, target = (root / name).absolute(), out / to
        target.parent.mkdir(parents=True, exist_ok=True)
        if how == "link":
            os.symlink(os.path.realpath(source), target)
        else:
            try:
                shutil.copyfile(source, target)
            except OSError as error:
                raise BadInput(f"{source}: cannot be copied ({error.strerror}); put the image there") from None
