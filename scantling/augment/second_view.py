"""The second view of an image at test time, for a detector whose proposals read two (SparseDet section 9).

The reference draws it anew each time, so that its results vary; here the draw follows from the image's id. Color as in
training, then a rectangle of 1 to 5 % of the area of the box in the middle of the image, half as wide and as high.
"""

from __future__ import annotations

import torch
from torch import Tensor

from scantling.augment import views
from scantling.augment.plan import Size
from scantling.augment.settings import EraseBox, Jitter, View, ViewParams


def pair(image: Tensor, image_id: int, plain: View) -> tuple[tuple[Tensor, Tensor], tuple[Tensor, Tensor]]:
    """The plain view and the second one, pixel-aligned: each (3, h, w) uint8 and its matrix (3, 3).

    image: decoded, (3, H, W) uint8.
    """
    size = image.shape[1], image.shape[2]
    second = View(
        same_geometry=True,
        before_resize=True,
        jitter=Jitter(
            probability=1.0,
            contrast=0.5,
            brightness=0.5,
            saturation=0.5,
            order=("contrast", "brightness", "saturation"),
        ),
        lighting=1.2,
        erase_box=EraseBox(probability=1.0, area=(0.01, 0.05), aspect=(0.3, 3.3), trials=10, fill=0),
    )
    params = ViewParams(labeled=plain, weak=plain, strong=second)
    made = views.plans(params, ("weak", "strong"), size, (image_id,), _middle(size))
    seen = views.apply_all(image, made)
    return (seen["weak"], made["weak"].matrix), (seen["strong"], made["strong"].matrix)


def _middle(size: Size) -> Tensor:
    height, width = size
    return torch.tensor([[width / 4, height / 4, 3 * width / 4, 3 * height / 4]])
