"""Damaged data sets of every format, and damaged images of every kind: a clear error or a sound index, nothing else.

Every change is drawn from a seed. Nothing here may end the process either, which a pytest run would not survive.
"""

from __future__ import annotations

import io
import json
import os
import random
import shutil
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from scantling import log
from scantling.data import formats
from scantling.data import index as indices
from scantling.data.formats import DataParams
from scantling.data.images import FORMATS, SUFFIXES, decode, header
from scantling.data.problems import KINDS
from scantling.params import ParamsError
from scantling.stage import BadInput
from stages.prepare import prepare
from tests.data.cases import sound
from tests.data.mutate import mutated
from tests.data.sets import MADE

DATA_SETS = int(os.environ.get("SCANTLING_FUZZ", "50"))  # damaged ones of each format
IMAGES = 8 * DATA_SETS  # damaged ones of each kind
REPAIR_ALL = "{" + ", ".join(f"{name}: repair" for name, kind in KINDS.items() if kind.repair) + "}"
DEEP = [b"[" * 100_000, b'{"a":' * 50_000, b"<a>" * 50_000, b"- " * 5_000, b"&a " * 1000]


def damaged_bytes(content: bytes, draw: random.Random) -> bytes:
    """Cut, flipped, overwritten, removed, inserted, repeated: one to eight times, mostly near the start."""
    data = bytearray(content)
    for _ in range(draw.choice([1, 1, 2, 4, 8])):
        if not data:
            break
        at = draw.randrange(len(data) if draw.random() < 0.5 else min(len(data), 64))
        match draw.randrange(7):
            case 0:
                del data[at:]
            case 1:
                data[at] ^= 1 << draw.randrange(8)
            case 2:
                data[at] = draw.choice([0, 1, 127, 128, 255, draw.randrange(256)])
            case 3:
                del data[at : at + draw.randrange(1, 9)]
            case 4:
                data[at:at] = draw.randbytes(draw.randrange(1, 9))
            case 5:
                other = draw.randrange(len(data))
                data[at:at] = data[other : other + draw.randrange(64)]
            case 6:
                data[at : at + 4] = draw.choice([b"\xff\xff\xff\xff", b"\0\0\0\0", b"\x7f\xff\xff\xff", b"\0\1\0\0"])
    return bytes(data)


def damage(root: Path, draw: random.Random) -> str:
    """One change to a file below `root`; says which."""
    files = sorted(p for p in root.rglob("*") if p.is_file())
    pictures = [p for p in files if p.suffix in SUFFIXES]
    texts = [p for p in files if p not in pictures]
    file = draw.choice((texts if draw.random() < 0.7 else pictures) or files)
    match draw.randrange(12):
        case 0:
            file.unlink()
            file.mkdir()
        case 1:
            file.rename(file.with_name(f"{draw.choice(['other', 'ä ö', '..b', '-'])}{file.suffix}"))
        case 2:
            file.unlink()
        case 3:
            file.write_bytes(draw.choice(files).read_bytes())
        case 4:
            content = file.read_bytes()
            at = draw.randrange(len(content) + 1)
            file.write_bytes(content[:at] + draw.choice(DEEP) + content[at:])
        case _ if file in pictures:
            file.write_bytes(damaged_bytes(file.read_bytes(), draw))
        case 5 | 6:
            file.write_bytes(damaged_bytes(file.read_bytes(), draw))
        case _:
            file.write_bytes(mutated(file.read_bytes(), np.random.default_rng(draw.randrange(2**32))))
    return str(file.relative_to(root))


def outcome(file: Path, root: Path, out: Path) -> str:
    """Runs the stage: `refused` with a text that names a file, or `written`, an index that is sound."""
    out.mkdir()
    try:
        prepare(DataParams.load(file), out)
    except (BadInput, ParamsError) as error:
        text = str(error)
        names = {root.name, file.name, *(p.name for p in root.rglob("*")), file.stem}
        assert text and len(text) < 20_000 and any(name in text for name in names), text
        assert not list(out.iterdir()), "nothing is written before everything is known to be usable"
        return "refused"
    sound(indices.load(out, truth=True))
    assert (out / "check.html").stat().st_size > 5000
    json.loads((out / "data.json").read_text())
    return "written"


