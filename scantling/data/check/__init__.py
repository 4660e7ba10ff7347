"""Turns what the files tell into an index that can be trusted: every problem is counted, repaired or refused.

What is looked for stands in problems.KINDS with the rule that repairs it; the data parameters say for every kind
whether it is repaired or ends the stage.
"""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

import numpy as np
import pandas as pd

from scantling.data.check import boxes as box_checks
from scantling.data.check import counts, files, names
from scantling.data.check import sizes as size_checks
from scantling.data.check.counts import Counts
from scantling.data.check.files import Seen
from scantling.data.check.names import describe
from scantling.data.index import IMAGE_COLUMNS, IMAGE_LABEL_COLUMNS, Index, table
from scantling.data.problems import Findings
from scantling.data.source import Source, SourceParams


def check(source: Source, params: SourceParams, found: Findings) -> Index:
    """The index of a source; everything noticed is added to `found`. Raises BadInput on what is not to be repaired."""
    index = inspect(source, params, found)
    found.refuse(source.name)
    return index


def inspect(source: Source, params: SourceParams, found: Findings) -> Index:
    """The same without raising: what is an error is taken out or repaired as well, for the page that shows it."""
    source = names.unique(source, found, look=params.verify != "none")
    seen = files.look(source.root, source.images.file_name, params, found)
    sizes = size_checks.compare(source.images, seen, params.max_megapixels, found)
    images = _images(source.images, seen, sizes, params.record_mtime)[sizes.fine].reset_index(drop=True)
    at = box_checks.place(source.boxes, images.image_id)
    boxes, at = box_checks.repair(source.boxes, at, images.file_name, sizes.only(sizes.fine), found)
    known = source.image_labels.image_id.isin(images.image_id)
    counted = counts.count(images, boxes, at, len(source.classes))
    _notes(source.classes, images, boxes, at, counted, found)
    facts = {
        "source": {"format": source.format, "files": list(source.files)},
        "counts": counted.facts(source.classes),
        "problems": [asdict(p) for p in found],
    }
    if source.frequencies:
        facts["frequencies"] = list(source.frequencies)
    return Index(
        name=source.name,
        root=Path(source.root),
        classes=source.classes,
        category_ids=source.category_ids,
        images=images,
        boxes=boxes,
        facts=facts,
        image_labels=table(source.image_labels[known], IMAGE_LABEL_COLUMNS),
    )


def _images(images: pd.DataFrame, seen: Seen, sizes: size_checks.Sizes, record_mtime: bool) -> pd.DataFrame:
    # a copy of the data set gives the same bytes unless its times are asked for
    times = seen.mtime_ns if record_mtime else np.zeros_like(seen.mtime_ns)
    width, height = sizes.size.T
    return table(images.assign(width=width, height=height, bytes=seen.bytes, mtime_ns=times), IMAGE_COLUMNS)


def _notes(
    classes: tuple[str, ...],
    images: pd.DataFrame,
    boxes: pd.DataFrame,
    at: np.ndarray,
    counted: Counts,
    found: Findings,
) -> None:
    crowded = np.zeros(len(images), bool)
    crowded[at[boxes.crowd.to_numpy()]] = True
    describe(found, "crowd", crowded, images.file_name)
    bare = np.ones(len(images), bool)
    bare[at] = False
    describe(found, "image_without_boxes", bare & (images.subset != "unlabeled").to_numpy(), images.file_name)
    trained = [s for s, subset in enumerate(counted.subsets) if subset == "train"]
    describe(found, "class_without_boxes", counted.classes[trained].sum(0) == 0, pd.Series(classes))
