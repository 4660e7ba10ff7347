"""Class-wise thresholds and the pool of margins against the published code of CI-SSOD."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from scantling.mining.class_thresholds import ClassThresholds
from scantling.mining.repeat_factors import margins

GOLDEN = Path(__file__).parents[1] / "golden" / "gradient_sampling"


@pytest.mark.parametrize("file", sorted(GOLDEN.glob("class_thresholds*.json")), ids=lambda f: f.stem)
def test_published_thresholds(file: Path) -> None:
    case = json.loads(file.read_text())
    state = ClassThresholds(case["num_classes"], highest=0.9, lowest=0.5)
    state.scores.copy_(torch.tensor(case["score_init"]))
    state.counts.copy_(torch.tensor(case["count_init"]))
    weights = torch.tensor(case["class_weights"])[:-1] if case["gradient_thresholds"] else None
    for step in case["steps"]:
        for image in step["detections"]:
            state.update(torch.tensor(image["labels"]), torch.tensor(image["scores"]))
        torch.testing.assert_close(state.scores, torch.tensor(step["score_after"]), rtol=1e-4, atol=1e-6)
        assert state.counts.tolist() == step["count_after"]
        torch.testing.assert_close(state.thresholds(weights), torch.tensor(step["thresholds"]), rtol=1e-4, atol=1e-4)


def test_published_filter_and_pool() -> None:
    case = json.loads((GOLDEN / "class_filter_and_pool.json").read_text())
    boxes, scores = np.array(case["boxes"], "float32"), np.array(case["scores"], "float32")
    labels, thresholds = np.array(case["labels"]), np.array(case["thresholds"], "float32")
    assert np.flatnonzero(scores > thresholds[labels]).tolist() == case["kept_indices"]
    rows, over = margins(boxes, labels, scores, thresholds)
    assert [[int(labels[r]), *boxes[r].tolist()] for r in rows] == [[p["category"], *p["box"]] for p in case["pool"]]
    np.testing.assert_allclose(over, [p["margin"] for p in case["pool"]], rtol=1e-4, atol=1e-6)


def test_one_by_one_is_the_same_as_together() -> None:
    torch.manual_seed(0)
    scores, labels = torch.rand(2500), torch.randint(0, 2, (2500,))
    together, single = (ClassThresholds(3, highest=0.9, lowest=0.5) for _ in range(2))
    together.update(labels, scores)
    for label, score in zip(labels, scores, strict=True):
        single.update(label[None], score[None])
    torch.testing.assert_close(together.scores, single.scores, rtol=1e-4, atol=1e-4)
    assert together.counts.tolist() == [1000, 1000, 0] == single.counts.tolist()
    assert together.thresholds()[2] == 0.5  # never seen


def test_nothing_seen_at_all() -> None:
    state = ClassThresholds(2, highest=0.9, lowest=0.5)
    state.update(torch.zeros(0, dtype=torch.int64), torch.zeros(0))
    assert state.thresholds().tolist() == [0.5, 0.5]
