"""Turns what the files tell into an index that can be trusted: every problem is counted, repaired or refused.

Refused (the stage ends): a path that leaves the folder, an image without file, an unreadable or truncated image, a
stated size that is not that of the file, an image of train that is also in val or test. Repaired and counted: boxes
beyond the border (clipped), without area (dropped), repeated (dropped), drawn on pixels that EXIF turns (turned).
Only counted: crowds, images without boxes, classes without boxes.
"""

from __future__ import annotations

import os
import posixpath
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from scantling.data.images import decode, header
from scantling.data.index import XYXY, Index
from scantling.data.problems import EXAMPLES, Findings
from scantling.data.source import Source, SourceParams
from scantling.log import Progress
from scantling.stage import BadInput

BORDER_TOLERANCE_PX = 0.01  # rounding of decimal coordinates; such boxes are clipped without being counted


def check(source: Source, params: SourceParams, found: Findings) -> Index:
    """The index of a source; everything noticed is added to `found`. Raises BadInput on what is not to be repaired."""
    _paths(source, found)
    found.refuse(source.name)
    files = _files(source, params, found)
    found.refuse(source.name)

    images = source.images.join(files)[files.present.to_numpy()]
    boxes = source.boxes[source.boxes.image_id.isin(images.image_id)]
    images, boxes = _sizes(images, boxes, found)
    found.refuse(source.name)
    boxes = _geometry(images, boxes, found)
    found.refuse(source.name)
    _notes(source, images, boxes, found)

    if not params.record_mtime:
        images = images.assign(mtime_ns=0)  # a copy of the data set then gives the same bytes
    return Index(
        source.name,
        Path(source.root),
        source.classes,
        source.category_ids,
        images,
        boxes,
        {
            "source": {"format": source.format, "files": list(source.files)},
            "counts": _counts(source, images, boxes),
            "problems": [asdict(p) for p in found],
        },
        source.image_labels[source.image_labels.image_id.isin(images.image_id)],
    )


def _paths(source: Source, found: Findings) -> None:
    images = source.images
    clean = images.file_name.map(lambda name: posixpath.normpath(name.replace("\\", "/")))
    leaves = clean.map(lambda name: name.startswith(("../", "/")) or name == ".." or name[1:2] == ":")
    found.add("path_outside", list(images.file_name[leaves]))
    trained = images.subset.isin(["train", "unlabeled"])
    tested = clean[~trained]
    found.add(
        "in_two_subsets",
        list(images.file_name[trained & clean.isin(tested)]),
    )
    found.add(
        "listed_twice",
        list(images.file_name[pd.DataFrame({"s": images.subset, "n": clean}).duplicated()]),
    )


def _files(source: Source, params: SourceParams, found: Findings) -> pd.DataFrame:
    """present, bytes, mtime_ns, real_width, real_height, turn (EXIF 1..8), row by row of source.images."""
    root, names = Path(source.root), list(source.images.file_name)
    if not root.is_dir():
        raise BadInput(f"{root}: there is no such folder; correct `root` in the data parameters")

    def look(name: str) -> tuple[bool, int, int, int, int, int, str]:
        path = root / name
        try:
            stat = os.stat(path)
        except OSError:
            return (False, 0, 0, 0, 0, 1, "")
        if params.verify == "none":
            return (True, stat.st_size, stat.st_mtime_ns, 0, 0, 1, "")
        try:
            width, height, turn = header(path)
            if params.verify == "decode":
                height, width = decode(path).shape[1:]
        except BadInput as error:
            return (False, 0, 0, 0, 0, 1, str(error))
        return (True, stat.st_size, stat.st_mtime_ns, width, height, turn, "")

    columns = ["present", "bytes", "mtime_ns", "real_width", "real_height", "turn", "error"]
    files = pd.DataFrame(_in_threads(look, names), columns=columns, index=source.images.index)
    files = files.astype({"present": bool, "error": str} | dict.fromkeys(columns[1:-1], "int64"))  # legal when empty
    absent = ~files.present
    missing, broken = absent & (files.error == ""), absent & (files.error != "")
    found.add(
        "missing_file",
        [str(root / n) for n in source.images.file_name[missing]],
    )
    found.add(
        "unreadable_image",
        [error.removesuffix("; replace the file or take it out of the data set") for error in files.error[broken]],
    )
    return files.drop(columns="error")


def _in_threads(look: Callable[[str], tuple], names: list[str]) -> list[tuple]:
    """`look` at every name, results in order; decoding leaves Python's lock, so threads are enough."""
    progress = Progress("looking at images", len(names), "images")
    rows = []
    with ThreadPoolExecutor(max_workers=min(16, os.cpu_count() or 1)) as pool:
        for row in pool.map(look, names):
            rows.append(row)
            progress.advance()
    return rows


