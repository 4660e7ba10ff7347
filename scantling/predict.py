"""A detector over many images: plain view in, boxes in original pixels out."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset

from scantling import agreement, log, parts, pseudo
from scantling.augment import second_view, views
from scantling.data import images
from scantling.data.loader import collate
from scantling.detectors.settings import InputParams
from scantling.pseudo import PseudoLabelParams
from scantling.target import Batch, Detections, Target

DETECTION_COLUMNS = ["image_id", "label", "score", "x1", "y1", "x2", "y2"]


Sample = tuple[Tensor, Tensor, Target]


class _RawDataset(Dataset[list[Sample]]):
    """Each image at the detector's test size, nothing random; `paired`: and its second view."""

    def __init__(self, root: Path, table: pd.DataFrame, size: InputParams, paired: bool):
        self.root, self.files, self.ids = root, table["file_name"].tolist(), table["image_id"].astype(int).tolist()
        sides = {"short_px": (size.short_px, size.short_px), "long_px": size.long_px}
        self.view = views.View.model_validate(sides if size.exact_px is None else {"exact_px": size.exact_px})
        self.paired = paired

    def __len__(self) -> int:
        return len(self.files)

    def __getitem__(self, position: int) -> list[Sample]:  # type: ignore[override]
        image = images.decode(self.root / self.files[position])
        made = [views.make(image, self.view, views.seeded(0))]
        if self.paired:
            made = list(second_view.pair(image, self.ids[position], self.view))
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
    loader = DataLoader(
        dataset, batch_sampler=[list(b) for b in wanted], num_workers=workers, collate_fn=lambda samples: samples
    )
    for rows, samples in zip(wanted, loader, strict=True):
        yield [collate(list(one), [dataset.ids[row] for row in rows]) for one in zip(*samples, strict=True)]


Found = tuple[list[Detections], list[Tensor]]


def _run(
    label: Callable[[list[Tensor], Batch, dict[str, Any]], Found],
    detector: nn.Module,
    table: pd.DataFrame,
    root: Path,
    input: InputParams,
    batch_size: int,
    workers: int,
    device: str,
    what: str,
    keep: Path | None,
) -> pd.DataFrame:
    sizes = zip(table["height"], table["width"], strict=True)
    original = {int(i): (int(h), int(w)) for i, (h, w) in zip(table["image_id"], sizes, strict=True)}
    detector = detector.to(device).eval()
    paired = getattr(detector, "second_view_at_test", False)

    @torch.inference_mode()
    def tables(chosen: list[range]) -> Iterator[pd.DataFrame]:
        progress = log.Progress(what, sum(map(len, chosen)), "images")
        for seen in _views(table, root, input, batch_size, workers, chosen, paired):
            batch, *others = [one.to(device) for one in seen]
            features, *second = [detector.features(one.images, one.sizes) for one in (batch, *others)]
            found, spreads = label(features, batch, {"others": second[0]} if second else {})
            progress.advance(len(batch), f"boxes {sum(map(len, found)) / len(batch):.1f}/image")
            yield pseudo.gather(
                [
                    pseudo.rows(image_id, found[i], spreads[i], torch.linalg.inv(batch.matrices[i]), original[image_id])
                    for i, image_id in enumerate(batch.image_ids)
                ]
            )

    wanted = parts.batches_of(len(table), batch_size)
    return pseudo.gather(list(tables(wanted))) if keep is None else parts.make(wanted, keep, tables, pseudo.gather)


def predict(
    detector: nn.Module,
    table: pd.DataFrame,
    root: Path,
    *,
    input: InputParams,
    batch_size: int,
    workers: int,
    score_threshold: float,
    nms_iou: float,
    limit: int,
    device: str,
    keep: Path | None = None,
) -> pd.DataFrame:
    """Detections of the images in `table` (image_id, file_name, width, height): image_id, label, score, x1..y2.

    `input` is the detector's test size (short_px, long_px); boxes are in original pixels. `keep`: a folder for what is
    done, from which a killed run goes on and through which several processes share the work; None: neither.
    """

    asked = {"score_threshold": score_threshold, "nms_iou": nms_iou, "limit": limit}

    def label(features: list[Tensor], batch: Batch, more: dict[str, Any]) -> Found:
        found = detector.detect(features, batch.sizes, **asked, **more)
        return found, [torch.full_like(one.scores, float("nan")) for one in found]

    made = _run(label, detector, table, root, input, batch_size, workers, device, "detect", keep)
    return made[DETECTION_COLUMNS]


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
    """The pseudo-label table of a teacher over the images in `table`, box spread included. `keep`: see `predict`."""

    p = params
    asked = {"score_threshold": p.score_floor, "nms_iou": p.nms_iou, "limit": p.limit}

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

    return _run(label, detector, table, root, input, params.batch_size, params.workers, device, "label", keep)
