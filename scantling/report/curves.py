"""Training curves of several runs as few, averaged points."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd

from scantling.report.results import Result

Points = list[tuple[float, float]]
LOSS_PARTS = ("labeled/", "unlabeled/")


def whole(result: Result) -> pd.DataFrame:
    """Burn-in and retraining as one table over `step`; both count from 1, so the second is moved behind the first."""
    burn_in, retrain = result.history["burn_in"], result.history["retrain"]
    return pd.concat([burn_in, retrain.assign(step=retrain["step"] + result.steps("burn_in"))], ignore_index=True)


def terms(results: Sequence[Result]) -> list[str]:
    """Names of the logged loss terms, labeled before unlabeled."""
    names = dict.fromkeys(name for result in results for table in result.history.values() for name in table.columns)
    return [name for part in LOSS_PARTS for name in names if name.startswith(part)]


def mean_curve(tables: Sequence[pd.DataFrame], name: str, points: int) -> Points:
    """`name` over the step: at most `points` means of equal stretches of steps, over all runs; empty if never logged.

    tables  one a run, as `whole` gives them. A stretch without a value has no point. The step of a point is the middle
    of the steps it stands for.
    """
    found = [t[["step", name]].dropna() for t in tables if name in t]
    rows = pd.concat(found) if found else pd.DataFrame(columns=["step", name])
    rows = rows[np.isfinite(rows[name].astype(float))]
    if rows.empty:
        return []
    last = max(int(t["step"].max()) for t in tables if len(t))
    stretch = np.ceil(rows["step"] * points / last).clip(1, points)
    means = rows.groupby(stretch).mean()
    return list(zip(means["step"].tolist(), means[name].astype(float).tolist(), strict=True))
