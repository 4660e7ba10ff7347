"""A detector over many images: plain view in, boxes in original pixels out."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset

from scantling import agreement, distributed, log, parts, pseudo
from scantling.augment import second_view, views
from scantling.data import images, loader
from scantling.detectors.settings import InputParams
from scantling.pseudo import PseudoLabelParams
from scantling.target import Batch, Detections, Target

DETECTION_COLUMNS = ["image_id", "label", "score", "x1", "y1", "x2", "y2"]

Sample = tuple[Tensor, Tensor, Target]


class _RawDataset(Dataset[list[Sample]]):
    """Each image at the detector's test size, nothing random; `paired`: and its second view.

    Columns stay columns: lists of a million names would be copied by every worker that looks at them.
    """

    def __init__(self, root: Path, table: pd.DataFrame, size: InputParams, paired: bool):
        self.root, self.files, self.ids = root, table["file_name"].array, table["image_id"].to_numpy(np.int64)
        self.view, self.paired = size.view(), paired

    def __len__(self) -> int:
        return len(self.ids)

    def __getitem__(self, position: int) -> list[Sample]:  # type: ignore[override]
        image = images.decode(self.root / self.files[position])
        made = [views.make(image, self.view, views.seeded(0))]
        if self.paired:
            made = list(second_view.pair(image, int(self.ids[position]), self.view))
        return [(*one, Target.empty()) for one in made]


def batches(
    table: pd.DataFrame,
    root: Path,
    input: InputParams,
    batch_size: int,
    workers: int,
    chosen: Sequence[range] | None = None,
) -> Iterator[Batch]:
    """The images of `table` at the detector's test size, in order; or the batches `chosen` by position alone."""
    for (batch,) in _views(table, root, input, batch_size, workers, chosen, paired=False):
        yield batch


def _views(
    table: pd.DataFrame,
    root: Path,
    input: InputParams,
    batch_size: int,
    workers: int,
    chosen: Sequence[range] | None,
    paired: bool,
) -> Iterator[list[Batch]]:
    """`batches`, each alone in a list or with the batch of its second views."""
    dataset = _RawDataset(root, table, input, paired)
    wanted = parts.batches_of(len(table), batch_size) if chosen is None else chosen
    loaded = DataLoader(
        dataset, batch_sampler=wanted, num_workers=workers, collate_fn=lambda samples: samples  # type: ignore[arg-type]
    )  # fmt: skip
    for rows, samples in zip(wanted, loaded, strict=True):
        ids = dataset.ids[rows.start : rows.stop].tolist()
        yield [loader.collate(list(one), ids) for one in zip(*samples, strict=True)]


Found = tuple[list[Detections], list[Tensor]]
Label = Callable[[list[Tensor], Batch, dict[str, Any]], Found]
Tables = Callable[[list[range]], Iterator[pd.DataFrame]]


def _tables(
    label: Label,
    detector: nn.Module,
    table: pd.DataFrame,
    root: Path,
    input: InputParams,
    batch_size: int,
    workers: int,
    device: str,
    what: str,
) -> Tables:
    """What makes the table of each of the batches it is given, one batch in memory at a time."""
    sizes = table[["height", "width"]].to_numpy(np.int64)
    detector = detector.to(device).eval()
    paired, workers = getattr(detector, "second_view_at_test", False), loader.workers(workers)

    @torch.inference_mode()
    def tables(chosen: list[range]) -> Iterator[pd.DataFrame]:
        progress = log.Progress(what, sum(map(len, chosen)), "images")
        seen = _views(table, root, input, batch_size, workers, chosen, paired)
        for rows, views_of in zip(chosen, seen, strict=True):
            batch, *others = [one.to(device) for one in views_of]
            features, *second = [detector.features(one.images, one.sizes) for one in (batch, *others)]
            found, spreads = label(features, batch, {"others": second[0]} if second else {})
            progress.advance(len(batch), f"boxes {sum(map(len, found)) / len(batch):.1f}/image")
            original = [(height, width) for height, width in sizes[rows.start : rows.stop].tolist()]
            yield pseudo.gather([pseudo.rows(batch, found, spreads, original)])

    return tables


