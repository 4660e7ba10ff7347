"""The embedded data set: handwritten digits of scikit-learn pasted on crops of its two photographs. No download.

Every scene is drawn from its own generator, seeded by (seed, subset, number of the scene): the bytes of a scene do
not depend on the other scenes, on their number or on the order of drawing. A handwritten digit (one of 1,797, 8 x 8
pixels) occurs in one subset only. Arrays: scene (S, S, 3) float32 0..255, ink (h, w) float32 0..1.
"""

from __future__ import annotations

import colorsys
import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import numpy as np
from PIL import Image
from pydantic import Field, model_validator

from scantling.params import Params

NAMES = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
SUBSETS = ("train", "val", "test")
INK_BORDER = 0.35  # ink above this belongs to the digit: its extent is the box
Pair = tuple[float, float]


class DigitsParams(Params):
    """Knobs of the scenes; units and reasons stand in params/generate/digits.yaml."""

    seed: int = Field(ge=0)
    image_px: int = Field(ge=64, le=1024)
    scenes: dict[str, int]
    classes: tuple[int, ...] = Field(min_length=1, max_length=10)
    imbalance: float = Field(ge=1, le=1000)
    digits_per_scene: tuple[int, int]
    digit_px: tuple[int, int]
    max_overlap_iou: float = Field(ge=0, le=1)
    contrast: Pair
    rotation_degrees: float = Field(ge=0, le=180)
    blur_px: float = Field(ge=0, le=5)
    noise: float = Field(ge=0, le=100)
    clutter: tuple[int, int]
    unlabeled_share: float = Field(ge=0, lt=1)
    jpeg_quality: int = Field(ge=50, le=100)

    @model_validator(mode="after")
    def _ranges(self) -> Self:
        for name in ("digits_per_scene", "digit_px", "contrast", "clutter"):
            low, high = getattr(self, name)
            if not 0 <= low <= high:
                raise ValueError(f"`{name}` = [{low}, {high}] must be two ascending numbers from 0 on")
        if self.digit_px[0] < 8 or self.digit_px[1] > self.image_px // 2:
            raise ValueError(f"`digit_px` = {list(self.digit_px)} must lie within 8 and half of `image_px`")
        if set(self.scenes) != set(SUBSETS) or min(self.scenes.values()) < 1:
            raise ValueError(f"`scenes` must give a number from 1 on for each of {', '.join(SUBSETS)}")
        if len(set(self.classes)) != len(self.classes) or not set(self.classes) <= set(range(10)):
            raise ValueError(f"`classes` = {list(self.classes)} must be different digits 0 to 9")
        return self


@dataclass(frozen=True)
class Material:
    """What scenes are made of. photographs: (H, W, 3) uint8; ink: digit -> (N, 8, 8) float32 0..1 of one subset."""

    photographs: tuple[np.ndarray, ...]
    ink: dict[int, np.ndarray]


def material(subset: str, seed: int) -> Material:
    """The photographs, and this subset's share of the handwritten digits: 60 % train, 15 % val, 25 % test."""
    from sklearn.datasets import load_digits, load_sample_image

    found = load_digits()
    chance = np.random.default_rng(seed).random(len(found.target))
    low, high = {"train": (0.0, 0.6), "val": (0.6, 0.75), "test": (0.75, 1.0)}[subset]
    mine = (chance >= low) & (chance < high)
    ink = {digit: (found.images[mine & (found.target == digit)] / 16).astype("float32") for digit in range(10)}
    return Material(tuple(load_sample_image(name) for name in ("china.jpg", "flower.jpg")), ink)


