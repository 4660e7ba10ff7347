"""Color operations on (3, H, W) uint8 RGB images; none of them moves a pixel.

Pillow's definitions, which the published recipes use (Soft Teacher section 5). Operations that map gray levels alone
are tables, shared by the CPU and the device path; the others mix pixels or channels.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image, ImageEnhance, ImageFilter
from torch import Tensor

Table = NDArray[np.uint8]  # (3, 256): the new gray level of each channel's old one
Histogram = NDArray[np.int64]  # (4, 256): pixels by gray level of R, G, B and luma

_LEVELS = np.arange(256)
_SAME: Table = np.tile(_LEVELS.astype(np.uint8), (3, 1))


def blend_table(constant: float, factor: float) -> Table:
    """`constant` at factor 0, the image at 1, beyond it above; in single precision and cut off, as Pillow blends."""
    low = np.float32(constant)
    mixed = low + np.float32(factor) * (_LEVELS.astype(np.float32) - low)
    return np.tile(mixed.clip(0, 255).astype(np.uint8), (3, 1))


def brightness(histogram: Histogram | None, factor: float) -> Table:
    return blend_table(0, factor)


def contrast(histogram: Histogram, factor: float) -> Table:
    """Around the mean luma, rounded."""
    luma = histogram[3]
    return blend_table(int((luma * _LEVELS).sum() / luma.sum() + 0.5), factor)


def auto_contrast(histogram: Histogram) -> Table:
    """Each channel stretched to 0..255."""
    table = _SAME.copy()
    for channel in range(3):
        seen = histogram[channel].nonzero()[0]
        low, high = int(seen[0]), int(seen[-1])
        if high > low:
            stretch = 255.0 / (high - low)
            table[channel] = (_LEVELS * stretch - low * stretch).clip(0, 255).astype(np.uint8)
    return table


def equalize(histogram: Histogram) -> Table:
    """Each channel's gray levels spread to equal counts."""
    table = _SAME.copy()
    for channel in range(3):
        counts = histogram[channel]
        seen = counts[counts > 0]
        step = int(seen.sum() - seen[-1]) // 255
        if len(seen) > 1 and step > 0:
            below = np.concatenate([[0], counts.cumsum()[:-1]])
            table[channel] = np.minimum((step // 2 + below) // step, 255)
    return table


def solarize(histogram: Histogram | None, threshold: float) -> Table:
    """Gray levels from `threshold` on inverted."""
    return np.where(_LEVELS < threshold, _SAME, 255 - _SAME)


def posterize(histogram: Histogram | None, bits: float) -> Table:
    """The upper `bits` kept."""
    return _SAME & np.uint8(256 - 2 ** (8 - int(bits)))


def lighting(histogram: Histogram | None, red: float, green: float, blue: float) -> Table:
    """A constant added to each channel, rounded."""
    return (_LEVELS + np.array([[red], [green], [blue]]) + 0.5).clip(0, 255).astype(np.uint8)


TABLES: dict[str, Callable[..., Table]] = {
    f.__name__: f for f in (brightness, contrast, auto_contrast, equalize, solarize, posterize, lighting)
}
NEEDS_HISTOGRAM = {"contrast", "auto_contrast", "equalize"}


def color(image: Image.Image, factor: float) -> Image.Image:
    return ImageEnhance.Color(image).enhance(factor)


def sharpness(image: Image.Image, factor: float) -> Image.Image:
    return ImageEnhance.Sharpness(image).enhance(factor)


def hue_shift(turns: float) -> int:
    """Steps of Pillow's 8-bit hue, as torchvision counts them: towards zero."""
    return int(255 * turns)


def hue(image: Image.Image, turns: float) -> Image.Image:
    """The hue turned by a fraction of a turn, through Pillow's 8-bit HSV."""
    shifted = [(level + hue_shift(turns)) % 256 for level in range(256)]
    return image.convert("HSV").point([*shifted, *range(256), *range(256)]).convert("RGB")


def gray(image: Image.Image) -> Image.Image:
    return image.convert("L").convert("RGB")


def blur(image: Image.Image, sigma_px: float) -> Image.Image:
    """Gaussian of standard deviation `sigma_px`, by three running means, as Pillow has it."""
    return image.filter(ImageFilter.GaussianBlur(sigma_px))


MIXING: dict[str, Callable[..., Image.Image]] = {f.__name__: f for f in (color, sharpness, hue, gray, blur)}


def apply(image: Tensor, operations: Sequence[tuple[str, tuple[float, ...]]]) -> Tensor:
    """Color operations (name, values) one after the other on a (3, H, W) uint8 image of any memory order."""
    picture = Image.fromarray(image.permute(1, 2, 0).contiguous().numpy())
    for name, values in operations:
        if name in TABLES:
            counted = _histogram(picture) if name in NEEDS_HISTOGRAM else None
            picture = picture.point(TABLES[name](counted, *values).ravel().tolist())
        else:
            picture = MIXING[name](picture, *values)
    return torch.from_numpy(np.array(picture)).permute(2, 0, 1)


def _histogram(picture: Image.Image) -> Histogram:
    return np.array(picture.histogram() + picture.convert("L").histogram()).reshape(4, 256)
