"""Color operations against Pillow's own and torchvision's own, gray level by gray level."""

import numpy as np
import pytest
import torch
from PIL import Image, ImageEnhance, ImageFilter, ImageOps
from torchvision.transforms import functional

from scantling.augment import photometry

RNG = np.random.default_rng(0)
SMOOTH = np.linspace(20, 230, 45 * 60 * 3).reshape(45, 60, 3) + RNG.normal(0, 6, (45, 60, 3))
PICTURES = {
    "smooth": SMOOTH.clip(0, 255).astype(np.uint8),
    "noise": RNG.integers(0, 256, (31, 37, 3), dtype=np.uint8),
    "flat": np.full((9, 7, 3), 77, np.uint8),
    "one pixel": np.array([[[3, 200, 90]]], np.uint8),
}
FACTORS = (0.1, 0.28, 0.82, 1.0, 1.18, 1.72, 3.0)
CASES = {
    "auto_contrast": (ImageOps.autocontrast, [()]),
    "equalize": (ImageOps.equalize, [()]),
    "solarize": (ImageOps.solarize, [(0,), (25,), (128,), (230,), (255,)]),
    "posterize": (ImageOps.posterize, [(1,), (2,), (3,), (4,)]),
    "brightness": (lambda p, f: ImageEnhance.Brightness(p).enhance(f), [(f,) for f in FACTORS]),
    "contrast": (lambda p, f: ImageEnhance.Contrast(p).enhance(f), [(f,) for f in FACTORS]),
    "color": (lambda p, f: ImageEnhance.Color(p).enhance(f), [(f,) for f in FACTORS]),
    "sharpness": (lambda p, f: ImageEnhance.Sharpness(p).enhance(f), [(f,) for f in FACTORS]),
    "hue": (functional.adjust_hue, [(-0.5,), (-0.2,), (0.001,), (0.1,)]),
    "gray": (lambda p: functional.to_grayscale(p, 3), [()]),
    "blur": (lambda p, sigma: p.filter(ImageFilter.GaussianBlur(sigma)), [(0.1,), (1.0,), (2.0,)]),
}


@pytest.mark.parametrize("picture", PICTURES)
@pytest.mark.parametrize("name", CASES)
def test_an_operation_is_pillows(name: str, picture: str) -> None:
    reference, arguments = CASES[name]
    pixels = PICTURES[picture]
    for values in arguments:
        made = photometry.apply(torch.from_numpy(pixels).permute(2, 0, 1), [(name, values)])
        expected = np.asarray(reference(Image.fromarray(pixels), *values))
        assert np.array_equal(made.permute(1, 2, 0).numpy(), expected), values


def test_every_operation_is_tested() -> None:
    assert set(CASES) | {"lighting"} == set(photometry.TABLES) | set(photometry.MIXING)


def test_lighting_adds_a_rounded_constant_to_each_channel() -> None:
    image = torch.tensor([0, 100, 250], dtype=torch.uint8).expand(3, 1, 3)
    made = photometry.apply(image, [("lighting", (0.4, -7.6, 20.0))])
    assert made[:, 0].tolist() == [[0, 100, 250], [0, 92, 242], [20, 120, 255]]


def test_the_memory_order_of_an_image_does_not_matter_and_the_image_stays() -> None:
    pixels = torch.from_numpy(PICTURES["smooth"])
    rows, planes = pixels.permute(2, 0, 1), pixels.permute(2, 0, 1).contiguous()
    steps = [("hue", (0.2,)), ("equalize", ()), ("sharpness", (1.5,))]
    assert torch.equal(photometry.apply(rows, steps), photometry.apply(planes, steps))
    assert np.array_equal(pixels.numpy(), PICTURES["smooth"])
