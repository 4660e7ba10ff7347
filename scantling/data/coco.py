"""Reads data sets in COCO form: JSON files with `images`, `annotations` and `categories`, one or more per subset."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Literal, Self

import numpy as np
import pandas as pd
from pydantic import Field, model_validator

from scantling.data import coco_file
from scantling.data.coco_file import CocoFile, some
from scantling.data.problems import EXAMPLES, Findings
from scantling.data.source import Source, SourceParams
from scantling.stage import BadInput

OneOrMore = str | tuple[str, ...]


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
    """The files of a data set as one source, rows in the order of the files; empties `files`.

    Labels are 0..C-1 by ascending category id. Ids are kept if they are unique over the files; otherwise ALL image
    ids (or all annotation ids) are renumbered 1, 2, 3, ... in the order of the files and of the entries in them.
    """
    classes = _classes(files)
    known = np.array(list(classes), dtype=np.int64)
    subsets = [subset for subset, _ in params.files()]
    again = False
    for subset, file in zip(subsets, files, strict=True):
        again |= _settle(file, known, found)
        file.images.insert(1, "subset", pd.Series(subset, index=file.images.index, dtype="str"))
    _collect([(file.file, file.problems) for file in files], found)
    renumbered = _renumber_images(files)
    if renumbered:
        found.add("renumbered_ids", [f"image ids of {file.file}" for file in files])
    if again or _collide([file.boxes.box_id for file in files]):
        found.add("renumbered_ids", [f"annotation ids of {file.file}" for file in files])
        start = 1
        for file in files:
            file.boxes["box_id"] = np.arange(start, start + len(file.boxes))
            start += len(file.boxes)
    images, boxes, listed = (
        _stack([getattr(file, part) for file in files]) for part in ("images", "boxes", "image_categories")
    )
    files.clear()
    return Source(
        name=params.name,
        format=format,
        root=params.root,
        files=tuple(file for _, file in params.files()),
        classes=tuple(classes.values()),
        category_ids=tuple(classes),
        images=images,
        boxes=boxes,
        image_labels=listed,
    ).tidy()


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
    """Repair what is wrong within one file and give labels to its rows; True if its annotation ids are not unique.

    Raises BadInput with all problems of the file that the policy calls errors.
    """
    images, boxes = file.images, file.boxes
    again, twice = _repeats(images.image_id), _repeats(boxes.box_id)
    for kind, ids in (("duplicate_image_id", images.image_id[again]), ("duplicate_box_id", boxes.box_id[twice])):
        file.note(kind, [f"id {i}" for i in ids[:EXAMPLES]], len(ids))
    if len(again):
        file.images = images = images.drop(index=again).reset_index(drop=True)
    _note_gaps(file, "image", images.image_id)
    _note_gaps(file, "annotation", boxes.box_id)

    labels = _labels(boxes.category_id.to_numpy(), known)
    unknown = labels < 0
    lost = pd.Index(images.image_id).get_indexer(boxes.image_id) < 0
    for kind, wrong, key in (("unknown_category", unknown, "category_id"), ("box_without_image", lost, "image_id")):
        rows = boxes[["box_id", key]][wrong]
        examples = [f"annotation {i} with {key} {v}" for i, v in rows[:EXAMPLES].to_numpy().tolist()]
        file.note(kind, examples, len(rows))
    file.boxes = boxes = boxes.drop(columns="category_id")
    boxes.insert(2, "label", labels)
    if (wrong := unknown | lost).any():
        file.boxes = boxes[~wrong].reset_index(drop=True)

    _settle_image_categories(file, known)
    refused = Findings(found.policy)
    for kind, (count, examples) in file.problems.items():
        refused.add(kind, examples, count)
    refused.refuse(file.file)
    return len(twice) > 0


def _settle_image_categories(file: CocoFile, known: np.ndarray) -> None:
    listed = file.image_categories
    labels = _labels(listed.category_id.to_numpy(), known)
    if (labels < 0).any():
        row = listed[labels < 0].iloc[0]
        raise BadInput(
            f"{file.file}: image {row.image_id} lists category {row.category_id} as {row.kind}, which is not among the "
            "`categories`; add it there or correct the image"
        )
    listed = listed.drop(columns="category_id").assign(label=labels)
    file.image_categories = listed.drop_duplicates().reset_index(drop=True)


def _labels(category_ids: np.ndarray, known: np.ndarray) -> np.ndarray:
    """Place of every id among the ascending `known` ones, int32; -1 where it is not there."""
    places = np.searchsorted(known, category_ids).astype(np.int32)
    places[places == len(known)] = 0
    places[known[places] != category_ids] = -1
    return places


def _note_gaps(file: CocoFile, what: str, ids: pd.Series) -> None:
    if ids.empty:
        return
    low, high = int(ids.min()), int(ids.max())
    if high - low >= len(ids):
        file.note("id_gaps", [f"{len(ids):,} {what} ids between {low} and {high}"])


def _collect(problems: Sequence[tuple[Path, Mapping[str, tuple[int, list[str]]]]], found: Findings) -> None:
    """One finding of a kind over all files, in the order in which the kinds first appear."""
    for kind in dict.fromkeys(kind for _, noted in problems for kind in noted):
        having = [(file, *noted[kind]) for file, noted in problems if kind in noted]
        examples = [f"{file.name}: {example}" for file, _, shown in having for example in shown]
        found.add(kind, examples, sum(count for _, count, _ in having))


def _renumber_images(files: list[CocoFile]) -> bool:
    """Make image ids unique over the files, if they are not."""
    if not _collide([file.images.image_id for file in files]):
        return False
    start = 1
    for file in files:
        old = pd.Index(file.images.image_id)
        for rows in (file.boxes, file.image_categories):
            rows["image_id"] = start + old.get_indexer(rows.image_id)
        file.images["image_id"] = np.arange(start, start + len(old))
        start += len(old)
    return True


def _collide(ids: list[pd.Series]) -> bool:
    """Whether two files share an id; none holds one twice."""
    return len(ids) > 1 and len(_repeats(pd.concat(ids, ignore_index=True))) > 0


def _repeats(ids: pd.Series) -> np.ndarray:
    """Rows of ids that came before. Sorting needs a sixth of the memory of a hash table, and there are rarely any."""
    ordered = np.sort(ids.to_numpy())
    if not (ordered[1:] == ordered[:-1]).any():
        return np.empty(0, dtype=np.int64)
    return np.flatnonzero(ids.duplicated())


def _stack(tables: list[pd.DataFrame]) -> pd.DataFrame:
    return tables[0] if len(tables) == 1 else pd.concat(tables, ignore_index=True)


def _each(files: OneOrMore) -> tuple[str, ...]:
    return (files,) if isinstance(files, str) else files


def last_parts(count: int) -> Callable[[str], str]:
    """The last `count` parts of a path or address."""
    return lambda path: "/".join(path.split("/")[-count:])
