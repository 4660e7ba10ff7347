"""From a split to batches of views: each image is decoded, viewed and collated in the loader's workers."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any, Literal, NamedTuple

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
from scantling.data import split as splits
from scantling.data.by_image import ByImage
from scantling.data.index import XYXY
from scantling.stage import BadInput
from scantling.target import Batch, Target

Views = dict[str, Batch]  # by view name: labeled, weak, strong, raw
ViewsOn = Literal["workers", "device"]
HEIGHT_WIDTH = ["height", "width"]


def workers(asked: int) -> int:
    """Loader processes: `SCANTLING_WORKERS`, else what the parameters ask for.

    No result depends on them, but all results depend on the parameters: the variable suits another machine without
    making one stale. Raises BadInput for what is no number of processes.
    """
    given = os.environ.get("SCANTLING_WORKERS") or str(asked)
    if not given.isdecimal():
        raise BadInput(f"SCANTLING_WORKERS={given}: a number of loader processes, 0 for none of their own")
    return int(given)


@dataclass(frozen=True)
class TrainingStep:
    """What one step (or one part of it) sees.

    Each side is empty ({}) when the step has no such image or the method wants no view of it.
    step    number of the optimizer step, from 0
    shares  of each side, the part of the step's images that the processes have here together: 1 unless accumulated
    """

    labeled: Views
    unlabeled: Views
    step: int = 0
    shares: dict[str, float] = field(default_factory=dict)

    def to(self, device: torch.device | str) -> TrainingStep:
        """Everything on the device; views that are still to be made (`Pending`) are made there."""

        def there(side: Views) -> Views:
            return {name: view.to(device) for name, view in side.items()}

        return replace(self, labeled=there(self.labeled), unlabeled=there(self.unlabeled))

    def pin_memory(self) -> TrainingStep:
        """Pixels in memory that a GPU reads from directly; the DataLoader asks for it."""

        def pinned(side: Views) -> Views:
            return {name: replace(view, images=view.images.pin_memory()) for name, view in side.items()}

        return replace(self, labeled=pinned(self.labeled), unlabeled=pinned(self.unlabeled))

    def __len__(self) -> int:
        """Images, however many views."""
        return sum(len(next(iter(side.values()))) for side in (self.labeled, self.unlabeled) if side)


@dataclass(frozen=True)
class Pool:
    """The training images of a split: ids, files, sizes, and the boxes that may be seen.

    Columns and not a million small objects: what a process holds is the bytes of the values, and the loader's workers
    share them.
    """

    root: Path
    ids: np.ndarray  # (N,) int64, ascending
    files: pd.api.extensions.ExtensionArray  # (N,) below root
    sizes: np.ndarray  # (N, 2) int64, height and width of the file
    labeled: list[int]
    unlabeled: list[int]
    boxes: Tensor  # (M, 4) float32, original pixels, sorted by image
    labels: Tensor  # (M,) int64
    of_image: ByImage  # which of the boxes are whose

    @classmethod
    def of(
        cls, root: Path, images_table: pd.DataFrame, split: pd.DataFrame, *, keep_empty: bool, min_side_px: int = 0
    ) -> Pool:
        """`split` as written by the split stage. keep_empty=False drops labeled images without a kept box, min_side_px
        all images with a shorter side. Raises BadInput where that leaves none of a kind that the split has."""
        splits.refuse_foreign(np.unique(split["image_id"].to_numpy()), images_table)
        given = split
        if min_side_px:
            small = images_table[HEIGHT_WIDTH].min(axis=1) < min_side_px
            split = split[~split["image_id"].isin(images_table.loc[small, "image_id"])]
        seen = images_table.loc[
            images_table["image_id"].isin(split["image_id"]), ["image_id", "file_name", *HEIGHT_WIDTH]
        ]
        seen = seen.sort_values("image_id")
        kept = split[split["box_id"] >= 0]
        of_image = ByImage(kept["image_id"].to_numpy())
        if of_image.order is not None:
            kept = kept.iloc[of_image.order]
        labeled = np.unique(split.loc[split["labeled"], "image_id"])
        if not keep_empty:
            labeled = labeled[of_image.counts(labeled) > 0]
        unlabeled = np.unique(split.loc[~split["labeled"], "image_id"])
        _refuse_none(given, {"labeled": labeled, "unlabeled": unlabeled}, keep_empty, min_side_px)
        return cls(
            root=root,
            ids=seen["image_id"].to_numpy(np.int64),
            files=seen["file_name"].array,
            sizes=seen[HEIGHT_WIDTH].to_numpy(np.int64),
            labeled=labeled.tolist(),
            unlabeled=unlabeled.tolist(),
            boxes=torch.from_numpy(kept[XYXY].to_numpy(np.float32, copy=True)),
            labels=torch.from_numpy(kept["label"].to_numpy(np.int64, copy=True)),
            of_image=of_image,
        )

    def places(self, image_ids: Sequence[int]) -> np.ndarray:
        """Where images are in `ids`, `files` and `sizes`."""
        return np.searchsorted(self.ids, image_ids)

    def file(self, image_id: int) -> Path:
        return self.root / self.files[int(np.searchsorted(self.ids, image_id))]

    def truth(self, image_id: int) -> tuple[Tensor, Tensor]:
        """The boxes (N, 4) and labels (N,) of an image that training may see."""
        rows = self.of_image.sorted(image_id)
        return self.boxes[rows], self.labels[rows]

    def wide(self) -> np.ndarray:
        """Ids of the images that are wider than high, ascending."""
        return self.ids[self.sizes[:, 1] > self.sizes[:, 0]]

    def boxes_per_labeled(self) -> float:
        """Boxes that a labeled image has in the mean."""
        return int(self.of_image.counts(np.array(self.labeled, np.int64)).sum()) / max(len(self.labeled), 1)


def _refuse_none(split: pd.DataFrame, left: dict[str, np.ndarray], keep_empty: bool, min_side_px: int) -> None:
    """Raises BadInput where of a kind of images in the split none is `left` (ids by kind)."""
    for kind, ids in left.items():
        given = 0 if len(ids) else split.loc[split["labeled"] == (kind == "labeled"), "image_id"].nunique()
        reasons = [f"a side below {min_side_px} px (lower `min_side_px`)"] if min_side_px else []
        if kind == "labeled" and not keep_empty:
            reasons.append(
                "no box (label images that show something, or set `empty_images: true`, and `keep_empty_images: true` "
                "in a method that has it)"
            )
        if given:
            raise BadInput(f"training: none of the {given} {kind} images is drawn, each has {' or '.join(reasons)}")


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


class Request(NamedTuple):
    """One image of a step: what is asked of the loader's workers."""

    kind: Literal["labeled", "unlabeled"]
    image_id: int
    step: int
    position: int  # in the whole step, over all processes
    share: float  # see TrainingStep


