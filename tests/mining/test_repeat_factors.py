"""Repeat factors against the published code of CI-SSOD."""

import json
from pathlib import Path

import numpy as np
import pytest

from scantling.mining import repeat_factors

GOLDEN = Path(__file__).parents[1] / "golden" / "gradient_sampling"


def load(name: str) -> dict:
    return json.loads((GOLDEN / f"{name}.json").read_text())


def test_published_labeled_factors() -> None:
    case = load("labelled_repeat")
    factors = repeat_factors.labeled_factors(case["image_categories"], case["num_classes"], case["threshold"])
    np.testing.assert_allclose(factors, case["repeat_factors"], rtol=1e-4)
    assert repeat_factors.repeated(factors).tolist() == case["repeat_indices"]


def test_published_unlabeled_factors() -> None:
    case = load("unlabelled_repeat")
    pool = [(p["categories"], p["margins"]) for p in case["pool"]]
    factors = repeat_factors.unlabeled_factors(
        pool, np.array(case["labelled_image_counts"]), case["num_labelled_images"], case["lam"]
    )
    np.testing.assert_allclose(factors, case["repeat_factors"], rtol=1e-4)
    assert repeat_factors.repeated(factors).tolist() == case["repeat_indices"]


def test_published_rarity() -> None:
    case = load("lambda_schedule")
    got = [repeat_factors.rarity_at(step, case["max_iter"], case["alpha"]) for step in case["iters"]]
    assert got == pytest.approx(case["lam"])


def test_empty() -> None:
    assert repeat_factors.labeled_factors([], 3, 0.1).tolist() == []
    assert repeat_factors.labeled_factors([[], []], 3, 0.1).tolist() == [1, 1]
    assert repeat_factors.unlabeled_factors([], np.zeros(3), 0, 0.3).tolist() == []
    assert repeat_factors.unlabeled_factors([([], [])], np.zeros(3), 0, 0.3).tolist() == [1]