def _sorted(table: pd.DataFrame) -> pd.DataFrame:
    """By image id, so that parts one after the other are in the order of the table that they make."""
    return table if table["image_id"].is_monotonic_increasing else table.sort_values("image_id", kind="stable")


def detection_parts(
    detector: nn.Module,
    table: pd.DataFrame,
    root: Path,
    *,
    input: InputParams,
    batch_size: int,
    workers: int,
    score_threshold: float,
    nms_iou: float | None,
    limit: int,
    device: str,
    keep: Path,
) -> parts.Parts:
    """Detections of the images in `table` (image_id, file_name, width, height), in parts: no process holds them all.

    Their columns are DETECTION_COLUMNS and those of a pseudo-label table. `input` is the detector's own and says how
    images are resized; boxes are in original pixels. `keep`: a folder for what is done, from which a killed run goes on
    and through which processes share the work.
    """
    table = _sorted(table)
    label = _plain(detector, score_threshold, nms_iou, limit)
    tables = _tables(label, detector, table, root, input, batch_size, workers, device, "detect")
    return parts.make(parts.batches_of(len(table), batch_size), keep, tables, pseudo.gather)


def _plain(detector: nn.Module, score_threshold: float, nms_iou: float | None, limit: int) -> Label:
    """What is found, without box spread."""

    def label(features: list[Tensor], batch: Batch, more: dict[str, Any]) -> Found:
        asked = {"score_threshold": score_threshold, "nms_iou": nms_iou, "limit": limit}
        found = detector.detect(features, batch.sizes, **asked, **more)
        return found, [torch.full_like(one.scores, float("nan")) for one in found]

    return label


def pseudo_labels(
    detector: nn.Module,
    table: pd.DataFrame,
    root: Path,
    *,
    input: InputParams,
    params: PseudoLabelParams,
    device: str,
    keep: Path | None = None,
) -> pd.DataFrame:
    """The pseudo-label table of a teacher over the images in `table`, box spread included.

    keep: as of `detection_parts`; without it a killed run begins anew.
    """
    table = _sorted(table)
    batches = parts.batches_of(len(table), params.batch_size)
    tables = _labels(detector, table, root, input, params, device)
    if keep is None:
        return pseudo.gather(list(tables(batches)))
    made = parts.make(batches, keep, tables, pseudo.gather)
    return pseudo.gather(list(made) if distributed.is_first() else [])


def pseudo_parts(
    detector: nn.Module,
    table: pd.DataFrame,
    root: Path,
    *,
    input: InputParams,
    params: PseudoLabelParams,
    device: str,
    keep: Path,
) -> parts.Parts:
    """`pseudo_labels` as its parts, for tables that no process should hold as a whole."""
    table = _sorted(table)
    tables = _labels(detector, table, root, input, params, device)
    return parts.make(parts.batches_of(len(table), params.batch_size), keep, tables, pseudo.gather)


def _labels(
    detector: nn.Module, table: pd.DataFrame, root: Path, input: InputParams, params: PseudoLabelParams, device: str
) -> Tables:
    p = params
    asked = {"score_threshold": p.score_floor, "nms_iou": p.nms_iou, "limit": p.limit, "labeling": True}

    def label(features: list[Tensor], batch: Batch, more: dict[str, Any]) -> Found:
        found = detector.detect(features, batch.sizes, **asked, **more)
        if p.jitter_times < 2:
            return found, [torch.full_like(one.scores, float("nan")) for one in found]
        if not detector.has_background:  # no head that refines given boxes
            limits = {"score_floor": p.score_floor, "score_above": p.spread_from}
            return found, agreement.cluster_spread(detector, features, found, batch.sizes, **limits)
        spreads = pseudo.box_spread(
            detector,
            features,
            found,
            batch.sizes,
            times=p.jitter_times,
            fraction=p.jitter_fraction,
            score_above=p.spread_from,
            generators=pseudo.image_generators(p.seed, batch.image_ids),
        )
        return found, spreads

    return _tables(label, detector, table, root, input, p.batch_size, p.workers, device, "label")