class _ViewDataset(Dataset[tuple[Request, Any]]):
    """Views of one image; the draw depends on (seed, step, position, image id) and nothing else."""

    def __init__(
        self,
        pool: Pool,
        params: ViewParams,
        wanted: dict[str, tuple[str, ...]],
        seed: int,
        min_visible: float,
        background_from_iou: float,
        views_on: ViewsOn,
    ):
        self.pool, self.params, self.wanted, self.seed, self.min_visible = pool, params, wanted, seed, min_visible
        self.background_from_iou, self.views_on = background_from_iou, views_on

    def __getitem__(self, request: Request) -> tuple[Request, Any]:  # type: ignore[override]
        image = images.decode(self.pool.file(request.image_id))
        size, boxes = (image.shape[1], image.shape[2]), self.pool.truth(request.image_id)[0]
        names, seed = self.wanted[request.kind], (self.seed, request.step, request.position, request.image_id)
        plans = views.plans(self.params, names, size, seed, boxes)
        targets = {name: self._target(request, plans[name], views.torch_seed(*seed, i)) for i, name in enumerate(names)}
        if self.views_on == "device":
            return request, {name: (image, views.chain(plans, name), target) for name, target in targets.items()}
        seen = views.apply_all(image, plans)
        return request, {name: (seen[name], plans[name].matrix, targets[name]) for name in names}

    def _target(self, request: Request, plan: Plan, seed: int) -> Target:
        """The boxes in a view, and the seed of what is drawn in it."""
        if request.kind == "unlabeled":
            return Target.empty(seed=seed)
        truth = self.pool.truth(request.image_id)
        boxes, labels, rest = seen_boxes(*truth, plan.matrix, plan.size, self.min_visible)
        return Target.of(boxes, labels, ignore=rest, background_from_iou=self.background_from_iou, seed=seed)


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


