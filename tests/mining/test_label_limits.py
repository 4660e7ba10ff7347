"""Thresholds of a table from the scores on labeled boxes, in a made-up data set where detectors are unsure of all."""

import numpy as np
import pandas as pd

from scantling import methods
from scantling.methods import MethodParams
from scantling.mining import label_limits
from tests import toy

PARAMS = label_limits.LabelLimits(mine_quantile=0.5, mine_per_label=2.0, ignore_quantile=0.0, ignore_per_label=9.0)


def scenes(scores: np.ndarray) -> tuple[pd.DataFrame, pd.DataFrame]:
    """One image per row of `scores` with a box for each score; the first box of each image is labeled."""
    found, kept = [], []
    for image_id, row in enumerate(scores):
        for place, score in enumerate(row):
            box = {"x1": 50.0 * place, "y1": 0.0, "x2": 50.0 * place + 20, "y2": 20.0}
            found.append({"image_id": image_id, "label": 0, "score": score, "spread": np.nan, **box})
            if place == 0:
                kept.append({"image_id": image_id, "labeled": True, "box_id": image_id, "label": 0, **box})
    return pd.DataFrame(found).astype({"score": "float32"}), pd.DataFrame(kept)


def test_limits_follow_the_scores_on_labels_not_their_height() -> None:
    scores = np.random.default_rng(0).uniform(0.1, 0.3, (20, 4))
    for factor in (1.0, 3.0):  # a surer detector mines the same boxes
        table, kept = scenes(factor * scores)
        fresh = table["x1"] > 0
        high, low = label_limits.rows(table, kept, fresh, 1, PARAMS)
        own = table.loc[~fresh, "score"]
        assert np.isclose(high.iloc[0], own.median(), atol=1e-6) and np.isclose(low.iloc[0], own.min(), atol=1e-6)
        taken = int((fresh & (table["score"] > high)).sum())
        assert 10 < taken <= 2 * len(kept)


def test_no_class_takes_more_than_its_share_of_labels() -> None:
    table, kept = scenes(np.full((6, 9), 0.2) + np.arange(54).reshape(6, 9) / 1000)
    table.loc[table["x1"] > 0, "score"] += np.float32(0.5)  # everything scores above every label
    fresh = table["x1"] > 0
    high, _ = label_limits.rows(table, kept, fresh, 1, PARAMS)
    assert int((fresh & (table["score"] > high)).sum()) == 2 * len(kept)


def test_a_table_without_labels_or_boxes_takes_nothing() -> None:
    table, kept = scenes(np.full((6, 3), 0.9))
    none = label_limits.rows(table, kept.iloc[:0], table["x1"] > 0, 2, PARAMS)
    assert all(np.isinf(limit).all() for limit in none)
    assert all(len(limit) == 0 for limit in label_limits.rows(table.iloc[:0], kept, table["x1"][:0] > 0, 2, PARAMS))


def test_both_methods_mine_where_no_fixed_threshold_would() -> None:
    table, kept = scenes(np.random.default_rng(1).uniform(0.05, 0.35, (30, 5)))
    split = kept.assign(spread=np.nan)
    for name in ("co_mining", "co_student"):
        params = MethodParams.load(toy.ROOT / f"params/methods/{name}_by_labels.yaml")
        refined, aids = methods.create(params, ("cell",), None).refine(table, split)
        assert 0.35 < refined["for_class"].sum() / len(table[table["x1"] > 0]) < 0.65
        assert not (refined["for_class"] & refined["ignore"]).any() and refined["ignore"].any()
        assert not refined.loc[table["x1"] == 0, ["for_class", "ignore"]].to_numpy().any()  # what is known already
        fixed = MethodParams.load(toy.ROOT / f"params/methods/{name}_cached.yaml")
        assert not methods.create(fixed, ("cell",), None).refine(table, split)[0]["for_class"].any()
