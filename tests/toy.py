"""A data set of a few pixels: bright squares (class 0) and dark bars (class 1) on gray, as files."""

from pathlib import Path

import numpy as np
import pandas as pd
import torch
from torchvision.io import write_png

from scantling import detectors
from scantling.augment.views import ViewParams
from scantling.data.loader import Pool
from scantling.train import TrainingParams

ROOT = Path(__file__).parents[1]
VIEWS = ViewParams.model_validate(
    {
        "labeled": {"short_px": [64, 64], "long_px": 96, "flip_horizontal": 0.5},
        "weak": {"short_px": [64, 64], "long_px": 96, "flip_horizontal": 0.5},
        "raw": {"short_px": [64, 64], "long_px": 96},
        "strong": {
            "short_px": [56, 64],
            "long_px": 96,
            "flip_horizontal": 0.5,
            "color": {},
            "geometric": {"probability": 0.5, "translate": 0.1, "rotate_degrees": 20, "shear_degrees": 10},
            "erase": {"count": [0, 2], "side": [0, 0.2]},
        },
    }
)


def training(steps: int, **changes: object) -> TrainingParams:
    values: dict[str, object] = {
        "steps": steps,
        "labeled_per_step": 2,
        "unlabeled_per_step": 2,
        "optimizer": {"name": "adamw", "learning_rate": 1e-3},
        "ema": {"decay": 0.9, "start": "copy"},
        "clip_norm": 10.0,
        "checkpoint_every_steps": 2,
        "log_every_steps": 1,
        "rehearse": False,
    }
    return TrainingParams.model_validate(values | changes)


def detector_params(name: str) -> detectors.DetectorParams:
    """A committed parameter file, its input and proposal counts cut to toy size."""
    content = detectors.DetectorParams.load(ROOT / f"params/detectors/{name}.yaml").resolved()
    content["input"] = {"short_px": 64, "long_px": 96}
    content["backbone"]["weights"] = None
    if "rpn" in content:
        content["rpn"] |= {"train": {"per_level": 50, "per_image": 30}, "test": {"per_level": 50, "per_image": 30}}
        content["roi"]["sampled"] = 16
    return detectors.DetectorParams.of(content, name)


def detector(name: str, classes: tuple[str, ...] = ("square", "bar"), seed: int = 0) -> torch.nn.Module:
    torch.manual_seed(seed)
    return detectors.build(detector_params(name), classes, pretrained=False)


def tables(folder: Path, labeled: int = 4, unlabeled: int = 4) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Images on disk, their index rows, and a split with two boxes in each labeled image but the last."""
    rng = np.random.default_rng(0)
    images, split = [], []
    for i in range(labeled + unlabeled):
        pixels = rng.integers(90, 130, (3, 64, 80), dtype=np.uint8)
        x, y = int(rng.integers(2, 20)), int(rng.integers(2, 30))
        boxes = [(0, x, y, x + 24, y + 24), (1, x + 30, y, x + 50, y + 12)]
        for label, x1, y1, x2, y2 in boxes:
            pixels[:, y1:y2, x1:x2] = 240 if label == 0 else 10
        write_png(torch.from_numpy(pixels), str(folder / f"{i}.png"))
        images.append({"image_id": i, "file_name": f"{i}.png", "width": 80, "height": 64})
        kept = boxes if i < labeled - 1 or i == 0 else []
        rows = [
            {"box_id": 2 * i + k, "label": box[0], **dict(zip(("x1", "y1", "x2", "y2"), box[1:], strict=True))}
            for k, box in enumerate(kept if i < labeled else [])
        ] or [{"box_id": -1, "label": -1, "x1": np.nan, "y1": np.nan, "x2": np.nan, "y2": np.nan}]
        split += [{"image_id": i, "labeled": i < labeled, **row} for row in rows]
    return pd.DataFrame(images), pd.DataFrame(split)


def pool(folder: Path, labeled: int = 4, unlabeled: int = 4, keep_empty: bool = True) -> Pool:
    return Pool.of(folder, *tables(folder, labeled, unlabeled), keep_empty=keep_empty)
