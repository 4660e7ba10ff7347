"""Networks that correct pseudo labels: trained on a teacher's features before any student, then asked about a table.

What they are taught is a method's own matter (`Method.step` of the method given here); what they answer goes into the
columns refined_label, refined_score, refined_x1 ... refined_y2 of a pseudo-label table.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor, nn

from scantling import boxes as box_ops
from scantling import checkpoint, distributed, log, parts, predict, train
from scantling.augment.views import ViewParams
from scantling.data.by_image import ByImage
from scantling.data.index import XYXY
from scantling.data.loader import Pool
from scantling.mining import polisher
from scantling.pseudo import REFINED_XYXY
from scantling.recipe import TrainingParams

BATCH = 8  # images a forward pass over the table: memory only
LATE = 0.1  # share of the training, its end, that the facts are a mean over

# improve(teacher, features, boxes of each image, sizes) -> better boxes, class probabilities or None, of each image
Improve = Callable[[nn.Module, list[Tensor], list[Tensor], list[tuple[int, int]]], tuple[list[Tensor], Any]]


class _Channels(nn.Module):
    """In the place of a student, of which the networks know nothing but this."""

    def __init__(self, channels: int):
        super().__init__()
        self.channels = channels


def networks_of(
    method: Any,
    teacher: nn.Module,
    pool: Pool,
    views: ViewParams,
    params: TrainingParams,
    *,
    seed: int,
    device: str,
    keep: Path,
    made_by: str,
) -> tuple[nn.ModuleDict, dict[str, float]]:
    """The moving average of the networks of `method` after training on the teacher's features, and the last facts.

    keep: folder of these very inputs; a killed run goes on from its state there, and the networks stay there: other
    thresholds do not train again. made_by: hash of the teacher's weights, written beside the networks.
    """
    done = keep / "polishing.safetensors"
    if not done.is_file():
        student = _Channels(teacher.channels)
        trained = train.run(
            student=student,
            average=copy.deepcopy(student),
            labeler=teacher,
            method=method,
            pool=pool,
            views=views,
            params=params,
            seed=seed,
            device=device,
            work=keep,
            what="polish",
        )
        last = trained.history.tail(max(1, round(LATE * len(trained.history))))
        facts = {name: round(float(last[name].mean()), 6) for name in method.facts if name in last}
        if distributed.is_first():
            checkpoint.save_polishing(done, trained.averages, teacher=made_by, facts=facts)
            checkpoint.drop_states(keep)
        distributed.barrier()
    state, _, facts = checkpoint.load_polishing(done)
    polisher.warn_if_worse(facts)
    networks = nn.ModuleDict(method.modules(_Channels(teacher.channels)))
    networks.load_state_dict(state)
    return networks.eval().requires_grad_(False), facts


def refined(
    improve: Improve,
    teacher: nn.Module,
    pseudo: pd.DataFrame,
    wanted: np.ndarray,
    images: pd.DataFrame,
    root: Path,
    *,
    input: object,
    device: str,
    keep: Path,
) -> pd.DataFrame:
    """The pseudo-label table with what the networks make of the rows `wanted` (N,) bool; the others stay as they are.

    images: index rows; boxes are improved in the teacher's test view. refined_score: the network's confidence in its
    class, 0..1; the teacher's score where no network looked. Goes on after a kill by way of `keep`.
    """
    table = pseudo.assign(refined_label=pseudo["label"], refined_score=pseudo["score"])
    table[REFINED_XYXY] = pseudo[XYXY]
    corners = torch.from_numpy(pseudo[XYXY].to_numpy(np.float32))
    columns: dict[str, np.ndarray] = {}  # those that the networks change
    positions = np.flatnonzero(wanted)
    of_image = ByImage(pseudo["image_id"].to_numpy()[positions])
    seen = images[images["image_id"].isin(of_image.ids)]
    original = seen[["height", "width"]].to_numpy(np.int64)
    teacher = teacher.to(device).eval()

    @torch.inference_mode()
    def tables(chosen: list[range]) -> Iterator[pd.DataFrame]:
        progress = log.Progress("polish", sum(map(len, chosen)), "images")
        for at, batch in zip(chosen, predict.batches(seen, root, input, BATCH, 0, chosen), strict=True):
            batch = batch.to(device)
            rows = [positions[of_image.rows(i)] for i in batch.image_ids]
            given = [corners[r].to(device) for r in rows]
            boxes = [box_ops.transform(*one) for one in zip(given, batch.matrices, batch.sizes, strict=True)]
            better, probabilities = improve(teacher, teacher.features(batch.images, batch.sizes), boxes, batch.sizes)
            back = [torch.linalg.inv(m) for m in batch.matrices]
            limits = [(height, width) for height, width in original[at.start : at.stop].tolist()]
            placed = [box_ops.transform(*one) for one in zip(better, back, limits, strict=True)]
            found = pd.DataFrame(torch.cat(placed).cpu().numpy(), columns=REFINED_XYXY).assign(row=np.concatenate(rows))
            if probabilities is not None:
                confidence, labels = torch.cat(probabilities)[:, :-1].max(1)
                found = found.assign(refined_label=labels.cpu().numpy(), refined_score=confidence.cpu().numpy())
            progress.advance(len(batch))
            yield found

    def gather(made: list[pd.DataFrame]) -> pd.DataFrame:
        return pd.concat(made, ignore_index=True) if made else pd.DataFrame(columns=["row"])

    made = parts.make(parts.batches_of(len(seen), BATCH), keep, tables, gather)
    if not distributed.is_first():  # the first process reads what all have made
        return table
    for answers in made:
        rows = answers["row"].to_numpy(dtype=np.int64)
        for name in answers.columns.drop("row"):
            columns.setdefault(name, table[name].to_numpy(copy=True))[rows] = answers[name]
    return table.assign(**columns)
