"""Order by hash: the stated hash, whatever the chunks; places and sizes in groups as counted by hand."""

from __future__ import annotations

import hashlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from scantling.data import order


def digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


@settings(max_examples=30, deadline=None)
@given(st.lists(st.integers(0, 2**62), unique=True, max_size=30), st.integers(0, 2**40), st.integers(1, 9))
def test_the_order_is_that_of_the_stated_hash(ids: list[int], seed: int, at_once: int) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(order, "AT_ONCE", at_once)
        found = order.hash_order(np.array(ids, dtype=np.int64), "drop_category", seed)
    assert [ids[k] for k in found] == sorted(ids, key=lambda i: digest(f"{seed}|drop_category|{i}"))


def test_ties_go_by_id(monkeypatch: pytest.MonkeyPatch) -> None:
    class Same:
        def __init__(self, _: bytes) -> None: ...

        def digest(self) -> bytes:
            return bytes(32)

    monkeypatch.setattr(order.hashlib, "sha256", Same)
    assert order.hash_order(np.array([7, 3, 5]), "p", 1).tolist() == [1, 2, 0]


@settings(max_examples=60, deadline=None)
@given(st.lists(st.integers(0, 3), max_size=30), st.randoms(use_true_random=False))
def test_rank_as_counted_by_hand(groups: list[int], random: object) -> None:
    places = list(range(len(groups)))
    random.shuffle(places)  # type: ignore[attr-defined]
    order_, group = np.array(places, dtype=np.int64), np.array(groups, dtype=np.int64)
    place, size = order.rank(order_, group)
    for k, own in enumerate(groups):
        assert place[k] == sum(groups[other] == own for other in places[: places.index(k)])
        assert size[k] == groups.count(own)
    sequence, starts = order.grouped(order_, group)
    assert sequence.tolist() == sorted(range(len(groups)), key=lambda k: (groups[k], places.index(k)))
    assert starts.sum() == len(set(groups))


def test_group_numbers_that_do_not_fit_are_noticed() -> None:
    large = np.array([0, 2**62])
    with pytest.raises(AssertionError, match="too large"):
        order.rank(np.array([0, 1]), large)
