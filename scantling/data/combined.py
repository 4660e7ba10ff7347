"""Several data sets as one: their images below one root, one list of classes, classes renamed or left out by name."""

from __future__ import annotations

import difflib
import os
import posixpath
from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import Any, Literal

import numpy as np
import pandas as pd
from pydantic import Field

from scantling.data.problems import Findings
from scantling.data.source import Source, SourceParams
from scantling.params import Params
from scantling.params import read as read_yaml
from scantling.stage import BadInput


class PartParams(Params):
    """`data`: parameter file of the part. `subsets`: its subset -> subset here, the others are left out; empty: all as
    they are. `map_classes`: its class -> class here, null drops the boxes, classes not named stay; or a file of such
    lines. `boxed_only`: images that keep no box are left out.
    """

    data: str
    subsets: dict[str, str] = {}
    map_classes: str | dict[str, str | None] = {}
    boxed_only: bool = False


class CombinedParams(SourceParams):
    """`root`: a folder that holds the roots of all parts. `classes_of`: the name of the part whose class list is used
    as it is; without it the classes are those of the parts in their order, each once. What the parts say of `problems`
    and `verify` is not asked: here stands what holds for all."""

    format: Literal["combined"] = "combined"
    parts: tuple[PartParams, ...] = Field(min_length=1)
    classes_of: str | None = None


def read(params: CombinedParams, found: Findings, read_part: Callable[[str, Findings], Source]) -> Source:
    """The parts one after the other; all image and box ids are renumbered 1, 2, 3, ... in that order."""
    sources = []
    for part in params.parts:
        source = read_part(part.data, found)
        source = _below(_mapped(_chosen(source, part), part), params)
        sources.append(source)
    classes, category_ids, frequencies = _classes(params, sources)
    images, boxes, facts, start, start_box = [], [], [], 1, 1
    for source in sources:
        ids = pd.Series(np.arange(start, start + len(source.images)), index=source.images.image_id.to_numpy())
        labels = np.array([classes.index(name) for name in source.classes], dtype="int64")
        start += len(source.images)
        images.append(source.images.assign(image_id=ids.to_numpy()))
        moved = source.boxes.assign(
            box_id=np.arange(start_box, start_box + len(source.boxes)), label=labels[source.boxes.label]
        )
        start_box += len(source.boxes)
        boxes.append(moved.assign(image_id=ids.reindex(moved.image_id).to_numpy()))
        known = source.image_labels
        facts.append(known.assign(image_id=ids.reindex(known.image_id).to_numpy(), label=labels[known.label]))
    found.add("renumbered_ids", [f"image and box ids of {source.name}" for source in sources])
    return Source(
        name=params.name,
        format=params.format,
        root=params.root,
        files=tuple(part.data for part in params.parts),
        classes=tuple(classes),
        category_ids=category_ids,
        images=pd.concat(images, ignore_index=True),
        boxes=pd.concat(boxes, ignore_index=True),
        image_labels=pd.concat(facts, ignore_index=True),
        frequencies=frequencies,
    ).tidy()


def _chosen(source: Source, part: PartParams) -> Source:
    """The images of the subsets that are named, called as they are to be called."""
    if not part.subsets:
        return source
    there = list(source.images.subset.unique())
    for subset in part.subsets:
        if subset not in there:
            raise BadInput(f"{part.data}: has no subset {subset!r}; it has {', '.join(there)}")
    images = source.images[source.images.subset.isin(list(part.subsets))]
    return _only(replace(source, images=images.assign(subset=images.subset.map(part.subsets))))


