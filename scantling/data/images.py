"""Pixels of an image file as a person sees them: RGB, 8 bits, turned upright by the EXIF orientation.

A file may be anything: missing, a folder, a pipe that never ends, truncated, or a few bytes that claim to be a picture
of a billion pixels. Each of these is a BadInput, noticed before memory is taken for the pixels.
"""

from __future__ import annotations

import functools
import os
import stat
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

import numpy as np
from PIL import Image

from scantling.stage import BadInput

if TYPE_CHECKING:  # torch is as large as a big index: who only wants headers or thumbnails does without
    from torch import Tensor

SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".webp", ".tif", ".tiff", ".gif", ".ppm")
FORMATS = ("JPEG", "PNG", "BMP", "WEBP", "TIFF", "GIF", "PPM")  # Pillow knows more, some of which run other programs
ORIENTATION, IMAGE_WIDTH, IMAGE_LENGTH = 0x0112, 0x0100, 0x0101  # tag numbers of EXIF (CIPA DC-008) and TIFF 6.0
MAX_MEGAPIXELS = 1000.0  # 3 GB of pixels; the check of a data set is stricter (`max_megapixels`)
_WHOLE_FILE_BYTES = 1 << 30  # larger ones go to Pillow, which reads a piece at a time

Image.MAX_IMAGE_PIXELS = None  # a warning in the log at a fixed size; the limit here is the caller's and an error


class TooLarge(BadInput):
    """The picture has more pixels than the limit."""


def decode(path: str | Path, max_megapixels: float = MAX_MEGAPIXELS) -> Tensor:
    """uint8 (3, H, W) RGB, upright. Raises BadInput for a file that is missing, unreadable or truncated, TooLarge."""
    import torch

    with _opened(path, max_megapixels) as (image, stream):
        pixels = _decode_jpeg(stream) if image.format in ("JPEG", "MPO") else None
        if (
            pixels is None
        ):  # another format, or a file that torchvision refuses: Pillow may read it, or say what is wrong
            return torch.from_numpy(_upright_pixels(image)).permute(2, 0, 1).contiguous()
        turn = orientation(image)
        return (
            pixels if turn == 1 else torch.from_numpy(upright(pixels.permute(1, 2, 0).numpy(), turn)).permute(2, 0, 1)
        )


def thumbnail(path: str | Path, longest_px: int, max_megapixels: float = MAX_MEGAPIXELS) -> Image.Image:
    """The upright RGB picture with sides of at most `longest_px`; a JPEG is shrunk while it is decoded."""
    with _opened(path, max_megapixels) as (image, _):
        if image.format in ("JPEG", "MPO"):
            image.draft("RGB", (2 * longest_px, 2 * longest_px))
        small = Image.fromarray(_upright_pixels(image))
    small.thumbnail((longest_px, longest_px))
    return small


def header(path: str | Path, max_megapixels: float = MAX_MEGAPIXELS) -> tuple[int, int, int]:
    """(width, height) of the upright picture and its EXIF orientation 1..8, without decoding the pixels."""
    with _opened(path, max_megapixels) as (image, _):
        width, height = _stored_size(image)
        turn = orientation(image)
        return (height, width, turn) if turn >= 5 else (width, height, turn)


def orientation(image: Image.Image) -> int:
    """EXIF orientation 1..8; 1 where the file says nothing or nonsense. 5 to 8 exchange width and height."""
    try:
        # the base class's: that of PNG decodes the whole picture to look behind it
        turn = Image.Image.getexif(image).get(ORIENTATION, 1)
    except Exception:  # EXIF data may be damaged in any way, and the picture be whole
        return 1
    return int(turn) if turn in range(1, 9) else 1


def upright(pixels: np.ndarray, turn: int) -> np.ndarray:
    """(H, W, 3) as stored -> as seen. Row 0 and column 0 as stored are seen, by orientation: 2 top and right, 3 bottom
    and right, 4 bottom and left, 5 left and top, 6 right and top, 7 right and bottom, 8 left and bottom (CIPA DC-008).
    """
    if turn >= 5:
        pixels = pixels.transpose(1, 0, 2)
    rows, columns = (-1 if turn in (3, 4, 7, 8) else 1), (-1 if turn in (2, 3, 6, 7) else 1)
    return np.ascontiguousarray(pixels[::rows, ::columns])


