"""Finds the images of a data set by what other tools call them: the file name, its last part, or its number."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from scantling.data.index import Index

SEVERAL = -1


class ImageNames:
    """Image ids of an index by name. Every answer is an image id, None for no such image, or SEVERAL."""

    def __init__(self, index: Index):
        names, ids = index.images["file_name"].tolist(), index.images["image_id"].tolist()
        self._ids = set(ids)
        self._paths, self._files, self._stems = (_table(map(short, names), ids) for short in (str, _file, _stem))
        stems = [(stem, image) for stem, image in self._stems.items() if stem.isascii() and stem.isdecimal()]
        self._numbers = _table((int(stem) for stem, _ in stems), [image for _, image in stems])

    def named(self, name: str) -> int | None:
        """By path as in the index, else by the last part of it, else by that without its ending."""
        file = _file(name)
        for table, key in (
            (self._paths, name), (self._files, file), (self._stems, file), (self._stems, _stem(name))
        ):  # fmt: skip
            if (found := table.get(key)) is not None:
                return found
        return None

    def with_id(self, image_id: int) -> int | None:
        return image_id if image_id in self._ids else None

    def numbered(self, number: int) -> int | None:
        """The image whose file is called like this number, zeros before it aside: some tools call 000139.jpg 139."""
        return self._numbers.get(number)


def _file(name: str) -> str:
    return name.rpartition("/")[2]


def _stem(name: str) -> str:
    file = _file(name)
    return file.rpartition(".")[0] or file


def _table(names: Iterable[Any], ids: list[int]) -> dict[Any, int]:
    table: dict[Any, int] = {}
    for name, image in zip(names, ids, strict=True):
        table[name] = image if name not in table else SEVERAL
    return table
