"""Small detectors that have learned the toy squares and bars: what they find is clear, not a matter of rounding."""

from __future__ import annotations

import functools
import tempfile
from pathlib import Path

import torch
from torch import Tensor

from scantling.data.images import decode
from scantling.target import Target
from scantling.trained import TrainedDetector
from tests import tiny, toy

STEPS = 60


def scenes(folder: Path) -> list[tuple[Path, Target]]:
    """Picture files of 80 x 64 pixels, a square and a bar in each, and where they are."""
    images, split = toy.tables(folder, labeled=7, unlabeled=0)
    made = []
    for image_id, name in zip(images["image_id"], images["file_name"], strict=True):
        rows = split[(split["image_id"] == image_id) & (split["box_id"] >= 0)]
        boxes = torch.tensor(rows[["x1", "y1", "x2", "y2"]].to_numpy(), dtype=torch.float32)
        made.append((folder / name, Target.of(boxes, torch.tensor(rows["label"].to_numpy()), seed=int(image_id))))
    return made[:-1]  # the last one is said to be empty and is not


@functools.cache
def detector(architecture: str) -> TrainedDetector:
    """Of an architecture on a trunk of three convolutions; the same for all tests of a process, not to be changed."""
    model = tiny.detector(architecture).train()
    with tempfile.TemporaryDirectory() as folder:
        seen = [(decode(file), target) for file, target in scenes(Path(folder))]
    images, targets = torch.stack([image for image, _ in seen]), [target for _, target in seen]
    sizes = [(64, 80)] * len(seen)
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)
    for _ in range(STEPS):
        losses: dict[str, Tensor] = model.losses(model.features(images, sizes), targets, sizes)
        optimizer.zero_grad()
        torch.stack(list(losses.values())).sum().backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 10.0)
        optimizer.step()
    return TrainedDetector(model.eval(), tiny.params(architecture), "cpu")