def _sizes(images: pd.DataFrame, boxes: pd.DataFrame, found: Findings) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Images with the size of the upright file; boxes drawn on pixels lying on their side turned with it."""
    stated = images[["width", "height"]].to_numpy()
    real = images[["real_width", "real_height"]].to_numpy()
    known, told = (real > 0).all(1), (stated > 0).all(1)
    found.add(
        "unknown_size",
        list(images.file_name[~known & ~told]),
    )
    differs = known & told & (stated != real).any(1)
    lying = differs & (images.turn.to_numpy() >= 5) & (stated == real[:, ::-1]).all(1)
    wrong = images[differs & ~lying]
    found.add(
        "wrong_size",
        [
            f"{r.file_name} (stated {r.width}x{r.height}, file {r.real_width}x{r.real_height})"
            for r in wrong.itertuples()
        ],
    )
    found.add(
        "exif_turned",
        [f"{r.file_name} (orientation {r.turn})" for r in images[lying].itertuples()],
    )
    found.add(
        "exif",
        [f"{r.file_name} (orientation {r.turn})" for r in images[(images.turn.to_numpy() > 1) & ~lying].itertuples()],
    )
    size = np.where(known[:, None], real, stated)
    turned = images.assign(width=size[:, 0], height=size[:, 1])
    return turned, _turn(boxes, turned[lying])


def _turn(boxes: pd.DataFrame, images: pd.DataFrame) -> pd.DataFrame:
    """Boxes of `images` carried from lying pixels (x, y) to upright ones of width W and height H.

    EXIF orientation 5: (y, x), 6: (W - y, x), 7: (W - y, H - x), 8: (y, H - x).
    """
    mine = boxes.image_id.isin(images.image_id).to_numpy()
    if not mine.any():
        return boxes
    of = images.set_index("image_id").loc[boxes.image_id[mine]]
    width, height, turn = (of[c].to_numpy() for c in ("width", "height", "turn"))
    x1, y1, x2, y2 = boxes.loc[mine, XYXY].to_numpy().T
    left, right = np.where(np.isin(turn, (6, 7)), (width - y2, width - y1), (y1, y2))
    top, bottom = np.where(np.isin(turn, (7, 8)), (height - x2, height - x1), (x1, x2))
    boxes = boxes.copy()
    boxes.loc[mine, XYXY] = np.stack([left, top, right, bottom], 1).astype("float32")
    return boxes


def _geometry(images: pd.DataFrame, boxes: pd.DataFrame, found: Findings) -> pd.DataFrame:
    """Boxes inside their images, with an area, once each."""
    at = pd.Index(images.image_id).get_indexer(boxes.image_id)
    names = images.file_name.to_numpy()
    size = images[["width", "height"]].to_numpy()[at].astype("float32")
    corners = boxes[XYXY].to_numpy()
    inside = np.clip(corners, 0, np.tile(size, 2))

    def examples(which: np.ndarray) -> list[str]:
        rows = np.flatnonzero(which)
        shown = [
            f"box {boxes.box_id.iloc[i]} of {names[at[i]]} ({', '.join(f'{v:g}' for v in corners[i])})"
            for i in rows[:EXAMPLES]
        ]
        return shown + [""] * (len(rows) - len(shown))  # counted, not shown

    over = (np.abs(inside - corners) > BORDER_TOLERANCE_PX).any(1)
    found.add("box_outside", examples(over))
    empty = (inside[:, 2] <= inside[:, 0]) | (inside[:, 3] <= inside[:, 1])
    found.add("box_without_area", examples(empty))
    boxes = boxes.assign(**dict(zip(XYXY, inside.T, strict=True)))
    again = boxes.duplicated(["image_id", "label", *XYXY, "crowd"]).to_numpy() & ~empty
    found.add("repeated_box", examples(again))
    boxes = boxes[~empty & ~again]
    return boxes.assign(area=boxes.area.fillna((boxes.x2 - boxes.x1) * (boxes.y2 - boxes.y1)))


def _notes(source: Source, images: pd.DataFrame, boxes: pd.DataFrame, found: Findings) -> None:
    crowded = images.file_name[images.image_id.isin(boxes.image_id[boxes.crowd])]
    found.add("crowd", list(crowded))
    bare = images.file_name[(images.subset != "unlabeled") & ~images.image_id.isin(boxes.image_id)]
    found.add("image_without_boxes", list(bare))
    subsets = boxes.image_id.map(images.set_index("image_id").subset)
    seen = set(boxes.label[(subsets == "train") & ~boxes.crowd])
    never = [name for label, name in enumerate(source.classes) if label not in seen]
    found.add("class_without_boxes", never)


def _counts(source: Source, images: pd.DataFrame, boxes: pd.DataFrame) -> dict[str, Any]:
    """Per subset: images, boxes, crowd boxes, boxes per class (crowds left out)."""
    subset = boxes.image_id.map(images.set_index("image_id").subset)
    counts = {}
    for name in images.subset.unique():
        mine = boxes[(subset == name).to_numpy()]
        per_class = np.bincount(mine.label[~mine.crowd], minlength=len(source.classes))
        counts[name] = {
            "images": int((images.subset == name).sum()),
            "boxes": len(mine),
            "crowd": int(mine.crowd.sum()),
            "classes": dict(zip(source.classes, per_class.tolist(), strict=True)),
        }
    return counts