def test_every_format_is_damaged() -> None:
    assert set(MADE) == set(formats.FORMATS)


@pytest.mark.parametrize("action", ["error", "repair"])
@pytest.mark.parametrize("name", formats.FORMATS)
def test_a_damaged_data_set_is_refused_or_read(
    name: str, action: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(log, "line", lambda text: None)
    whole, draw = tmp_path / "whole", random.Random(f"{name} {action}")
    whole.mkdir()
    made = MADE[name](whole)
    if action == "repair":
        made.write_text(f"{made.read_text()}problems: {REPAIR_ALL}\n")
    (tmp_path / "logs").mkdir()
    seen: Counter[str] = Counter()
    assert outcome(made, whole / "set", tmp_path / "first") == "written"
    for number in range(DATA_SETS // 2):
        kept = tmp_path / "kept"
        shutil.copytree(whole, kept)
        changed = [damage(whole / "set", draw) for _ in range(draw.choice([1, 1, 2]))]
        try:
            seen[outcome(made, whole / "set", tmp_path / f"out{number}")] += 1
        except Exception as error:
            raise AssertionError(f"change {number} of {changed} in {whole}") from error
        shutil.rmtree(whole)
        kept.rename(whole)
    assert min(seen["refused"], seen["written"]) >= max(1, DATA_SETS // 50), seen


def encoded(kind: str) -> list[bytes]:
    """Small pictures in several ways to write this kind of file."""
    pixels = np.random.default_rng(0).integers(0, 255, (12, 17, 3), dtype=np.uint8)
    color = Image.fromarray(pixels)
    deep = Image.fromarray(pixels[..., 0].astype(np.uint16) * 200)
    exif = Image.Exif()
    exif[0x0112] = 6
    turned = {} if kind in ("BMP", "GIF", "PPM") else {"exif": exif}
    ways: list[tuple[Image.Image, dict]] = [(color, turned), (color.convert("L"), {})]
    if kind in ("PNG", "TIFF", "GIF", "BMP"):
        ways.append((color.convert("P"), {}))
    ways += {
        "JPEG": [(color, {"progressive": True, **turned}), (color.convert("CMYK"), {})],
        "PNG": [(deep, {}), (color.convert("RGBA"), turned), (color.convert("P"), {"transparency": bytes(range(200))})],
        "WEBP": [(color, {"lossless": True}), (color.convert("RGBA"), turned), (color, ANIMATED)],
        "GIF": [(color, ANIMATED)],
        "TIFF": [(deep, {}), (color.convert("1"), {"compression": "group4"})]
        + [(color, {"compression": c, **turned}) for c in ("tiff_lzw", "tiff_deflate", "jpeg", "packbits")],
    }.get(kind, [])
    made = []
    for picture, options in ways:
        stream = io.BytesIO()
        picture.save(stream, kind, **options)
        made.append(stream.getvalue())
    return made


ANIMATED = {"save_all": True, "append_images": [Image.new("RGB", (17, 12), "red")]}


@pytest.mark.parametrize("kind", FORMATS)
@pytest.mark.filterwarnings("ignore")
def test_a_damaged_image_is_refused_or_read(kind: str, tmp_path: Path) -> None:
    draw, ways, path = random.Random(kind), encoded(kind), tmp_path / "a.jpg"

    def tried(look: Callable, *arguments: object) -> object:
        try:
            return look(path, *arguments)
        except BadInput as error:
            assert str(path) in str(error)
            return None

    read = 0
    for number in range(IMAGES):
        content = damaged_bytes(draw.choice(ways), draw)
        path.write_bytes(content)
        try:
            said, pixels = tried(header, 1), tried(decode, 1)
            if pixels is not None:
                read += 1
                assert said[:2] == (pixels.shape[2], pixels.shape[1]) and pixels.shape[0] == 3
        except Exception as error:
            raise AssertionError(f"{kind} {number}: {content!r}") from error
    assert IMAGES // 200 < read < IMAGES
