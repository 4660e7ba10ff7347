"""Reads data sets in COCO form: JSON files with `images`, `annotations` and `categories`, one or more per subset."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Literal, Self

import numpy as np
import pandas as pd
from pydantic import Field, model_validator

from scantling.data import coco_file
from scantling.data.coco_file import CocoFile, some
from scantling.data.index import IMAGE_LABEL_COLUMNS
from scantling.data.problems import EXAMPLES, Findings
from scantling.data.source import Source, SourceParams
from scantling.stage import BadInput

OneOrMore = str | tuple[str, ...]
BLOCK = 1 << 20  # ids looked up at once


class JsonParams(SourceParams):
    """`subsets`: subset name -> JSON file (.json or .json.gz) below `root`, or several of them."""

    subsets: dict[str, OneOrMore] = Field(min_length=1)

    def files(self) -> list[tuple[str, str]]:
        """(subset, file) in the order given."""
        return [(subset, file) for subset, files in self.subsets.items() for file in _each(files)]

    @model_validator(mode="after")
    def _some_file_each(self) -> Self:
        if bare := [subset for subset, files in self.subsets.items() if not _each(files)]:
            raise ValueError(f"subset {bare[0]} names no file")
        return self


class CocoParams(JsonParams):
    """`images`: folder below `root`: one for all, or by subset name, there one for all files or one for each."""

    format: Literal["coco"] = "coco"
    images: str | dict[str, OneOrMore] = "images"

    @model_validator(mode="after")
    def _one_folder_a_file(self) -> Self:
        if isinstance(self.images, str):
            return self
        for subset, folders in self.images.items():
            if subset not in self.subsets:
                raise ValueError(f"`images` names subset {subset}, which is not among `subsets`")
            if isinstance(folders, tuple) and len(folders) != len(_each(self.subsets[subset])):
                raise ValueError(f"`images` has {len(folders)} folders for the files of subset {subset}; give one each")
        return self

    def folders(self) -> list[str]:
        """The image folder of every file."""
        if isinstance(self.images, str):
            return [self.images] * len(self.files())
        every = []
        for subset, files in self.subsets.items():
            folders = self.images.get(subset, "images")
            every += [folders] * len(_each(files)) if isinstance(folders, str) else folders
        return every


def read(params: CocoParams, found: Findings) -> Source:
    """All subsets as one table of images and one of boxes; see `merge`."""
    files = [
        coco_file.read(Path(params.root) / file, folder=folder)
        for (_, file), folder in zip(params.files(), params.folders(), strict=True)
    ]
    return merge(params, params.format, files, found)


def merge(params: JsonParams, format: str, files: list[CocoFile], found: Findings) -> Source:
    """The files of a data set as one source, rows in the order of the files; takes the tables out of `files`.

    Labels are 0..C-1 by ascending category id. Ids are kept if they are unique over the files; otherwise ALL image
    ids (or all annotation ids) are renumbered 1, 2, 3, ... in the order of the files and of the entries in them.
    Problems are repaired, and added to `found`; the check ends the stage where the policy calls them errors.
    """
    classes = _classes(files)
    known = np.array(list(classes), dtype=np.int64)
    unique = [_settle(file, known, found) for file in files]  # all of them: a generator would stop at the first
    _unite_images(files, found)
    _unite_boxes(files, all(unique), found)
    subsets = [subset for subset, _ in params.files()]
    for subset, file in zip(subsets, files, strict=True):
        file.images.insert(1, "subset", pd.Series(subset, index=file.images.index, dtype="str"))
    return Source(
        name=params.name,
        format=format,
        root=params.root,
        files=tuple(file for _, file in params.files()),
        classes=tuple(classes.values()),
        category_ids=tuple(classes),
        images=_take(files, "images"),
        boxes=_take(files, "boxes"),
        image_labels=_take(files, "image_categories"),
    )  # the columns are those of a source already; tidy would copy them all


def last_parts(count: int) -> Callable[[str], str]:
    """The last `count` parts of a path or address."""
    return lambda path: "/".join(path.split("/")[-count:])


def _classes(files: list[CocoFile]) -> dict[int, str]:
    """id -> name, ascending; the same in every file that has annotations or categories."""
    first: tuple[Path, dict[int, str]] | None = None
    for file in files:
        here = {i: str(entry["name"]) for i, entry in file.categories.items()}
        if not here and file.boxes.empty:
            continue
        if first is None:
            first = (file.file, here)
        elif here != first[1]:
            more, less = (
                [f"{k}={a[k]}" for k in sorted(a) if b.get(k) != a[k]] for a, b in ((here, first[1]), (first[1], here))
            )
            raise BadInput(
                f"{file.file}: class list differs from that of {first[0].name}: here {some(more) or 'nothing more'}, "
                f"there {some(less) or 'nothing more'}; write the same `categories` into both files"
            )
    if first is None or not first[1]:
        raise BadInput(f"{files[0].file}: `categories` is empty; list at least one class")
    return dict(sorted(first[1].items()))


def _settle(file: CocoFile, known: np.ndarray, found: Findings) -> bool:
    """Repair what is wrong within one file and give labels to its rows; False if its annotation ids are not unique."""

    def note(kind: str, examples: list[str], count: int) -> None:
        found.add(kind, [f"{file.file.name}: {example}" for example in examples], count)

    for kind, (count, examples) in file.problems.items():
        note(kind, examples, count)
    images, boxes = file.images, file.boxes
    again, twice = _repeats(images.image_id), _repeats(boxes.box_id)
    for kind, ids in (("duplicate_image_id", images.image_id[again]), ("duplicate_box_id", boxes.box_id[twice])):
        note(kind, [f"id {i}" for i in ids[:EXAMPLES]], len(ids))
    if len(again):
        file.images = images = images.drop(index=again).reset_index(drop=True)

    labels = _places(boxes.category_id.to_numpy(), known)
    wrong = labels < 0
    for kind, rows, key in (
        ("unknown_category", np.flatnonzero(wrong), "category_id"),
        ("box_without_image", _without(boxes.image_id, images.image_id), "image_id"),
    ):
        shown = boxes[["box_id", key]].iloc[rows[:EXAMPLES]].to_numpy().tolist()
        note(kind, [f"annotation {i} with {key} {value}" for i, value in shown], len(rows))
        wrong[rows] = True
    file.boxes = boxes.drop(columns="category_id")
    file.boxes.insert(2, "label", labels)
    if wrong.any():
        file.boxes = file.boxes.loc[~wrong].reset_index(drop=True)
    _label_images(file, known)
    return not len(twice)


def _label_images(file: CocoFile, known: np.ndarray) -> None:
    listed = file.image_categories
    labels = _places(listed.category_id.to_numpy(), known)
    if (labels < 0).any():
        row = listed[labels < 0].iloc[0]
        raise BadInput(
            f"{file.file}: image {row.image_id} lists category {row.category_id} as {row.kind}, which is not among the "
            "`categories`; add it there or correct the image"
        )
    listed = listed.assign(label=labels).loc[:, list(IMAGE_LABEL_COLUMNS)]
    file.image_categories = listed.drop_duplicates(ignore_index=True)


def _unite_images(files: list[CocoFile], found: Findings) -> None:
    """Make image ids unique over the files and 0 or more, if they are not."""
    if not _collide(file.images.image_id for file in files) and not _negative(file.images.image_id for file in files):
        return _note_gaps("image", [file.images.image_id for file in files], found)
    start = 1
    for file in files:
        old = pd.Index(file.images.image_id)
        for rows in (file.boxes, file.image_categories):
            rows["image_id"] = start + old.get_indexer(rows.image_id)
        file.images["image_id"] = np.arange(start, start + len(old))
        start += len(old)
    found.add("renumbered_ids", [f"image ids of {file.file}" for file in files])


def _unite_boxes(files: list[CocoFile], unique: bool, found: Findings) -> None:
    """Make annotation ids unique over the files and 0 or more, if they are not, or not even unique within one."""
    several = _collide(file.boxes.box_id for file in files) or _negative(file.boxes.box_id for file in files)
    if unique and not several:
        return _note_gaps("annotation", [file.boxes.box_id for file in files], found)
    start = 1
    for file in files:
        file.boxes["box_id"] = np.arange(start, start + len(file.boxes))
        start += len(file.boxes)
    found.add("renumbered_ids", [f"annotation ids of {file.file}" for file in files])


def _negative(ids: Iterable[pd.Series]) -> bool:
    """Whether an id is below 0, which says "none" here."""
    return any(len(i) and int(i.min()) < 0 for i in ids)


def _note_gaps(what: str, ids: list[pd.Series], found: Findings) -> None:
    count = sum(map(len, ids))
    low, high = min((i.min() for i in ids if len(i)), default=0), max((i.max() for i in ids if len(i)), default=0)
    if count and int(high) - int(low) >= count:
        found.add("id_gaps", [f"{count:,} {what} ids between {low} and {high}"])


def _places(ids: np.ndarray, known: np.ndarray) -> np.ndarray:
    """Place of every id among the ascending `known` ones, int32; -1 where it is not there."""
    places = np.full(len(ids), -1, dtype=np.int32)
    for start in range(0, len(ids) if len(known) else 0, BLOCK):
        block = ids[start : start + BLOCK]
        near = np.searchsorted(known, block).clip(max=len(known) - 1)
        places[start : start + BLOCK] = np.where(known[near] == block, near, -1)
    return places


def _without(ids: pd.Series, known: pd.Series) -> np.ndarray:
    """Rows of ids that are not among the `known` ones."""
    return np.flatnonzero(_places(ids.to_numpy(), np.sort(known.to_numpy())) < 0)


def _repeats(ids: pd.Series) -> np.ndarray:
    """Rows of ids that came before. Sorting takes less memory than a hash table, and there are rarely any."""
    ordered = np.sort(ids.to_numpy())
    if not (ordered[1:] == ordered[:-1]).any():
        return np.empty(0, dtype=np.int64)
    return np.flatnonzero(ids.duplicated())


def _collide(ids: Iterable[pd.Series]) -> bool:
    """Whether two files share an id; none holds one twice."""
    columns = list(ids)
    return len(columns) > 1 and len(_repeats(pd.concat(columns, ignore_index=True))) > 0


def _take(files: list[CocoFile], part: str) -> pd.DataFrame:
    """One table of all files; theirs are given free."""
    tables = [getattr(file, part) for file in files]
    for file in files:
        setattr(file, part, pd.DataFrame())
    return tables[0] if len(tables) == 1 else pd.concat(tables, ignore_index=True)


def _each(files: OneOrMore) -> tuple[str, ...]:
    return (files,) if isinstance(files, str) else files
