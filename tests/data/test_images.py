"""Decoding: EXIF, odd formats, and files that are not whole."""

from __future__ import annotations

import os
import struct
import warnings
import zlib
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image, ImageOps

from scantling.data import images
from scantling.data.images import TooLarge, decode, header, thumbnail
from scantling.stage import BadInput
from tests.data.made import photo


@pytest.mark.parametrize("suffix", ["jpg", "png", "webp", "bmp", "tiff"])
@pytest.mark.parametrize("turn", range(1, 9))
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


def png(width: int, height: int) -> bytes:
    """A whole PNG of one bit per pixel, all black, which can be very large and takes few bytes."""

    def chunk(name: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

    rows = zlib.compress(bytes((width + 7) // 8 + 1) * height)
    head = struct.pack(">IIBBBBB", width, height, 1, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", rows) + chunk(b"IEND", b"")


def claimed(content: bytes, suffix: str, side: int) -> bytes:
    """The same file with another width and height in its header."""
    at, form = {
        "jpg": (content.find(b"\xff\xc0") + 5, ">HH"),
        "webp": (26, "<HH"),
        "bmp": (18, "<ii"),
        "gif": (6, "<HH"),
        "ppm": (3, None),
    }[suffix]
    if form is None:
        return content.replace(b"40 30", b"%d %d" % (side, side), 1)
    return content[:at] + struct.pack(form, side, side) + content[at + struct.calcsize(form) :]


@pytest.mark.parametrize("suffix", ["jpg", "webp", "bmp", "gif", "ppm"])
def test_a_picture_that_claims_to_be_huge_is_refused_before_it_takes_memory(tmp_path: Path, suffix: str) -> None:
    content = photo(tmp_path / f"a.{suffix}", **({"lossless": False} if suffix == "webp" else {})).read_bytes()
    path = tmp_path / f"b.{suffix}"
    path.write_bytes(claimed(content, suffix, 16000))
    for look in (decode, header, lambda *a: thumbnail(a[0], 100, a[1])):
        with pytest.raises(TooLarge, match=rf"b\.{suffix}: 16000 x 16000 pixels are more than 250 megapixels; make it"):
            look(path, 250)


@pytest.mark.parametrize("turn", [1, 6])
def test_bombs_are_whole_pictures(tmp_path: Path, turn: int) -> None:
    """No warning of Pillow's own limit either: 180 megapixels are double of it, and allowed here."""
    (tmp_path / "a.png").write_bytes(png(20000, 20000))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for suffix in ("png", "tiff"):
            if suffix == "tiff":
                exif = Image.Exif()
                exif[0x0112] = turn
                Image.new("1", (20000, 20000)).save(tmp_path / "a.tiff", compression="group4", exif=exif)
            with pytest.raises(TooLarge, match="20000 x 20000"):
                decode(tmp_path / f"a.{suffix}", 399)
            assert header(tmp_path / f"a.{suffix}", 401)[:2] == (20000, 20000)


def test_what_is_allowed_at_all() -> None:
    assert images.MAX_MEGAPIXELS * 1e6 * 3 < 4e9


def test_what_is_no_file_is_refused_without_waiting(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.jpg")
    for path in (tmp_path, tmp_path / "pipe.jpg", "/dev/zero"):
        for look in (decode, header):
            with pytest.raises(BadInput, match="is a folder or a device, no file; put the image there or take it out"):
                look(path)
    for name in ("nul\0.jpg", "x" * 5000, "a" * 200 + "/b.jpg", "half\ud800.jpg"):
        with pytest.raises(BadInput, match="cannot be read"):
            decode(tmp_path / name)


def test_formats_that_run_other_programs_stay_closed(tmp_path: Path) -> None:
    (tmp_path / "a.jpg").write_bytes(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n%%EndComments\nshowpage\n")
    with pytest.raises(BadInput, match="cannot identify"):
        decode(tmp_path / "a.jpg")


def test_damaged_exif_data_does_not_cost_the_picture(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    content = photo(tmp_path / "a.jpg", exif=exif).read_bytes()
    at = content.index(b"Exif\0\0") + 6
    (tmp_path / "b.jpg").write_bytes(content[:at] + b"\xff" * 12 + content[at + 12 :])
    assert header(tmp_path / "b.jpg") == (40, 30, 1) and decode(tmp_path / "b.jpg").shape == (3, 30, 40)


def test_a_palette_with_transparency_is_read(tmp_path: Path) -> None:
    """Such files overrun the buffer of torchvision's decoder, so that one does not see them."""
    image = Image.new("P", (61, 40))
    image.putpalette([17, 34, 51, 68, 85, 102])
    image.putpixel((1, 0), 1)
    image.save(tmp_path / "a.png", transparency=bytes([0, 128]))
    assert decode(tmp_path / "a.png")[:, 0, :2].T.tolist() == [[17, 34, 51], [68, 85, 102]]


def test_pillow_does_all_where_torchvision_has_no_decoder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = photo(tmp_path / "a.jpg")
    both = decode(path).int()
    monkeypatch.setattr(images, "_torchvision", lambda: None)
    assert (decode(path).int() - both).abs().max() <= 3


@pytest.mark.parametrize("suffix", ["jpg", "png"])
@pytest.mark.parametrize("turn", [1, 6])
def test_a_thumbnail_is_the_upright_picture(tmp_path: Path, suffix: str, turn: int) -> None:
    exif = Image.Exif()
    exif[0x0112] = turn
    pixels = np.zeros((300, 400, 3), dtype=np.uint8)
    pixels[:, :200] = 255  # left half as stored, upper half as turned by 6
    Image.fromarray(pixels).save(tmp_path / f"a.{suffix}", exif=exif)
    small = thumbnail(tmp_path / f"a.{suffix}", 40)
    assert small.size == ((40, 30) if turn == 1 else (30, 40))
    bright = np.asarray(small.convert("L")) > 128
    assert (bright[:, :18].all() and not bright[:, 22:].any()) if turn == 1 else bright[:18].all()


@pytest.mark.parametrize("mode", ["I", "F"])
def test_numbers_of_unknown_range_are_no_picture(tmp_path: Path, mode: str) -> None:
    Image.new(mode, (8, 8)).save(tmp_path / "a.tif")
    with pytest.raises(BadInput, match=r"a\.tif: .*32 bits, mode .* save it with 8 bits"):
        images.decode(tmp_path / "a.tif")
