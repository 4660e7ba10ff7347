"""Pixels of an image file as a person sees them: RGB, 8 bits, turned upright by the EXIF orientation."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageOps
from torch import Tensor

from scantling.stage import BadInput

try:  # about twice as fast as Pillow; torchvision 0.29 announces that it will go, then Pillow does all
    from torchvision.io import ImageReadMode, decode_image
except ImportError:
    decode_image = None

SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".webp", ".tif", ".tiff", ".gif")
ORIENTATION = 0x0112  # tag number of the EXIF standard (CIPA DC-008)
_SIGNATURES = (b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n")  # JPEG, PNG: what torchvision turns upright by itself


def decode(path: str | Path) -> Tensor:
    """uint8 (3, H, W) RGB, upright. Raises BadInput for a file that is missing, unreadable or truncated."""
    try:
        content = Path(path).read_bytes()
    except OSError as error:
        raise BadInput(f"{path}: cannot be read ({error.strerror}); put the image there or take it out") from None
    if decode_image is not None and content.startswith(_SIGNATURES):
        try:
            buffer = torch.frombuffer(bytearray(content), dtype=torch.uint8)
            pixels = decode_image(buffer, mode=ImageReadMode.RGB, apply_exif_orientation=True)
            # 16 bits per channel: the upper 8 are the picture
            return pixels if pixels.dtype == torch.uint8 else (pixels.int() >> 8).to(torch.uint8)
        except RuntimeError:
            pass  # Pillow reads some files that torchvision refuses, and says better what is wrong with the others
    return torch.from_numpy(_decode_pillow(path, content)).permute(2, 0, 1).contiguous()


def header(path: str | Path) -> tuple[int, int, int]:
    """(width, height) of the upright picture and its EXIF orientation 1..8, without decoding the pixels."""
    try:
        with Image.open(path) as image:
            turn = orientation(image)
            if image.format == "TIFF":  # Pillow turns these while loading, and the newer ones state the size after it
                return (*ImageOps.exif_transpose(image).size, turn)
            width, height = image.size
    except Exception as error:  # Pillow's plugins raise anything on damaged files
        raise _unreadable(path, error) from None
    return (height, width, turn) if turn >= 5 else (width, height, turn)


def orientation(image: Image.Image) -> int:
    """EXIF orientation 1..8; 1 where the file says nothing or nonsense. 5 to 8 exchange width and height."""
    turn = image.getexif().get(ORIENTATION, 1)
    return turn if turn in range(1, 9) else 1


def _decode_pillow(path: str | Path, content: bytes) -> np.ndarray:
    try:
        with Image.open(io.BytesIO(content)) as image:
            image.load()  # raises on truncated files
            upright = ImageOps.exif_transpose(image)
            if upright.mode.startswith("I;16"):
                upright = Image.fromarray((np.asarray(upright) >> 8).astype(np.uint8))
            return np.array(upright.convert("RGB"))
    except Exception as error:
        raise _unreadable(path, error) from None


def _unreadable(path: str | Path, error: Exception) -> BadInput:
    why = " ".join(str(error).replace(str(path), "the file").split()) or type(error).__name__
    return BadInput(f"{path}: unreadable or truncated image ({why}); replace the file or take it out of the data set")
