"""Damaged files: what editors, transfers and other programs do to text, drawn from a seed."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pyarrow

from scantling.data import formats
from scantling.data.check import check
from scantling.data.formats import DataParams
from scantling.data.index import XYXY
from scantling.data.problems import KINDS, Findings
from scantling.data.source import SourceParams
from scantling.stage import BadInput

# so that damage that can be repaired reaches the index
REPAIR_ALL = "problems: {" + ", ".join(f"{name}: repair" for name, kind in KINDS.items() if kind.repair) + "}\n"
TOKENS = [
    b"", b"nan", b"-inf", b"1e999", b"-1", b"0", b"9" * 40, b"1_0", b"0x1f", b"None", b"true", b"~", b" ", b"#", b"%",
    b"<", b">", b"&", b"&lol;", b"<!DOCTYPE a [<!ENTITY lol 'x'>]>", b"]]>", b"]", b"{", b":", b"- ", b"!!int x",
    b"!!timestamp x", b"&a [*a]", b"*a", b"\n", b"\r\n", b"\t", b",", b",,,,,,,,", b'"', b"'", b"\\", b"../", b"/",
    b"\x00", b"\xff\xfe", b"\xed\xa0\x80", "ü".encode(), "\u2028".encode(), "\U0001f600".encode(),
]  # fmt: skip


def mutated(content: bytes, random: np.random.Generator) -> bytes:
    """One random change, in one of four cases two."""
    for _ in range(1 + (random.random() < 0.25)):
        at, to = sorted(random.integers(0, len(content) + 1, 2).tolist())
        token = TOKENS[random.integers(len(TOKENS))]
        match random.integers(9):
            case 0:
                content = content[:at]
            case 1:
                content = content[:at] + token + content[at:]
            case 2:
                content = content[:at] + content[min(to, at + 20) :]
            case 3:
                content = content[:at] + content[at:to] * 2 + content[to:]
            case 4:
                flipped = bytearray(content)
                if flipped:
                    flipped[at % len(flipped)] ^= 1 << int(random.integers(8))
                content = bytes(flipped)
            case 5:  # another value in the place of a word
                words = content.split(b" ")
                words[random.integers(len(words))] = token
                content = b" ".join(words)
            case 6 | 7:  # another value in the place of a number
                numbers = list(re.finditer(rb"\d[\d.]*", content)) or [re.match(b"", content)]
                start, end = numbers[random.integers(len(numbers))].span()
                content = content[:start] + token + content[end:]
            case 8:
                parts = content.split(b">") if b">" in content else content.split(b"\n")
                parts[random.integers(len(parts))] = token
                content = (b">" if b">" in content else b"\n").join(parts)
    return content


def fuzz(params: Path, file: Path, times: int, seed: int) -> dict[str, int]:
    """Damage `file` `times` times: an index is made and written, or one sentence is said. How often which."""
    random = np.random.default_rng(seed)
    before = file.read_bytes()
    counts = {"read": 0, "refused": 0}
    read = DataParams.load(params)
    for number in range(times):
        file.write_bytes(mutated(before, random))
        try:
            _through(read, checked=number % 10 == 0)
            counts["read"] += 1
        except BadInput as error:
            assert str(error) and len(str(error)) < 4000
            counts["refused"] += 1
        except Exception as error:
            raise AssertionError(f"mutation {number} of seed {seed}: {file.read_bytes()!r}") from error
    file.write_bytes(before)
    _through(read, checked=True)
    return counts


def _through(read: SourceParams, checked: bool) -> None:
    """As stage prepare does it, up to the tables that are written; what is read must make sense."""
    found = Findings(read.problems)
    source = formats.read(read, found)
    images, boxes = source.images, source.boxes
    assert images.image_id.is_unique and boxes.box_id.is_unique and boxes.image_id.isin(images.image_id).all()
    assert boxes.label.between(0, len(source.classes) - 1).all() and np.isfinite(boxes[XYXY].to_numpy()).all()
    assert len(set(source.classes)) == len(source.classes) == len(set(source.category_ids)) > 0
    if checked:
        made = check(source, read, found)
        images, boxes = made.images, made.boxes
        sides = images.set_index("image_id").loc[boxes.image_id, ["width", "height"]].to_numpy()
        assert (boxes[["x1", "y1"]].to_numpy() >= 0).all() and (boxes[["x2", "y2"]].to_numpy() <= sides).all()
    for rows in (images, boxes):
        pyarrow.Table.from_pandas(rows, preserve_index=False)
