"""The infinite queues: balance, determinism, no hang at any size, and the published statistics."""

import json
from collections import Counter
from itertools import islice
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from scantling.data import sampler

FOLDER = Path(__file__).parents[1] / "golden" / "soft_teacher"
GOLDEN = FOLDER / "semi_sampler_statistics.json"
sizes = st.integers(0, 50)


@settings(max_examples=150, deadline=None)
@given(sizes, sizes, st.integers(1, 8), st.integers(0, 8), st.booleans(), st.booleans(), st.integers(0, 3))
def test_any_size_gives_full_steps(
    labeled: int, unlabeled: int, per_step: int, extra: int, by_probability: bool, grouped: bool, seed: int
) -> None:
    pools = list(range(labeled)), list(range(100, 100 + unlabeled))
    wide = np.array([i for i in [*pools[0], *pools[1]] if i % 3 == 0]) if grouped else None
    stream = sampler.steps(
        *pools, labeled_per_step=per_step, unlabeled_per_step=extra, seed=seed, wide=wide,
        sampling="by_probability" if by_probability else "fixed",
    )  # fmt: skip
    for step in islice(stream, 12):
        assert set(step.labeled) <= set(pools[0]) and set(step.unlabeled) <= set(pools[1])
        if by_probability and extra:
            total = per_step + extra
            assert not labeled or 1 <= len(step.labeled) < total
            assert not (labeled and unlabeled) or len(step.labeled) + len(step.unlabeled) == total
        else:
            assert len(step.labeled) == (per_step if labeled else 0)
            assert len(step.unlabeled) == (extra if unlabeled else 0)


@given(st.integers(0, 50), st.integers(1, 5), st.integers(1, 8))
def test_slices_are_the_whole_in_order_and_differ_by_one(count: int, accumulate: int, world: int) -> None:
    parts = [sampler.part(range(count), i, accumulate) for i in range(accumulate)]
    assert [i for p in parts for i in p] == list(range(count))
    slices = [sampler.part(p, rank, world) for p in parts for rank in range(world)]
    assert [i for s in slices for i in s] == list(range(count))
    for p in parts:
        sizes = [len(sampler.part(p, rank, world)) for rank in range(world)]
        assert max(sizes) - min(sizes) <= 1
    assert count < accumulate * world or min(map(len, slices)) >= 1


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 50), st.integers(1, 50), st.integers(1, 4), st.integers(0, 9), st.integers(0, 9))
def test_each_group_of_a_batch_has_both_kinds(
    labeled: int, unlabeled: int, groups: int, more_labeled: int, more_unlabeled: int
) -> None:
    per_step = groups + more_labeled, groups + more_unlabeled
    stream = sampler.steps(
        range(labeled), range(100, 100 + unlabeled), labeled_per_step=per_step[0], unlabeled_per_step=per_step[1],
        seed=1, sampling="by_probability", groups=groups,
    )  # fmt: skip
    for step in islice(stream, 8):
        assert len(step.labeled) >= groups and len(step.unlabeled) >= groups
        assert len(step.labeled) + len(step.unlabeled) == sum(per_step)


def test_published_mean_of_eight_groups() -> None:
    """Soft Teacher section 4: 10.6 labeled and 29.4 unlabeled images a step of 8 x 5, not 8 and 32."""
    stream = sampler.steps(
        range(100), range(100, 1000), labeled_per_step=8, unlabeled_per_step=32, seed=0,
        sampling="by_probability", groups=8,
    )  # fmt: skip
    counts = np.array([len(step.labeled) for step in islice(stream, 3000)])
    expected = 8 * (1 + 0.8**5 - 0.2**5)
    assert abs(counts.mean() - expected) < 4 * counts.std() / len(counts) ** 0.5


@given(st.integers(1, 50), st.integers(1, 9), st.integers(0, 5))
def test_every_image_once_a_pass(count: int, per_step: int, seed: int) -> None:
    stream = sampler.steps(range(count), [], labeled_per_step=per_step, unlabeled_per_step=0, seed=seed)
    drawn = [i for step in islice(stream, 4 * count) for i in step.labeled]
    for start in range(0, len(drawn) - count + 1, count):
        assert sorted(drawn[start : start + count]) == list(range(count))


def test_a_stream_is_a_function_of_its_seed() -> None:
    def first(seed: int) -> list[sampler.StepImages]:
        stream = sampler.steps(range(20), range(20, 90), labeled_per_step=2, unlabeled_per_step=3, seed=seed)
        return list(islice(stream, 30))

    assert first(1) == first(1) != first(2)


@pytest.mark.parametrize("case", [c for c in json.loads(GOLDEN.read_text())["cases"] if c["by_prob"]])
def test_published_share_of_labeled_images(case: dict) -> None:
    batch, (a, b) = case["samples_per_gpu"], case["sample_ratio"]
    rng, n = np.random.default_rng(0), 20000
    drawn = Counter(sampler.labeled_count(batch, a / (a + b), rng) for _ in range(n))
    for k in range(1, batch):
        expected = case["labelled_per_batch_histogram"].get(str(k), 0) / case["num_batches"]
        error = (expected * (1 - expected) * (1 / n + 1 / case["num_batches"])) ** 0.5
        assert abs(drawn[k] / n - expected) <= 3.5 * error + 1e-3, k


class _InOrder:
    """In the place of a random generator: pools stay in order, and shapes take turns."""

    turn = -1

    def permutation(self, count: int) -> np.ndarray:
        return np.arange(count)

    def choice(self, shapes: int, p: np.ndarray) -> int:
        self.turn += 1
        return self.turn % shapes


@pytest.mark.parametrize("case", json.loads((FOLDER / "ut_batching.json").read_text())["cases"])
def test_published_batches_but_nothing_is_thrown_away(case: dict, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each side of one shape, in the order drawn. The published loader discards images while the other side fills."""
    monkeypatch.setattr(np.random, "default_rng", lambda seed: _InOrder())
    labeled, unlabeled = (
        {first + i: w > h for i, (w, h) in enumerate(case[side])}
        for first, side in ((0, "labelled_wh"), (100, "unlabelled_wh"))
    )
    wide = np.array([i for i, is_wide in (labeled | unlabeled).items() if is_wide])
    stream = sampler.steps(
        list(labeled), list(unlabeled), labeled_per_step=case["batch_label"], unlabeled_per_step=case["batch_unlabel"],
        seed=0, wide=wide,
    )  # fmt: skip
    published = [[[int(name[1:-1]) for name in kind] for kind in batch[::2]] for batch in case["batches"]]
    ours = list(islice(stream, len(published)))
    assert [step.labeled for step in ours] == [labeled_ for labeled_, _ in published]
    assert ours[0].unlabeled == [100 + i for i in published[0][1]]
    assert ours[1].unlabeled == [102, 103], "the two that come next, of which the published loader throws one away"


def test_an_image_listed_three_times_is_drawn_three_times_as_often_whatever_its_shape() -> None:
    labeled, unlabeled, wide = [1, 1, 1, 2], [11, 11, 11, 12], np.array([1, 11])
    count = {"labeled_per_step": 1, "unlabeled_per_step": 1, "seed": 0}
    drawn = Counter(i for s in islice(sampler.steps(labeled, unlabeled, wide=wide, **count), 4000) for i in s.unlabeled)
    assert drawn[11] / drawn[12] == pytest.approx(3, rel=0.15)
