"""A detector over many images: plain view in, boxes in original pixels out."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pandas as pd
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset

from scantling import agreement, log, parts, pseudo
from scantling.augment import views
from scantling.data import images
from scantling.data.loader import collate
from scantling.detectors.settings import InputParams
from scantling.pseudo import PseudoLabelParams
from scantling.target import Batch, Detections, Target

DETECTION_COLUMNS = ["image_id", "label", "score", "x1", "y1", "x2", "y2"]


class _RawDataset(Dataset[tuple[Tensor, Tensor, Target]]):
    """Each image at the detector's test size, nothing random."""

    def __init__(self, root: Path, files: Sequence[str], size: InputParams):
        self.root, self.files = root, list(files)
        sides = {"short_px": (size.short_px, size.short_px), "long_px": size.long_px}
        self.view = views.View.model_validate(sides if size.exact_px is None else {"exact_px": size.exact_px})

    def __len__(self) -> int:
        return len(self.files)

    def __getitem__(self, position: int) -> tuple[Tensor, Tensor, Target]:  # type: ignore[override]
        image = images.decode(self.root / self.files[position])
        return *views.make(image, self.view, views.seeded(0)), Target.empty()


def batches(
    table: pd.DataFrame,
    root: Path,
    input: InputParams,
    batch_size: int,
    workers: int,
    chosen: Sequence[range] | None = None,
) -> Iterator[Batch]:
    """The images of `table` at the detector's test size, in order; or the batches `chosen` by position alone."""
    dataset = _RawDataset(root, table["file_name"].tolist(), input)
    wanted = parts.batches_of(len(table), batch_size) if chosen is None else chosen
    loader = DataLoader(
        dataset, batch_sampler=[list(b) for b in wanted], num_workers=workers, collate_fn=lambda samples: samples
    )
    ids = table["image_id"].astype(int).tolist()
    for rows, samples in zip(wanted, loader, strict=True):
        yield collate(samples, [ids[row] for row in rows])


Found = tuple[list[Detections], list[Tensor]]


def _run(
    label: Callable[[list[Tensor], Batch], Found],
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

    @torch.inference_mode()
    def tables(chosen: list[range]) -> Iterator[pd.DataFrame]:
        progress = log.Progress(what, sum(map(len, chosen)), "images")
        for batch in batches(table, root, input, batch_size, workers, chosen):
            batch = batch.to(device)
            found, spreads = label(detector.features(batch.images, batch.sizes), batch)
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

    def label(features: list[Tensor], batch: Batch) -> Found:
        found = detector.detect(features, batch.sizes, score_threshold=score_threshold, nms_iou=nms_iou, limit=limit)
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

    def label(features: list[Tensor], batch: Batch) -> Found:
        p = params
        found = detector.detect(features, batch.sizes, score_threshold=p.score_floor, nms_iou=p.nms_iou, limit=p.limit)
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
