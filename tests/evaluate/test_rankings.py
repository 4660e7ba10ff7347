"""Records by class, and the bits of a mask."""

import numpy as np

from scantling.evaluate.rankings import THRESHOLDS, ByClass, Ranking, mask_of


def test_a_class_has_its_records_in_their_order():
    rng, kind = np.random.default_rng(0), np.dtype([("n", "<i4"), ("x", "<f8")])
    rows = np.zeros(100, kind)
    rows["n"], rows["x"] = np.arange(100), rng.random(100)
    label = rng.integers(0, 3, 100)
    kept = ByClass(kind, 4)
    for part in (slice(0, 0), slice(0, 40), slice(40, 41), slice(41, 100)):
        kept.add(rows[part], label[part])
        assert len(kept.of(3)) == 0  # read between two writes
    for k in range(4):
        assert (kept.of(k) == rows[label == k]).all()


def test_what_was_matched_comes_back_best_first():
    rng, ranks = np.random.default_rng(1), Ranking(2, 2)
    right, ignored = (list(rng.random((2, 6, len(THRESHOLDS))) < 0.5) for _ in range(2))
    score = np.array([0.5, 0.9, 0.5, 0.7, 0.5, 0.5], np.float32)
    ranks.add(np.array([0, 0, 1, 0, 0, 1]), np.array([1, 1, 1, 2, 2, 2]), score, np.zeros(6), right, ignored)
    rows = ranks.best_first(0)
    order = [1, 3, 0, 4]  # of equal ones the first
    assert rows["score"].astype(np.float32).tolist() == score[order].tolist() and rows["image"].tolist() == [1, 2, 1, 2]
    for a in range(2):
        assert (mask_of(rows["right"][:, a]) == right[a][order]).all()
        assert (mask_of(rows["ignored"][:, a]) == ignored[a][order]).all()
    assert mask_of(ranks.best_first(1)["right"][:0, 0]).shape == (0, len(THRESHOLDS))
