"""Means of a few repeated numbers, with an honest width."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

# Student's t, two-sided 95 %, for 1 to 30 degrees of freedom (any table of the distribution). Above 30 the last value
# is used: slightly too wide, never too narrow.
T95 = (
    12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228, 2.201, 2.179, 2.160, 2.145, 2.131,
    2.120, 2.110, 2.101, 2.093, 2.086, 2.080, 2.074, 2.069, 2.064, 2.060, 2.056, 2.052, 2.048, 2.045, 2.042,
)  # fmt: skip


@dataclass(frozen=True)
class Interval:
    """mean and width of n numbers. kind: "one" (n = 1, low = high = mean), "range" (n = 2, the two numbers), or
    "t95" (n > 2, the 95 % interval of the mean from Student's t)."""

    mean: float
    low: float
    high: float
    n: int
    kind: str


def interval(values: Sequence[float | None]) -> Interval | None:
    """Mean and width of the numbers that are defined; None if there is none.

    Two numbers give their range: the t interval of two is twelve times their distance and says nothing.
    """
    known = [v for v in values if v is not None and not math.isnan(v)]
    n = len(known)
    if n == 0:
        return None
    mean = math.fsum(known) / n
    if n <= 2:
        return Interval(mean, min(known), max(known), n, "one" if n == 1 else "range")
    deviation = math.sqrt(math.fsum((v - mean) ** 2 for v in known) / (n - 1))
    half = T95[min(n - 1, len(T95)) - 1] * deviation / math.sqrt(n)
    return Interval(mean, mean - half, mean + half, n, "t95")


def plain_interval(values: Iterable[float | None]) -> dict[str, Any] | None:
    """`interval` as JSON types."""
    found = interval(list(values))
    return None if found is None else dataclasses.asdict(found)
