"""Decoding: EXIF, odd formats, and files that are not whole."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image, ImageOps

from scantling.data.images import decode, header
from scantling.stage import BadInput
from tests.data.made import photo


@pytest.mark.parametrize("suffix", ["jpg", "png", "webp", "bmp", "tiff"])
@pytest.mark.parametrize("turn", [1, 3, 6, 8, 5])
def test_decode_turns_upright_as_pillow_does(tmp_path: Path, suffix: str, turn: int) -> None:
    path = tmp_path / f"a.{suffix}"
    exif = Image.Exif()
    exif[0x0112] = turn
    photo(path, 40, 30, **({} if suffix == "bmp" else {"exif": exif}))
    with Image.open(path) as image:
        expected = np.array(ImageOps.exif_transpose(image).convert("RGB"))
    pixels = decode(path)
    assert pixels.dtype == torch.uint8
    difference = pixels.permute(1, 2, 0).numpy().astype(int) - expected
    assert abs(difference).max() <= (3 if suffix == "jpg" else 0)  # two JPEG decoders round differently
    width, height, found = header(path)
    assert tuple(pixels.shape) == (3, height, width)
    assert found == (1 if suffix == "bmp" else turn)


@pytest.mark.parametrize("mode", ["L", "P", "RGBA", "CMYK", "1"])
def test_decode_gives_rgb_for_every_mode(tmp_path: Path, mode: str) -> None:
    path = tmp_path / ("a.jpg" if mode == "CMYK" else "a.png")
    Image.fromarray(np.full((8, 9, 3), 200, dtype=np.uint8)).convert(mode).save(path)
    pixels = decode(path)
    assert pixels.shape == (3, 8, 9)
    assert pixels.float().mean() > 150


@pytest.mark.parametrize("suffix", ["png", "tiff"])
def test_decode_takes_the_upper_bits_of_16(tmp_path: Path, suffix: str) -> None:
    values = np.arange(0, 65536, 1024, dtype=np.uint16).reshape(8, 8)
    Image.fromarray(values).save(tmp_path / f"a.{suffix}")
    assert torch.equal(decode(tmp_path / f"a.{suffix}")[0].int(), torch.from_numpy((values >> 8).astype(np.int32)))


@pytest.mark.parametrize("suffix", ["jpg", "png", "webp", "bmp"])
@pytest.mark.parametrize("part", [0.0, 0.1, 0.5, 0.9])
def test_decode_refuses_a_truncated_file(tmp_path: Path, suffix: str, part: float) -> None:
    whole = photo(tmp_path / f"whole.{suffix}").read_bytes()
    path = tmp_path / f"cut.{suffix}"
    path.write_bytes(whole[: int(part * len(whole))])
    with pytest.raises(BadInput, match=rf"cut\.{suffix}: unreadable or truncated image .*replace the file"):
        decode(path)


def test_decode_refuses_a_jpeg_that_lacks_its_last_bytes(tmp_path: Path) -> None:
    path = photo(tmp_path / "a.jpg", progressive=True)
    path.write_bytes(path.read_bytes()[:-2])
    with pytest.raises(BadInput, match="truncated"):
        decode(path)


def test_decode_names_a_missing_file(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match=r"none\.jpg: cannot be read \(No such file"):
        decode(tmp_path / "none.jpg")
