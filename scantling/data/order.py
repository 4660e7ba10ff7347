"""Random order without a generator: things are sorted by a hash of who they are.

The place of a box or an image depends on the seed, the protocol and its own id: not on the order of a file, on what
else is there, or on the number of processes. A share is not part of the hash, so a smaller share lies within every
larger one.
"""

from __future__ import annotations

import hashlib

import numpy as np

AT_ONCE = 1 << 12  # digests held in memory at a time: what fits into a cache near the core


def hash_order(ids: np.ndarray, protocol: str, seed: int) -> np.ndarray:
    """(N,) int64, indices that sort `ids` by the first 64 bits of SHA-256("seed|protocol|id"), ties by id."""
    text, sha256 = f"{seed}|{protocol}|%d".encode(), hashlib.sha256
    bits = np.empty(len(ids), dtype=np.uint64)
    for start in range(0, len(ids), AT_ONCE):
        some = ids[start : start + AT_ONCE].tolist()
        digests = b"".join([sha256(text % one).digest() for one in some])
        bits[start : start + len(some)] = np.frombuffer(digests, dtype=">u8")[::4]
    order = np.argsort(bits)
    tied = bits[order[1:]] == bits[order[:-1]]
    return np.lexsort((ids, bits)) if tied.any() else order


def grouped(order: np.ndarray, group: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Indices sorted by group and inside it as in `order`; and (N,) bool, which of them start a group.

    order  (N,) a permutation of 0..N-1
    group  (N,) numbers >= 0, below 2^63 / N: group and place in the order then make one number, and numbers sort
           ten times as fast as indices do
    """
    n = max(len(order), 1)
    assert group.max(initial=0) < 2**63 // n, "group numbers are too large"
    keys = group[order].astype(np.int64) * n
    keys += np.arange(len(order))
    keys.sort()
    starts = np.ones(len(order), dtype=bool)
    groups = keys // n
    starts[1:] = groups[1:] != groups[:-1]
    keys -= groups * n
    return order[keys], starts


def rank(order: np.ndarray, group: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Of each row: its place 0, 1, ... in its group, as in `order`, and the number of rows in the group; (N,) int64."""
    sequence, starts = grouped(order, group)
    firsts = np.flatnonzero(starts)
    counts = np.diff(np.append(firsts, len(order)))
    place, size = np.empty((2, len(order)), dtype=np.int64)
    place[sequence] = np.arange(len(order)) - np.repeat(firsts, counts)
    size[sequence] = np.repeat(counts, counts)
    return place, size
