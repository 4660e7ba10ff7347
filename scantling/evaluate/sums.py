"""What is counted of a portion of images and can be added up: the sums of all portions are those of all images."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any, Self


@dataclass(frozen=True)
class Sums:
    """Numbers, arrays of one shape, dicts of the same keys and Sums, or None in every portion; `+` adds each."""

    def __add__(self, other: Self) -> Self:
        return type(self)(**{f.name: _added(getattr(self, f.name), getattr(other, f.name)) for f in fields(self)})


def _added(one: Any, other: Any) -> Any:
    if isinstance(one, dict):
        return {name: _added(value, other[name]) for name, value in one.items()}
    return None if one is None else one + other
