"""Which images a training step takes: two infinite shuffled queues, labeled and unlabeled (Soft Teacher section 4).

Pure in (seed, step): a resumed run asks for the same steps again and no queue position needs saving.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

Sampling = Literal["fixed", "by_probability"]


@dataclass(frozen=True)
class StepImages:
    """Image ids of one step; each side may be empty when its pool is."""

    labeled: list[int]
    unlabeled: list[int]


def part(items: range, number: int, parts: int) -> range:
    """One of `parts` slices of `items` that differ by one at most; together, in order, they are `items`."""
    return items[number * len(items) // parts : (number + 1) * len(items) // parts]


class Queue:
    """Items in random order, each once a pass; a new permutation whenever it runs short."""

    def __init__(self, items: Sequence[int] | np.ndarray, rng: np.random.Generator):
        self.items, self.rng = np.asarray(items, dtype=np.int64), rng
        self.order, self.next = self.items[:0], 0

    def take(self, count: int) -> list[int]:
        """The next `count` items, without repeats inside a pass; [] from an empty pool."""
        taken: list[int] = []
        while len(self.items) and len(taken) < count:
            if self.next == len(self.order):
                self.order, self.next = self.items[self.rng.permutation(len(self.items))], 0
            fresh = self.order[self.next : self.next + count - len(taken)].tolist()
            taken, self.next = taken + fresh, self.next + len(fresh)
        return taken


def labeled_count(batch: int, ratio: float, rng: np.random.Generator) -> int:
    """How many of `batch` images are labeled when each is so with probability `ratio`: at least one of each kind."""
    drawn = int((rng.random(batch) < ratio).sum())
    return min(max(drawn, 1), batch - 1)


def steps(
    labeled: Sequence[int],
    unlabeled: Sequence[int],
    *,
    labeled_per_step: int,
    unlabeled_per_step: int,
    seed: int,
    sampling: Sampling = "fixed",
    groups: int = 1,
    wide: np.ndarray | None = None,
) -> Iterator[StepImages]:
    """An endless stream of steps, the same whatever number of processes shares it.

    by_probability: the two counts are drawn anew in each of `groups` parts of the batch (the GPUs of the reference,
    each of which has at least one image of each kind); their sum is kept.
    wide: ids of images wider than high; when given, a step takes images of one shape where it can, shapes in
    proportion to how often they are listed, so that little is padded. A kind missing in one shape comes from the other.
    """
    rng = np.random.default_rng(np.random.SeedSequence([seed, 0x5A3]))
    pools = [np.asarray(ids, dtype=np.int64) for ids in (labeled, unlabeled)]
    shapes = [np.union1d(*pools)]
    if wide is not None:
        kinds = np.isin(shapes[0], wide)
        shapes = [ids for ids in (shapes[0][kinds], shapes[0][~kinds]) if len(ids)] or shapes
    listed = np.concatenate(pools)  # with its repeats, which one shape may have more of than the other
    share = np.array([np.isin(listed, ids).sum() for ids in shapes]) / max(1, len(listed))

    def queues(pool: np.ndarray) -> list[Queue]:
        found = [Queue(pool[np.isin(pool, ids)], rng) for ids in shapes]
        return [q if len(q.items) else max(found, key=lambda other: len(other.items)) for q in found]

    labeled_queues, unlabeled_queues = (queues(pool) for pool in pools)
    batch = labeled_per_step + unlabeled_per_step
    while True:
        shape = int(rng.choice(len(shapes), p=share)) if len(shapes) > 1 else 0
        taken = labeled_per_step
        if sampling == "by_probability" and labeled_per_step and unlabeled_per_step:
            sizes = [len(part(range(batch), g, groups)) for g in range(groups)]
            taken = sum(labeled_count(size, labeled_per_step / batch, rng) for size in sizes)
        rest = batch - taken if unlabeled_per_step else 0
        yield StepImages(labeled_queues[shape].take(taken), unlabeled_queues[shape].take(rest))
