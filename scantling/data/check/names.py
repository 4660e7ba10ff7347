"""Which images a source lists: names that stay below the root, every image once, none both trained on and tested on."""

from __future__ import annotations

import os
import posixpath
import re
from dataclasses import replace

import numpy as np
import pandas as pd

from scantling.data.problems import EXAMPLES, Findings
from scantling.data.source import Source

TRAINED = ("train", "unlabeled")  # the subsets that training sees
# a name that is not plain folder/folder/file: backslashes, drives, and parts that are empty, `.` or `..`
ODD = r"[\\:]|^/|//|/$|^$|(?:^|/)\.{1,2}(?:/|$)"
DRIVE = re.compile(r"(^|/)[A-Za-z]:(/|$)")


def unique(source: Source, found: Findings, *, look: bool) -> Source:
    """The source with plain file names, each once in a subset. `look`: the disk may be asked which files there are."""
    source = _without(source, *_plain(source, found, look))
    names, _ = pd.factorize(source.images.file_name)
    source = _once(source, names, found)
    names, distinct = pd.factorize(source.images.file_name)
    source = _apart(source, names, len(distinct), found)
    _alike(source.images.file_name, found)
    return source


def describe(found: Findings, kind: str, which: np.ndarray, names: pd.Series) -> None:
    """Note the images at which a mask over the rows is True; only a few of their names are looked up."""
    rows = np.flatnonzero(which)
    found.add(kind, [names.iloc[i] for i in rows[:EXAMPLES]], len(rows))


def _plain(source: Source, found: Findings, look: bool) -> tuple[np.ndarray, pd.Series]:
    """A mask of the images whose names leave the folder, and all names with `/` and without `.` and `..`."""
    names = source.images.file_name
    odd = np.flatnonzero(names.str.contains(ODD, regex=True).to_numpy(bool))
    leaves = np.zeros(len(names), bool)
    if not len(odd):
        return leaves, names
    written = names.iloc[odd].tolist()
    clean, backslashes = [], []
    for i, name in zip(odd, written, strict=True):
        # on Linux a backslash can be part of a name: then the file is there under it
        if "\\" in name and not (look and _is_there(source.root, name)):
            backslashes.append(name)
            name = name.replace("\\", "/")
        name = posixpath.normpath(name)
        leaves[i] = name.startswith(("../", "/")) or name == ".." or DRIVE.search(name) is not None
        clean.append(name)
    found.add("windows_path", backslashes)
    found.add("path_outside", [n for n, i in zip(written, odd, strict=True) if leaves[i]])
    whole = names.to_numpy(object, copy=True)
    whole[odd] = clean
    return leaves, pd.Series(whole, names.index, dtype="str", name=names.name)


def _is_there(root: str, name: str) -> bool:
    try:
        return os.path.lexists(os.path.join(root, name))
    except ValueError:  # a NUL character
        return False


def _without(source: Source, drop: np.ndarray, names: pd.Series | None = None) -> Source:
    """The source without the images at which `drop` is True, `names` for the others. Boxes of no image go later."""
    images = source.images if names is None else source.images.assign(file_name=names)
    return replace(source, images=images[~drop].reset_index(drop=True) if drop.any() else images)


def _once(source: Source, names: np.ndarray, found: Findings) -> Source:
    """Entries of the same name in the same subset merged into the first of them."""
    subset, subsets = pd.factorize(source.images.subset)
    key, _ = pd.factorize(names.astype(np.int64) * max(len(subsets), 1) + subset)
    again = pd.Series(key).duplicated().to_numpy()
    describe(found, "listed_twice", again, source.images.file_name)
    if not again.any():
        return source
    ids = source.images.image_id.to_numpy()
    first = np.zeros(key.max() + 1, np.int64)
    first[key[::-1]] = ids[::-1]  # the last one written is the first in the table
    other = dict(zip(ids[again].tolist(), first[key[again]].tolist(), strict=True))
    merged = replace(source, boxes=_moved(source.boxes, other), image_labels=_moved(source.image_labels, other))
    return _without(replace(merged, image_labels=merged.image_labels.drop_duplicates(ignore_index=True)), again)


def _moved(rows: pd.DataFrame, other: dict[int, int]) -> pd.DataFrame:
    mine = rows.image_id.isin(list(other)).to_numpy()
    if not mine.any():
        return rows
    ids = rows.image_id.to_numpy(copy=True)
    ids[mine] = [other[i] for i in ids[mine].tolist()]
    return rows.assign(image_id=ids)


def _apart(source: Source, names: np.ndarray, distinct: int, found: Findings) -> Source:
    """No image both trained on and tested on, none both labeled and unlabeled."""
    subset = source.images.subset
    trained = subset.isin(TRAINED).to_numpy()
    tested = np.zeros(distinct, bool)
    tested[names[~trained]] = True
    leaks = trained & tested[names]
    describe(found, "in_two_subsets", leaks, source.images.file_name)
    unlabeled = (subset == "unlabeled").to_numpy()
    labeled = np.zeros(distinct, bool)
    labeled[names[trained & ~unlabeled]] = True
    also = unlabeled & labeled[names] & ~leaks
    describe(found, "also_unlabeled", also, source.images.file_name)
    return _without(source, leaks | also)


def _alike(names: pd.Series, found: Findings) -> None:
    """Images whose names could be taken for one another."""
    names = names.drop_duplicates()  # the same image in val and test is one
    base = names.str.replace(r"^.*/", "", regex=True)
    found.add("same_name", *_pairs(names, base))
    lower = names.str.lower()
    found.add("same_but_case", *_pairs(names, lower))


def _pairs(names: pd.Series, key: pd.Series) -> tuple[list[str], int]:
    """Examples `first and second`, and how many names have the key of an earlier one."""
    again = np.flatnonzero(key.duplicated().to_numpy())
    shown = [f"{names.iloc[np.argmax((key == key.iloc[i]).to_numpy())]} and {names.iloc[i]}" for i in again[:EXAMPLES]]
    return shown, len(again)