def _collate_step(samples: list[tuple[Request, Any]], views_on: ViewsOn) -> TrainingStep:
    sides: dict[str, Any] = {}
    join = collate if views_on == "workers" else batched.collate
    for side in ("labeled", "unlabeled"):
        own = [(made, request.image_id) for request, made in samples if request.kind == side]
        names = list(own[0][0]) if own else []
        sides[side] = {name: join([made[name] for made, _ in own], [i for _, i in own]) for name in names}
    shares = {request.kind: request.share for request, _ in samples}
    return TrainingStep(**sides, step=samples[0][0].step, shares=shares)


class _Requests:
    """Batch sampler: the requests of steps first..last-1, skipping the earlier ones.

    A step is cut into `accumulate` parts that follow each other, and each part into slices, one for each process.
    """

    def __init__(
        self, stream: Iterator[sampler.StepImages], first: int, last: int, accumulate: int, rank: int, world: int
    ):
        self.stream, self.first, self.last = stream, first, last
        self.accumulate, self.rank, self.world = accumulate, rank, world

    def __iter__(self) -> Iterator[list[Request]]:
        for step in range(self.last):
            chosen = next(self.stream)
            if step < self.first:
                continue
            sides = {"labeled": chosen.labeled, "unlabeled": chosen.unlabeled}
            for number in range(self.accumulate):
                yield list(self._part(sides, step, number))

    def _part(self, sides: dict[Any, list[int]], step: int, number: int) -> Iterator[Request]:
        before = 0
        for kind, ids in sides.items():
            common = sampler.part(range(len(ids)), number, self.accumulate)
            for i in sampler.part(common, self.rank, self.world):
                yield Request(kind, ids[i], step, before + i, len(common) / len(ids))
            before += len(ids)


def _deaf(worker: int) -> None:
    """SIGTERM or Ctrl-C to all of a job is for the training, which ends its workers itself when its state is saved."""
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    signal.signal(signal.SIGINT, signal.SIG_IGN)


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
    background_from_iou: float = 0.0,
    views_on: ViewsOn = "workers",
    accumulate: int = 1,
    rank: int = 0,
    world: int = 1,
) -> Iterator[TrainingStep]:
    """Steps first..last-1 of `stream` as views; the same for any number of workers.

    Each step comes in `accumulate` parts, and of each part comes what process `rank` of `world` has to do.
    views_on: device leaves resizing, warping and color to `TrainingStep.to(device)`.
    """
    wanted = {"labeled": labeled_views, "unlabeled": unlabeled_views}
    views.check(params, labeled_views + unlabeled_views)
    dataset = _ViewDataset(pool, params, wanted, seed, min_visible, background_from_iou, views_on)
    return iter(
        DataLoader(
            dataset,
            batch_sampler=_Requests(stream, first, last, accumulate, rank, world),  # type: ignore[arg-type]
            num_workers=workers,
            collate_fn=partial(_collate_step, views_on=views_on),
            pin_memory=torch.cuda.is_available(),
            persistent_workers=False,
            worker_init_fn=_deaf,
        )
    )