def write(params: DigitsParams, folder: Path) -> None:
    """Write images/ and annotations/ in COCO form; the boxes of the unlabeled share are not written."""
    (folder / "images").mkdir(parents=True)
    (folder / "annotations").mkdir()
    unlabeled: list[dict[str, Any]] = []
    next_image, next_box = 1, 1
    for subset in SUBSETS:
        stock = material(subset, params.seed)
        images, boxes = [], []
        count = params.scenes[subset]
        bare = round(count * params.unlabeled_share) if subset == "train" else 0
        for number in range(count):
            pixels, labels, corners = scene(params, stock, subset, number)
            name = f"{subset}_{number:05d}.jpg"
            Image.fromarray(pixels).save(
                folder / "images" / name, quality=params.jpeg_quality, subsampling=0, optimize=False
            )
            entry = {"id": next_image, "file_name": name, "width": params.image_px, "height": params.image_px}
            next_image += 1
            if number >= count - bare:
                unlabeled.append(entry)
                continue
            images.append(entry)
            for label, (x1, y1, x2, y2) in zip(labels, corners.tolist(), strict=True):
                box = {"id": next_box, "image_id": entry["id"], "category_id": label + 1, "iscrowd": 0}
                boxes.append(box | {"bbox": [x1, y1, x2 - x1, y2 - y1], "area": (x2 - x1) * (y2 - y1)})
                next_box += 1
        _write_json(folder / "annotations" / f"instances_{subset}.json", params, images, boxes)
    _write_json(folder / "annotations" / "images_unlabeled.json", params, unlabeled, [])


def scene(params: DigitsParams, stock: Material, subset: str, number: int) -> tuple[np.ndarray, list[int], np.ndarray]:
    """One scene: pixels (S, S, 3) uint8, labels (indices into params.classes), boxes (N, 4) int64 xyxy."""
    seed = hashlib.sha256(f"{params.seed}|{subset}|{number}".encode()).digest()
    random = np.random.default_rng(int.from_bytes(seed))
    canvas = _background(params, stock.photographs, random)
    shares = params.imbalance ** -np.linspace(0, 1, len(params.classes)) if len(params.classes) > 1 else np.ones(1)
    taken = np.zeros((0, 4), dtype=np.int64)

    for _ in range(random.integers(params.clutter[0], params.clutter[1] + 1)):
        ink = _distractor(params, stock, random)
        _paste(canvas, ink, _place(ink.shape, params.image_px, random), params, random)

    labels: list[int] = []
    for _ in range(random.integers(params.digits_per_scene[0], params.digits_per_scene[1] + 1)):
        label = int(random.choice(len(shares), p=shares / shares.sum()))
        drawings = stock.ink[params.classes[label]]
        ink = _drawn(drawings[random.integers(len(drawings))], params, random)
        for _ in range(20):  # a scene without room for the digit has one less
            box = _place(ink.shape, params.image_px, random)
            if _largest_iou(box, taken) <= params.max_overlap_iou:
                _paste(canvas, ink, box, params, random)
                taken = np.vstack([taken, box])
                labels.append(label)
                break

    canvas += random.normal(0, params.noise, canvas.shape) if params.noise else 0
    return np.clip(np.rint(canvas), 0, 255).astype(np.uint8), labels, taken


def _background(params: DigitsParams, photographs: tuple[np.ndarray, ...], random: np.random.Generator) -> np.ndarray:
    """A square crop of a photograph, 0.4 to 1 times its height, mirrored by chance, with another brightness."""
    photograph = photographs[random.integers(len(photographs))]
    height, width = photograph.shape[:2]
    side = int(random.uniform(0.4, 1.0) * height)
    top, left = random.integers(height - side + 1), random.integers(width - side + 1)
    crop = Image.fromarray(photograph[top : top + side, left : left + side])
    pixels = np.asarray(crop.resize((params.image_px, params.image_px), Image.Resampling.BILINEAR), dtype=np.float32)
    pixels = pixels[:, ::-1] if random.random() < 0.5 else pixels
    return pixels * random.uniform(0.6, 1.2, 3).astype(np.float32)


