"""Reads what CVAT exports as `CVAT for images 1.1`: one XML file, plain or in the ZIP file that CVAT makes of it.

    <image name="a.jpg" width="640" height="480"><box label="cat" xtl="1" ytl="2" xbr="3" ybr="4" rotation="30">
      <attribute name="proposed">true</attribute></box><tag label="labeled"/></image>

Boxes lie in pixels from 0. Of a turned box, a polygon and a polyline the box around it is read; other shapes are
refused. `proposed` and `labeled` are marks of our own export (`scantling/export/cvat.py`): a box that is marked as
proposed was not accepted, unless CVAT says that a person changed it (source semi-auto). A document type or entities are
refused; the file is read in pieces, so its size does not matter.
"""

from __future__ import annotations

import re
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO
from xml.parsers import expat

from scantling.data.drawn import Box, Drawn, number, surrounding, turned
from scantling.stage import BadInput

LABELED, PROPOSED = "labeled", "proposed"  # a tag of an image, an attribute of a box
FORBIDDEN = re.compile(rb"<!\s*(?:DOCTYPE|ENTITY)", re.I)
PIECE_BYTES = 1 << 18
DEEPEST = 32
MAX_UNPACKED_BYTES = 1 << 32  # of a ZIP file's XML; two million images with ten boxes each are about as much
LONGEST = 1 << 20  # characters of one attribute
READ = ("box", "polygon", "polyline")
REFUSED = ("points", "ellipse", "mask", "cuboid", "skeleton", "track")
ENDING = "only boxes are read: delete it there, or draw a rectangle"


def read(file: Path) -> list[Drawn]:
    """The images of the file in its order. Raises BadInput."""
    with _opened(file) as (stream, packed):
        sheet = _Sheet(file)
        parser = expat.ParserCreate()
        parser.buffer_text = True
        parser.StartDoctypeDeclHandler = parser.EntityDeclHandler = sheet.refuse
        parser.StartElementHandler, parser.EndElementHandler = sheet.start, sheet.end
        parser.CharacterDataHandler = sheet.text
        try:
            tail, taken = b"", 0
            while piece := stream.read(PIECE_BYTES):
                taken += len(piece)
                if packed and taken > MAX_UNPACKED_BYTES:
                    raise BadInput(
                        f"{file}: unpacks to more than {MAX_UNPACKED_BYTES >> 30} GiB; give the XML file itself"
                    )
                if FORBIDDEN.search(tail + piece):  # before the parser, which would read on to the end of the piece
                    sheet.refuse()
                tail = piece[-20:]
                parser.Parse(piece, False)
            parser.Parse(b"", True)
        except (expat.ExpatError, OSError, ValueError, EOFError, zlib.error, zipfile.BadZipFile) as error:
            if isinstance(error, BadInput):
                raise
            raise BadInput(f"{file}: not readable as XML ({error}); export it again") from None
    if not sheet.images:
        raise BadInput(f"{file}: holds no <image>; export the task as `CVAT for images 1.1`")
    return sheet.images


@contextmanager
def _opened(file: Path) -> Iterator[tuple[BinaryIO, bool]]:
    """The XML, and whether it is unpacked from a ZIP file."""
    try:
        if not zipfile.is_zipfile(file):
            with file.open("rb") as stream:
                yield stream, False
            return
        with zipfile.ZipFile(file) as packed:
            names = [name for name in packed.namelist() if name.rpartition("/")[2] == "annotations.xml"]
            if len(names) != 1:
                raise BadInput(
                    f"{file}: holds {len(names)} files annotations.xml; export one task as `CVAT for images 1.1`"
                )
            with packed.open(names[0]) as stream:
                yield stream, True  # type: ignore[misc]
    except (OSError, zipfile.BadZipFile, RuntimeError, NotImplementedError) as error:
        raise BadInput(f"{file}: cannot be read ({error}); export it again") from None


class _Sheet:
    """Collects images from the events of the parser."""

    def __init__(self, file: Path) -> None:
        self.file, self.images, self.path = file, [], []  # type: ignore[var-annotated]
        self.shape: dict[str, str] = {}
        self.marks: dict[str, str] = {}
        self.words: list[str] = []
        self.attribute, self.length = "", 0

    def refuse(self, *_: object) -> None:
        raise BadInput(f"{self.file}: declares a document type or entities, which are never read here; take them out")

    def text(self, data: str) -> None:
        if self.attribute:
            self.words.append(data)
            self.length += len(data)
            if self.length > LONGEST:
                raise BadInput(f"{self.file}: an attribute has more than {LONGEST:,} characters; it is no file of CVAT")

    def start(self, tag: str, said: dict[str, str]) -> None:
        if len(self.path) >= DEEPEST:
            raise BadInput(f"{self.file}: elements are nested more than {DEEPEST} deep; it is no file of CVAT")
        if not self.path and tag != "annotations":
            raise BadInput(f"{self.file}: starts with <{tag[:60]}>; export the task as `CVAT for images 1.1`")
        within = self.path[-1] if self.path else ""
        self.path.append(tag)
        if tag == "track":
            raise BadInput(f"{self.file}: holds tracks of a video; export the task as `CVAT for images 1.1`")
        if tag == "image" and within == "annotations":
            name = said.get("name", "")
            if not name:
                raise BadInput(f"{self.file}: image {len(self.images)} has no name; export the task again")
            width, height = (int(self._number(said, side, f"image {name!r}")) for side in ("width", "height"))
            self.images.append(Drawn(name, width, height, labeled=False))
        elif within == "image" and not self.images:
            raise BadInput(f"{self.file}: an image lies within <{self.path[-3][:60]}>; export the task again")
        elif within == "image" and tag in READ:
            self.shape, self.marks = said, {}
        elif within == "image" and tag in REFUSED:
            raise BadInput(f"{self.file}: image {self.images[-1].name!r} has a shape of kind {tag}; {ENDING}")
        elif within == "image" and tag == "tag":
            self.images[-1].labeled |= said.get("label") == LABELED
        elif within in READ and tag == "attribute":
            self.attribute, self.words, self.length = said.get("name", ""), [], 0

    def end(self, tag: str) -> None:
        self.path.pop()
        if tag == "attribute" and self.attribute:
            self.marks[self.attribute] = "".join(self.words).strip()
            self.attribute = ""
        elif tag in READ and self.path and self.path[-1] == "image":
            proposed = self.marks.get(PROPOSED, "").lower() == "true" and self.shape.get("source") != "semi-auto"
            self.images[-1].boxes.append(Box(self.shape.get("label", ""), self._corners(tag), proposed))

    def _corners(self, tag: str) -> tuple[float, float, float, float]:
        where = f"image {self.images[-1].name!r}: {tag} of class {self.shape.get('label', '')!r}"
        if tag == "box":
            x1, y1, x2, y2 = (self._number(self.shape, side, where) for side in ("xtl", "ytl", "xbr", "ybr"))
            degrees = self._number({"rotation": "0", **self.shape}, "rotation", where)
            return turned((x1, y1, x2, y2), degrees, ((x1 + x2) / 2, (y1 + y2) / 2))
        points = [pair.split(",") for pair in self.shape.get("points", "").split(";") if pair]
        if not points or any(len(pair) != 2 for pair in points):
            raise BadInput(f"{self.file}: {where} has points that are no pairs of numbers; export the task again")
        return surrounding([[number(v, f"{self.file}: a point of {where}") for v in pair] for pair in points])

    def _number(self, said: dict[str, str], key: str, where: str) -> float:
        return number(said.get(key), f"{self.file}: `{key}` of {where}")
