"""Random order without a generator: things are sorted by a hash of who they are.

The place of a box or an image depends on the seed, the protocol and its own id: not on the order of a file, on what
else is there, or on the number of processes. A share is not part of the hash, so a smaller share lies within every
larger one.
"""

from __future__ import annotations

import hashlib

import numpy as np

AT_ONCE = 1 << 20  # digests held in memory at a time


def hash_order(ids: np.ndarray, protocol: str, seed: int) -> np.ndarray:
    """(N,) int64, indices that sort `ids` by the first 64 bits of SHA-256("seed|protocol|id"), ties by id."""
    text, sha256 = f"{seed}|{protocol}|%d".encode(), hashlib.sha256
    bits = np.empty(len(ids), dtype=np.uint64)
    for start in range(0, len(ids), AT_ONCE):
        some = ids[start : start + AT_ONCE].tolist()
        digests = b"".join([sha256(text % one).digest() for one in some])
        bits[start : start + len(some)] = np.frombuffer(digests, dtype=">u8")[::4]
    order = np.argsort(bits, kind="stable")
    tied = bits[order[1:]] == bits[order[:-1]]
    return np.lexsort((ids, bits)) if tied.any() else order


def rank(order: np.ndarray, *groups: np.ndarray) -> np.ndarray:
    """(N,) int64, place 0, 1, ... of each row among the rows of its group, in `order`."""
    sequence, starts = _grouped(order, groups)
    places = np.arange(len(order))
    result = np.empty(len(order), dtype=np.int64)
    result[sequence] = places - np.maximum.accumulate(np.where(starts, places, 0))
    return result


def size(*groups: np.ndarray) -> np.ndarray:
    """(N,) int64, number of rows in the group of each row."""
    sequence, starts = _grouped(np.arange(len(groups[0])), groups)
    counts = np.diff(np.append(np.flatnonzero(starts), len(sequence)))
    result = np.empty(len(sequence), dtype=np.int64)
    result[sequence] = np.repeat(counts, counts)
    return result


def _grouped(order: np.ndarray, groups: tuple[np.ndarray, ...]) -> tuple[np.ndarray, np.ndarray]:
    """Rows sorted by group and inside it by `order`, and (N,) bool, which of them start a group."""
    sequence = order[np.lexsort([g[order] for g in groups])] if groups else order  # lexsort keeps the order of ties
    starts = np.zeros(len(order), dtype=bool)
    starts[:1] = True
    for values in groups:
        sorted_values = values[sequence]
        starts[1:] |= sorted_values[1:] != sorted_values[:-1]
    return sequence, starts