def _drawn(drawing: np.ndarray, params: DigitsParams, random: np.random.Generator) -> np.ndarray:
    """Ink (h, w) of one digit, enlarged, turned, cut to what is inked; its longer side is within digit_px."""
    low, high = params.digit_px
    wanted = round(float(np.exp(random.uniform(np.log(low), np.log(high)))))  # as many small as large, by ratio
    large = Image.fromarray(np.pad(drawing, 3)).resize((112, 112), Image.Resampling.BICUBIC)
    turned = large.rotate(random.uniform(-1, 1) * params.rotation_degrees, Image.Resampling.BICUBIC)
    # a steep ramp instead of the soft enlargement: strokes with an edge, thicker or thinner by chance
    sharp = np.clip((np.asarray(turned) - random.uniform(0.25, 0.5)) * 4 + 0.5, 0, 1)
    rows, columns = np.flatnonzero(sharp.max(1) > INK_BORDER), np.flatnonzero(sharp.max(0) > INK_BORDER)
    cut = sharp[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
    scale = wanted / max(cut.shape)
    small = Image.fromarray(cut).resize(
        (max(4, round(cut.shape[1] * scale)), max(4, round(cut.shape[0] * scale))), Image.Resampling.BOX
    )
    return np.asarray(small)


def _distractor(params: DigitsParams, stock: Material, random: np.random.Generator) -> np.ndarray:
    """Ink that is no object: half of a digit, of a digit outside the classes where there is one."""
    others = [d for d in range(10) if d not in params.classes] or list(range(10))
    drawings = stock.ink[others[random.integers(len(others))]]
    ink = _drawn(drawings[random.integers(len(drawings))], params, random)
    height, width = ink.shape
    halves = (ink[: height // 2], ink[height // 2 :], ink[:, : width // 2], ink[:, width // 2 :])
    return halves[random.integers(4)]


def _place(shape: tuple[int, ...], image_px: int, random: np.random.Generator) -> np.ndarray:
    """A box (4,) of this (height, width) somewhere within the image."""
    x, y = random.integers(image_px - shape[1] + 1), random.integers(image_px - shape[0] + 1)
    return np.array([x, y, x + shape[1], y + shape[0]], dtype=np.int64)


def _paste(
    canvas: np.ndarray, ink: np.ndarray, box: np.ndarray, params: DigitsParams, random: np.random.Generator
) -> None:
    """Draw ink into the box, in place, in a color that differs from the mean of what lies below by the contrast."""
    x1, y1, x2, y2 = box
    below = canvas[y1:y2, x1:x2]
    mean = below.mean((0, 1))
    step = random.uniform(*params.contrast) * 255
    # to either side by chance, unless there is no room on that side
    brighter = mean.mean() + step < 255 if random.random() < 0.5 else mean.mean() - step < 0
    hue = np.array(colorsys.hsv_to_rgb(random.random(), random.uniform(0, 0.8), 1.0)) - 0.5
    color = np.clip(mean.mean() + (step if brighter else -step) + 90 * hue, 0, 255)
    alpha = _blurred(ink, random.uniform(0, params.blur_px)) * random.uniform(0.75, 1.0)
    canvas[y1:y2, x1:x2] = below + alpha[..., None] * (color.astype(np.float32) - below)


def _blurred(ink: np.ndarray, sigma: float) -> np.ndarray:
    """Gaussian blur within the box of the ink, sigma in pixels."""
    if sigma < 0.1:
        return ink
    reach = np.arange(-round(3 * sigma + 0.5), round(3 * sigma + 0.5) + 1)
    kernel = np.exp(-0.5 * (reach / sigma) ** 2)
    kernel /= kernel.sum()
    for axis in (0, 1):
        ink = np.apply_along_axis(lambda line: np.convolve(line, kernel, mode="full"), axis, ink)
        cut = [slice(None), slice(None)]
        cut[axis] = slice(len(reach) // 2, ink.shape[axis] - len(reach) // 2)
        ink = ink[tuple(cut)]
    return ink.astype(np.float32)


def _largest_iou(box: np.ndarray, others: np.ndarray) -> float:
    if not len(others):
        return 0.0
    overlap = np.minimum(box[2:], others[:, 2:]) - np.maximum(box[:2], others[:, :2])
    shared = np.clip(overlap, 0, None).prod(1)
    areas = (others[:, 2:] - others[:, :2]).prod(1)
    return float((shared / ((box[2:] - box[:2]).prod() + areas - shared)).max())


def _write_json(file: Path, params: DigitsParams, images: list[dict[str, Any]], boxes: list[dict[str, Any]]) -> None:
    categories = [{"id": i + 1, "name": NAMES[d], "supercategory": "digit"} for i, d in enumerate(params.classes)]
    content = {"images": images, "annotations": boxes, "categories": categories}
    file.write_text(json.dumps(content, separators=(",", ":")) + "\n")
