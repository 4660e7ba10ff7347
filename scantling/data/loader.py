"""From a split to batches of views: each image is decoded, viewed and collated in the loader's workers."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas as pd
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from scantling import boxes as box_ops
from scantling.augment import batched, views
from scantling.augment.plan import Plan
from scantling.augment.views import ViewParams
from scantling.data import images, sampler
from scantling.data.index import XYXY
from scantling.target import Batch, Target

Views = dict[str, Batch]  # by view name: labeled, weak, strong, raw
ViewsOn = Literal["workers", "device"]


@dataclass(frozen=True)
class TrainingStep:
    """What one step sees. Each side is empty ({}) when the step has no such image or the method wants no view of it."""

    labeled: Views
    unlabeled: Views


@dataclass(frozen=True)
class Pool:
    """The training images of a split: ids, files, and the boxes that may be seen."""

    root: Path
    files: dict[int, str]
    wide: set[int]
    labeled: list[int]
    unlabeled: list[int]
    boxes: dict[int, Tensor]  # image id -> (N, 4) float32, original pixels
    labels: dict[int, Tensor]  # image id -> (N,) int64

    @classmethod
    def of(cls, root: Path, images_table: pd.DataFrame, split: pd.DataFrame, *, keep_empty: bool) -> Pool:
        """`split` as written by the split stage. keep_empty=False drops labeled images without a kept box."""
        seen = images_table[images_table["image_id"].isin(split["image_id"])]
        kept = split[split["box_id"] >= 0]
        coordinates = torch.from_numpy(kept[XYXY].to_numpy(np.float32, copy=True))
        classes = torch.from_numpy(kept["label"].to_numpy(np.int64, copy=True))
        rows = {int(i): torch.from_numpy(r) for i, r in kept.reset_index(drop=True).groupby("image_id").indices.items()}
        boxes = {i: coordinates[r] for i, r in rows.items()}
        labels = {i: classes[r] for i, r in rows.items()}
        labeled = sorted(int(i) for i in split.loc[split["labeled"], "image_id"].unique())
        return cls(
            root=root,
            files=dict(zip(seen["image_id"].astype(int), seen["file_name"], strict=True)),
            wide=set(seen.loc[seen["width"] > seen["height"], "image_id"].astype(int)),
            labeled=[i for i in labeled if keep_empty or i in boxes],
            unlabeled=sorted(int(i) for i in split.loc[~split["labeled"], "image_id"].unique()),
            boxes=boxes,
            labels=labels,
        )

    def truth(self, image_id: int) -> tuple[Tensor, Tensor]:
        """The boxes (N, 4) and labels (N,) of an image that training may see."""
        return (
            self.boxes.get(image_id, torch.zeros((0, 4))),
            self.labels.get(image_id, torch.zeros(0, dtype=torch.int64)),
        )


def seen_boxes(
    boxes: Tensor, labels: Tensor, matrix: Tensor, size: tuple[int, int], min_visible: float
) -> tuple[Tensor, Tensor, Tensor]:
    """Boxes in a view, their labels, and the leftovers: boxes of which less than `min_visible` of the area is inside.

    A leftover is no target any more, nor is it background.
    """
    mapped = box_ops.transform(boxes, matrix)
    inside = box_ops.clip(mapped, size)
    visible = box_ops.has_area(inside) & (box_ops.area(inside) >= min_visible * box_ops.area(mapped))
    return inside[visible], labels[visible], inside[~visible & box_ops.has_area(inside)]


class _ViewDataset(Dataset[tuple[str, Any, int]]):
    """Views of one image for (kind, image id, step, position); the draw depends on nothing else."""

    def __init__(
        self,
        pool: Pool,
        params: ViewParams,
        wanted: dict[str, tuple[str, ...]],
        seed: int,
        min_visible: float,
        views_on: ViewsOn,
    ):
        self.pool, self.params, self.wanted, self.seed, self.min_visible = pool, params, wanted, seed, min_visible
        self.views_on = views_on

    def __getitem__(self, request: tuple[str, int, int, int]):  # type: ignore[override]
        kind, image_id, step, position = request
        image = images.decode(self.pool.root / self.pool.files[image_id])
        size, boxes = (image.shape[1], image.shape[2]), self.pool.truth(image_id)[0]
        plans = views.plans(self.params, self.wanted[kind], size, (self.seed, step, position, image_id), boxes)
        targets = {name: self._target(kind, image_id, plans[name]) for name in self.wanted[kind]}
        if self.views_on == "device":
            made = {name: (image, views.chain(plans, name), target) for name, target in targets.items()}
        else:
            seen = views.apply_all(image, plans)
            made = {name: (seen[name], plans[name].matrix, target) for name, target in targets.items()}
        return kind, made, image_id

    def _target(self, kind: str, image_id: int, plan: Plan) -> Target:
        if kind == "unlabeled":
            return Target.empty()
        boxes, labels, rest = seen_boxes(*self.pool.truth(image_id), plan.matrix, plan.size, self.min_visible)
        return Target.of(boxes, labels, ignore=rest)


def collate(samples: Sequence[tuple[Tensor, Tensor, Target]], image_ids: Sequence[int]) -> Batch:
    """Images padded with zeros at the right and bottom to the largest of the batch."""
    height = max(image.shape[1] for image, _, _ in samples)
    width = max(image.shape[2] for image, _, _ in samples)
    padded = torch.zeros((len(samples), 3, height, width), dtype=torch.uint8)
    for row, (image, _, _) in zip(padded, samples, strict=True):
        row[:, : image.shape[1], : image.shape[2]] = image
    return Batch(
        images=padded,
        sizes=[(image.shape[1], image.shape[2]) for image, _, _ in samples],
        targets=[target for _, _, target in samples],
        matrices=torch.stack([matrix for _, matrix, _ in samples]),
        image_ids=list(image_ids),
    )


def _collate_step(samples: list[tuple[str, Any, int]], views_on: ViewsOn) -> TrainingStep:
    sides: dict[str, Any] = {}
    for side in ("labeled", "unlabeled"):
        own = [(made, image_id) for kind, made, image_id in samples if kind == side]
        names = list(own[0][0]) if own else []
        join = collate if views_on == "workers" else batched.collate
        sides[side] = {name: join([m[name] for m, _ in own], [i for _, i in own]) for name in names}
    return TrainingStep(**sides)


class _Requests:
    """Batch sampler: the requests of steps first..last-1, skipping the earlier ones."""

    def __init__(self, stream: Iterator[sampler.StepImages], first: int, last: int):
        self.stream, self.first, self.last = stream, first, last

    def __iter__(self) -> Iterator[list[tuple[str, int, int, int]]]:
        for step in range(self.last):
            chosen = next(self.stream)
            if step < self.first:
                continue
            requests = [("labeled", i) for i in chosen.labeled] + [("unlabeled", i) for i in chosen.unlabeled]
            yield [(kind, image_id, step, position) for position, (kind, image_id) in enumerate(requests)]


def training_steps(
    pool: Pool,
    params: ViewParams,
    *,
    labeled_views: tuple[str, ...],
    unlabeled_views: tuple[str, ...],
    stream: Iterator[sampler.StepImages],
    first: int,
    last: int,
    seed: int,
    workers: int = 0,
    min_visible: float = 0.0,
    views_on: ViewsOn = "workers",
) -> Iterator[TrainingStep]:
    """Steps first..last-1 of `stream` as views; the same for any number of workers.

    views_on: device leaves resizing, warping and color to the `to(device)` of each view.
    """
    wanted = {"labeled": labeled_views, "unlabeled": unlabeled_views}
    views.check(params, labeled_views + unlabeled_views)
    dataset = _ViewDataset(pool, params, wanted, seed, min_visible, views_on)
    return iter(
        DataLoader(
            dataset,
            batch_sampler=_Requests(stream, first, last),  # type: ignore[arg-type]
            num_workers=workers,
            collate_fn=partial(_collate_step, views_on=views_on),
            pin_memory=torch.cuda.is_available(),
            persistent_workers=False,
        )
    )
