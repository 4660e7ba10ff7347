"""AP of each class under each method, and what a method gains over the baseline class by class."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import pandas as pd

from scantling.report.intervals import plain_interval
from scantling.report.results import Result


def per_class(members: Sequence[Result], names: Sequence[str], baseline: str | None) -> list[dict[str, Any]]:
    """One row a class, in the order of the data set: class, boxes (of the test images), AP (method -> mean over runs)
    and gain (method -> interval over pairs of the same fold and seed, None without a pair). Teacher weights."""
    tables = {(r.run.method, r.run.fold, r.run.seed): _teacher(r) for r in members}
    first = next(table for (method, _, _), table in tables.items() if method == names[0])
    return [
        {
            "class": name,
            "boxes": int(first["boxes"][name]),
            "AP": {method: _mean(method, name, tables) for method in names},
            "gain": {method: _gain(method, name, tables, baseline) for method in names},
        }
        for name in first.index
    ]


def table(groups: Sequence[dict[str, Any]]) -> pd.DataFrame:
    """classes.csv: one row a comparison, class and method; AP and the gain with its interval, fractions."""
    keys = ("data", "split", "detector", "training")
    rows = [
        {key: group[key] for key in keys}
        | {"class": row["class"], "test_boxes": row["boxes"], "method": method, "AP": value}
        | {f"gain_{name}": (row["gain"][method] or {}).get(name) for name in ("mean", "low", "high", "n", "kind")}
        for group in groups
        for row in group["per_class"]
        for method, value in row["AP"].items()
    ]
    return pd.DataFrame(rows)


def _teacher(result: Result) -> pd.DataFrame:
    rows = result.per_class
    return rows[rows["model"] == "teacher"].set_index("class")


def _mean(method: str, name: str, tables: dict[tuple[str, int, int], pd.DataFrame]) -> float | None:
    found = plain_interval(_ap(table, name) for key, table in tables.items() if key[0] == method)
    return found["mean"] if found else None


def _gain(
    method: str, name: str, tables: dict[tuple[str, int, int], pd.DataFrame], baseline: str | None
) -> dict[str, Any] | None:
    if baseline is None or method == baseline:
        return None
    pairs = [
        (_ap(table, name), _ap(tables[baseline, *rest], name))
        for (own, *rest), table in tables.items()
        if own == method and (baseline, *rest) in tables
    ]
    return plain_interval(a - b for a, b in pairs if a is not None and b is not None)


def _ap(table: pd.DataFrame, name: str) -> float | None:
    value = table["AP"].get(name)
    return None if value is None or math.isnan(value) else float(value)