def _mapped(source: Source, part: PartParams) -> Source:
    """Classes renamed, joined and dropped as `map_classes` says."""
    mapping: dict[Any, Any] = part.map_classes if isinstance(part.map_classes, dict) else read_yaml(part.map_classes)
    where = part.data if isinstance(part.map_classes, dict) else part.map_classes
    for old, new in mapping.items():
        if old not in source.classes:
            raise BadInput(f"{where}: `map_classes` names {old!r}, no class of {part.data}{_near(old, source.classes)}")
        if new is not None and not isinstance(new, str):
            raise BadInput(
                f"{where}: `map_classes` gives {old!r} no name but {new!r}; write a class, in quotes, or null"
            )
    new_names = [mapping.get(name, name) for name in source.classes]
    kept = list(dict.fromkeys(name for name in new_names if name is not None))
    labels = np.array([-1 if name is None else kept.index(name) for name in new_names], dtype="int64")
    # a new name takes the category id of the first class that has it
    ids = [source.category_ids[new_names.index(name)] for name in kept]
    renamed = replace(
        source,
        classes=tuple(kept),
        category_ids=tuple(ids),
        boxes=_relabeled(source.boxes, labels),
        image_labels=_joined(source.image_labels, labels),
        frequencies=source.frequencies if tuple(kept) == source.classes else (),
    )
    if not part.boxed_only:
        return renamed
    return _only(replace(renamed, images=source.images[source.images.image_id.isin(renamed.boxes.image_id)]))


def _joined(known: pd.DataFrame, labels: np.ndarray) -> pd.DataFrame:
    """What is known of joined classes in whole images: one is absent where all that it is made of are."""
    moved = _relabeled(known.assign(part=known.label), labels)
    absent = moved[moved.kind == "negative"].groupby(["image_id", "label"])["part"].nunique()
    parts = np.bincount(labels[labels >= 0])[absent.index.get_level_values("label").to_numpy(dtype="int64")]
    whole = absent.index[absent.to_numpy() == parts]
    kept = (moved.kind != "negative") | pd.MultiIndex.from_frame(moved[["image_id", "label"]]).isin(whole)
    return moved[kept].drop(columns="part").drop_duplicates(ignore_index=True)


def _relabeled(rows: pd.DataFrame, labels: np.ndarray) -> pd.DataFrame:
    moved = rows.assign(label=labels[rows.label.to_numpy()])
    return moved[moved.label >= 0]


def _only(source: Source) -> Source:
    """Without the rows of images that are not listed any more."""
    boxes, known = source.boxes, source.image_labels
    there = source.images.image_id
    return replace(source, boxes=boxes[boxes.image_id.isin(there)], image_labels=known[known.image_id.isin(there)])


def _below(source: Source, params: CombinedParams) -> Source:
    """File names counted from the common root."""
    inside = posixpath.normpath(os.path.relpath(source.root, params.root))
    if inside.startswith(".."):
        raise BadInput(
            f"{params.name}: the images of {source.name} lie in {source.root}, not below `root` = {params.root!r}; "
            "name a folder that holds all parts"
        )
    names = [posixpath.normpath(f"{inside}/{name}") for name in source.images.file_name]
    return replace(source, images=source.images.assign(file_name=names))


def _classes(params: CombinedParams, sources: list[Source]) -> tuple[list[str], tuple[int, ...], tuple[str, ...]]:
    """Names, category ids and frequencies. Ids are kept where one part has all classes, else they are 1, 2, 3, ..."""
    listed = list(dict.fromkeys(name for source in sources for name in source.classes))
    if params.classes_of is not None:
        given = [source for source in sources if source.name == params.classes_of]
        if not given:
            raise BadInput(
                f"{params.name}: `classes_of` = {params.classes_of!r} is no part; the parts are called "
                f"{', '.join(source.name for source in sources)}"
            )
        foreign = [name for name in listed if name not in given[0].classes]
        if foreign:
            raise BadInput(
                f"{params.name}: {len(foreign)} classes are none of {given[0].name}, e.g. {foreign[0]!r}; name what "
                f"they are, or null, in `map_classes`{_near(foreign[0], given[0].classes)}"
            )
        listed = list(given[0].classes)
    alike: dict[str, str] = {}
    for name in listed:
        other = alike.setdefault(" ".join(name.casefold().replace("_", " ").split()), name)
        if other != name:
            raise BadInput(
                f"{params.name}: {other!r} and {name!r} differ only in writing; make them one class with `map_classes`"
            )
    for source in sources:
        if list(source.classes) == listed:
            return listed, source.category_ids, source.frequencies
    return listed, tuple(range(1, len(listed) + 1)), ()


def _near(name: Any, names: Iterable[str]) -> str:
    near = difflib.get_close_matches(str(name), list(names), 1)
    return f"; did you mean {near[0]!r}?" if near else ""
