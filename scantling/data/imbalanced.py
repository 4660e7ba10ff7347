"""Class-imbalanced labels (CI-SSOD, arXiv 2403.15127): many labels of some classes, a few shots of the others.

The authors' image lists are not public; what is known are their sizes and counts. The recipes here are inferred from
these, so the splits bear our own names.
"""

from __future__ import annotations

import difflib
from pathlib import Path
from typing import Literal

import numpy as np
from pydantic import Field

from scantling.data.choice import Choice, ProtocolParams, Truth, floor_share, positions, whole
from scantling.data.order import hash_order
from scantling.stage import BadInput


class ImbalancedParams(ProtocolParams):
    """minority: class names, or a text file with one a line; all other classes are the majority.

    majority_percent  of the images with a box of a majority class, these are labeled, their minority boxes hidden
    minority_shots    boxes of each minority class, reached by labeling further images with all their boxes
    """

    protocol: Literal["imbalanced"]
    minority: tuple[str, ...] | str
    majority_percent: float = Field(10, gt=0, le=100)
    minority_shots: int = Field(10, ge=1)
    allow_missing_class: bool = False


class TransferParams(ProtocolParams):
    """All of subset train, and out of subset `unlabeled` a few images for every class that train does not have."""

    protocol: Literal["transfer"]
    shots: int = Field(10, ge=1)
    allow_missing_class: bool = True


def choose(truth: Truth, params: ImbalancedParams, fold: int) -> Choice:
    """Majority images without their minority boxes, then few-shot images out of the rest. `fold` is the seed."""
    minority = _minority(params, truth)
    is_minor = np.isin(truth.label, minority)
    images = truth.images[np.unique(truth.at[truth.of_train & ~is_minor])]
    drawn = images[hash_order(images, "imbalanced", fold)][: floor_share(params.majority_percent, len(images))]

    # a hash of its own: by the first one the images that are left would no longer be in random order
    rest = np.setdiff1d(truth.train, drawn)
    few = few_shot(rest[hash_order(rest, "imbalanced_few", fold)], truth, minority, params.minority_shots)
    visible = truth.boxes_of(few) | (truth.boxes_of(drawn) & ~is_minor)
    facts = {
        "minority": [truth.index.classes[c] for c in np.sort(minority)],
        "majority_images": len(drawn),
        "few_shot_images": len(few),
    }
    return Choice(np.concatenate([drawn, few]), visible, complete=False, facts=facts)


def transfer(truth: Truth, params: TransferParams, fold: int) -> Choice:
    """`fold` is the seed. Images of train carry no label of the classes that are missing there: not complete."""
    missing = np.setdiff1d(np.arange(len(truth.index.classes)), truth.label[truth.of_train])
    others = truth.images[~truth.in_train]
    few = few_shot(others[hash_order(others, "transfer", fold)], truth, missing, params.shots)
    if not len(few):
        raise BadInput(
            f"{truth.index.name}: protocol transfer finds no box of a class that is missing in subset train among the "
            f"{len(others)} images of subset unlabeled; annotate some of them, or use protocol full"
        )
    facts = {"few_shot_classes": len(missing), "few_shot_images": len(few)}
    return whole(truth, np.concatenate([truth.train, few]), complete=False, facts=facts)


def few_shot(images: np.ndarray, truth: Truth, wanted: np.ndarray, shots: int) -> np.ndarray:
    """Ids out of `images` that together hold at least `shots` boxes of every class in `wanted`, or all there are.

    Classes are visited from the rarest (in number of boxes) to the commonest; images in the order given, until the
    class has its boxes, those in images taken for other classes counted.
    """
    at = positions(images, truth.images)[truth.at]
    use = (at >= 0) & np.isin(truth.label, wanted)
    at, labels = at[use], truth.label[use]
    # boxes per (class, image), sorted by class, inside it by the order of the images
    pairs, boxes = np.unique(labels.astype(np.int64) * max(len(images), 1) + at, return_counts=True)
    classes, places = np.divmod(pairs, max(len(images), 1))
    totals = np.bincount(classes, weights=boxes, minlength=int(wanted.max(initial=-1)) + 1)
    taken = np.zeros(len(images), dtype=bool)
    for label in sorted(wanted.tolist(), key=lambda c: (totals[c], c)):
        own = slice(*np.searchsorted(classes, [label, label + 1]))
        there = taken[places[own]]
        held = boxes[own][there].sum()
        if held < shots:
            candidates = places[own][~there]
            reached = held + np.cumsum(boxes[own][~there])
            taken[candidates[: np.searchsorted(reached, shots) + 1]] = True
    return images[taken]


def _minority(params: ImbalancedParams, truth: Truth) -> np.ndarray:
    """Labels of the minority classes, ascending."""
    names, classes, source = params.minority, truth.index.classes, "`minority`"
    if isinstance(names, str):
        file, source = Path(names), names
        try:
            lines = file.read_text(encoding="utf-8").splitlines()
        except (OSError, ValueError):
            raise BadInput(f"{file}: there is no such text file; give `minority` a list of classes or a file") from None
        names = tuple(line.strip() for line in lines if line.strip())
    unknown = [name for name in names if name not in classes]
    if unknown:
        near = difflib.get_close_matches(unknown[0], classes, 1)
        remedy = f"did you mean {near[0]}?" if near else f"its classes begin with {', '.join(classes[:5])}"
        raise BadInput(f"{source}: {truth.index.name} has no class {unknown[0]!r}; {remedy}")
    if not 0 < len(set(names)) < len(classes):
        raise BadInput(
            f"{source}: {len(set(names))} of the {len(classes)} classes of {truth.index.name} are minority classes; "
            "name some of them, not all and not none"
        )
    return np.array(sorted(classes.index(name) for name in set(names)))
