"""Whole images are labeled so that every class keeps its share of images: for small data, where a draw may miss one.

Iterative stratification (Sechidis et al., ECML PKDD 2011, algorithm 1) into a labeled and an unlabeled part, with two
changes of ours: the number of labeled images is exact, and before anything else every class gets one labeled image.
Where the paper draws at random, images are taken in the order of order.py. Not nested: a smaller share is another draw.
"""

from __future__ import annotations

from typing import Literal

import numpy as np

from scantling.data.choice import Choice, Truth, positions, whole
from scantling.data.order import hash_order
from scantling.data.semi import AmountParams

LABELED, UNLABELED = 0, 1


class StratifiedParams(AmountParams):
    """Every class of the training images gets a labeled image where `percent` or `images` leaves room for it."""

    protocol: Literal["stratified"]


def choose(truth: Truth, params: StratifiedParams, fold: int) -> Choice:
    """`fold` is the seed."""
    images = truth.train[hash_order(truth.train, "stratified", fold)]
    classes = len(truth.index.classes)
    # every (image, class) pair once, images as places in the hash order
    at = positions(images, truth.images)[truth.at]
    pairs = np.unique((at * classes + truth.label)[at >= 0])
    cuts = np.searchsorted(pairs, np.arange(1, len(images)) * classes)
    labels_of = [part.tolist() for part in np.split(pairs % max(classes, 1), cuts)]
    return whole(truth, images[stratify(labels_of, classes, params.wanted(len(images), truth.index.name))])


def stratify(labels_of: list[list[int]], classes: int, wanted: int) -> np.ndarray:
    """(I,) bool, which `wanted` of the I images are labeled. labels_of: the distinct labels 0..classes-1 of each."""
    members: list[list[int]] = [[] for _ in range(classes)]
    for image, labels in enumerate(labels_of):
        for label in labels:
            members[label].append(image)
    total = len(labels_of)
    side = [-1] * total
    room = [wanted, total - wanted]
    desired = [[share / total * len(own) for own in members] for share in room]  # images of a class a side still needs
    waiting = [len(own) for own in members]

    def give(image: int, to: int) -> None:
        side[image] = to
        room[to] -= 1
        for label in labels_of[image]:
            desired[to][label] -= 1
            waiting[label] -= 1

    for image in _one_each(members, labels_of, wanted):
        give(image, LABELED)
    while any(waiting):
        rarest = min((n, label) for label, n in enumerate(waiting) if n)[1]
        for image in members[rarest]:
            if side[image] < 0:
                needs = [(room[to] > 0, desired[to][rarest], room[to], -to) for to in (LABELED, UNLABELED)]
                give(image, int(needs[UNLABELED] > needs[LABELED]))
    bare = [image for image in range(total) if side[image] < 0]  # images without any box
    for image in bare[: room[LABELED]]:
        give(image, LABELED)
    return np.array(side, dtype=np.int64) == LABELED


def _one_each(members: list[list[int]], labels_of: list[list[int]], most: int) -> list[int]:
    """At most `most` images that hold every class, rarest class first: the first of each class, or, where those would
    be too many, of each class the one that adds most classes."""

    def cover(dense: bool) -> list[int]:
        missing, images = {label for label, own in enumerate(members) if own}, []
        for label in sorted(missing, key=lambda c: (len(members[c]), c)):
            if label in missing:
                own = members[label]
                images.append(max(own, key=lambda i: len(missing.intersection(labels_of[i]))) if dense else own[0])
                missing -= set(labels_of[images[-1]])
        return images

    first = cover(dense=False)
    return first if len(first) <= most else cover(dense=True)[:most]