@contextmanager
def _opened(path: str | Path, max_megapixels: float) -> Iterator[tuple[Image.Image, BinaryIO]]:
    """The file as Pillow sees it with no pixel decoded, and its bytes; all that goes wrong with it becomes BadInput."""
    with _stream(path) as stream:
        try:
            with Image.open(stream, formats=FORMATS) as image:
                width, height = _stored_size(image)
                if width < 1 or height < 1:
                    raise ValueError(f"it is {width} x {height} pixels")
                if width * height > max_megapixels * 1e6:
                    raise TooLarge(
                        f"{path}: {width} x {height} pixels are more than {max_megapixels:g} megapixels; make it "
                        "smaller, or raise `max_megapixels` in the data parameters if the picture is honest"
                    )
                yield image, stream
        except BadInput:
            raise
        except Exception as error:  # Pillow's plugins raise anything on damaged files
            why = " ".join(str(error).replace(repr(stream), "the file").split()) or type(error).__name__
            text = f"{path}: unreadable or truncated image ({why}); replace the file or take it out of the data set"
            raise BadInput(text) from None


def _stream(path: str | Path) -> BinaryIO:
    try:
        if not stat.S_ISREG(os.stat(path).st_mode):  # opening a pipe would wait for its other end
            raise BadInput(f"{path}: is a folder or a device, no file; put the image there or take it out")
        return open(path, "rb")
    except (OSError, ValueError) as error:  # ValueError: a name that no file can have
        if isinstance(error, BadInput):
            raise
        why = getattr(error, "strerror", None) or error
        raise BadInput(f"{path}: cannot be read ({why}); put the image there or take it out") from None


def _stored_size(image: Image.Image) -> tuple[int, int]:
    """(width, height) before EXIF turns the picture. Of a TIFF the newer versions of Pillow state that after it."""
    if image.format == "TIFF":
        tags = image.tag_v2  # type: ignore[attr-defined]
        return int(tags[IMAGE_WIDTH]), int(tags[IMAGE_LENGTH])
    return image.size


def _decode_jpeg(stream: BinaryIO) -> Tensor | None:
    """uint8 (3, H, W) as stored; None if torchvision refuses the file or is not there.

    JPEG only: some damaged PNG files, and some whole ones with a transparent palette, end the process there; 200,000
    damaged JPEG files did not.
    """
    import torch

    decoder = _torchvision()
    if decoder is None or os.fstat(stream.fileno()).st_size > _WHOLE_FILE_BYTES:
        return None
    stream.seek(0)
    try:
        return decoder(torch.frombuffer(bytearray(stream.read()), dtype=torch.uint8))
    except RuntimeError:
        return None


@functools.cache
def _torchvision() -> Callable[[Tensor], Any] | None:
    """A third faster than Pillow. torchvision 0.29 announces that its decoders will go; then Pillow does all."""
    try:
        from torchvision.io import ImageReadMode, decode_jpeg
    except ImportError:
        return None
    return functools.partial(decode_jpeg, mode=ImageReadMode.RGB)


def _upright_pixels(image: Image.Image) -> np.ndarray:
    """uint8 (H, W, 3), decoded by Pillow."""
    turn = 1 if image.format == "TIFF" else orientation(image)  # Pillow turns these while loading
    image.load()  # raises on truncated files
    if image.mode in ("I", "F"):
        raise ValueError(
            f"its pixels are numbers of 32 bits, mode {image.mode}, whose range is not known: save it with 8 bits"
        )
    if image.mode.startswith("I;16"):  # the upper 8 bits are the picture
        image = Image.fromarray((np.asarray(image) >> 8).astype(np.uint8))
    return upright(np.array(image.convert("RGB")), turn)
