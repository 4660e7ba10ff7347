"""Color operations on (3, H, W) uint8 RGB images; none of them moves a pixel.

The nine operations and magnitudes of the one-of pool are Soft Teacher's (section 5, golden rand_aug_magnitudes).
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor
from torchvision.transforms.v2 import functional as tv

OPERATIONS = (
    "identity", "auto_contrast", "equalize", "solarize", "color", "contrast", "brightness", "sharpness", "posterize",
)  # fmt: skip


def solarize_threshold(magnitude: int) -> int:
    return min(int(25.6 * magnitude), 255)


def enhance_factor(magnitude: int) -> float:
    return 0.18 * magnitude + 0.1


def posterize_bits(magnitude: int) -> int:
    return 4 - int(0.4 * magnitude)


def apply(image: Tensor, operation: str, magnitude: int) -> Tensor:
    """One operation of the pool at integer `magnitude` 1..9."""
    match operation:
        case "identity":
            return image
        case "auto_contrast":
            return tv.autocontrast(image)
        case "equalize":
            return tv.equalize(image)
        case "solarize":
            return tv.solarize(image, solarize_threshold(magnitude))
        case "color":
            return tv.adjust_saturation(image, enhance_factor(magnitude))
        case "contrast":
            return tv.adjust_contrast(image, enhance_factor(magnitude))
        case "brightness":
            return tv.adjust_brightness(image, enhance_factor(magnitude))
        case "sharpness":
            return tv.adjust_sharpness(image, enhance_factor(magnitude))
        case "posterize":
            return tv.posterize(image, posterize_bits(magnitude))
    raise ValueError(f"no color operation {operation!r}; there are {', '.join(OPERATIONS)}")


def one_of(image: Tensor, rng: np.random.Generator) -> Tensor:
    """One of the nine operations, each with probability 1/9, magnitude uniform on 1..9."""
    operation = OPERATIONS[rng.integers(len(OPERATIONS))]
    return apply(image, operation, int(rng.integers(1, 10)))


def jitter(
    image: Tensor, rng: np.random.Generator, brightness: float, contrast: float, saturation: float, hue: float
) -> Tensor:
    """Factors uniform on 1 +- amount (hue: a shift in turns), in random order. Co-mining section 3."""
    draw = {
        tv.adjust_brightness: rng.uniform(max(0, 1 - brightness), 1 + brightness),
        tv.adjust_contrast: rng.uniform(max(0, 1 - contrast), 1 + contrast),
        tv.adjust_saturation: rng.uniform(max(0, 1 - saturation), 1 + saturation),
        tv.adjust_hue: rng.uniform(-hue, hue),
    }
    active = [amount > 0 for amount in (brightness, contrast, saturation, hue)]
    for position in rng.permutation(4):
        adjust = list(draw)[position]
        if active[position]:
            image = adjust(image, float(draw[adjust]))
    return image


def blur(image: Tensor, sigma_px: float) -> Tensor:
    """Gaussian blur of standard deviation `sigma_px`."""
    return tv.gaussian_blur(image, [2 * int(2 * sigma_px + 0.5) + 1] * 2, [sigma_px, sigma_px])


def gray(image: Tensor) -> Tensor:
    return tv.rgb_to_grayscale(image, num_output_channels=3)


def erase(image: Tensor, rng: np.random.Generator, count: int, side: tuple[float, float], fill: int) -> Tensor:
    """`count` rectangles filled with `fill`; both sides uniform fractions of the image's. Boxes are not removed."""
    image = image.clone()
    _, height, width = image.shape
    for _ in range(count):
        h, w = int(rng.uniform(*side) * height), int(rng.uniform(*side) * width)
        y, x = int(rng.integers(0, height - h + 1)), int(rng.integers(0, width - w + 1))
        image[:, y : y + h, x : x + w] = torch.tensor(fill, dtype=torch.uint8)
    return image
