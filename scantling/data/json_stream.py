"""Reads JSON files that are larger than memory: the lists of their top level, a thousand entries at a time.

An entry is read by the standard library's decoder, so everything within it is as json.load gives it. What is held at
any time is one piece of the text and one batch of entries; the file may be gzip-compressed.
"""

from __future__ import annotations

import codecs
import gzip
import json
import re
import zlib
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any, NoReturn

from scantling.log import Progress
from scantling.stage import BadInput

PIECE_BYTES = 1 << 20
BATCH = 1024  # entries
LONGEST = 1 << 26  # characters of one entry: of a hostile or broken file no more than this is held
LONG_FILE = 1 << 26  # bytes from which on progress is shown
_SPACE = re.compile(r"[ \t\n\r]*")


def lists(
    file: Path,
    wanted: Collection[str],
    *,
    drop: str | None = None,
    bare: str | None = None,
    piece_bytes: int = PIECE_BYTES,
) -> Iterator[tuple[str, int, list[Any]]]:
    """(name, number of the first entry, entries) of every list of the top-level object that is in `wanted`.

    A file that is one list and no object comes as the list `bare`, where that is given.

    In the order of the file; an empty list comes once, without entries; every other value is read and dropped. Entries
    come without their key `drop`: memory given back at once is taken again for the next, which makes reading faster.
    Raises BadInput with the place for what is not one JSON object in UTF-8 (a byte order mark may stand before it),
    for a wanted value that is not a list or comes twice, and for an entry beyond LONGEST characters.
    """
    with _opened(file) as (raw, stream):
        text = _Text(file, raw, stream, piece_bytes)
        if bare is not None and text.peek() == "[":
            for first, entries in _entries(text, drop):
                yield bare, first, entries
            if text.peek():
                text.fail("something follows the list")
            return
        if text.peek() != "{":
            what = "is no JSON object at its top level" if text.peek() else "is empty"
            raise BadInput(f"{file}: {what}; it must be {{...}} with the lists {', '.join(wanted)}")
        text.at += 1
        seen: set[str] = set()
        more = text.peek() != "}"
        if not more:
            text.at += 1
        while more:
            key = _key(text)
            if key in seen:
                raise BadInput(f"{file}: `{key}` comes twice, again before {text.place()}; merge the two lists")
            if key in wanted:
                seen.add(key)
            if text.peek() == "[":
                for first, entries in _entries(text, drop):
                    if key in wanted:
                        yield key, first, entries
            elif key in wanted:
                raise BadInput(f"{file}: `{key}` is not a list of objects ({text.place()}); write [{{...}}, ...]")
            else:
                text.value()
            more = text.expect(",}") == ","
        if text.peek():
            text.fail("something follows the object")


def _key(text: _Text) -> str:
    if text.peek() != '"':
        text.fail("a name in quotes is expected")
    key = text.value()
    text.expect(":")
    return key


def _entries(text: _Text, drop: str | None) -> Iterator[tuple[int, list[Any]]]:
    """Batches of the list that starts here, with the number of their first entry; at least one, maybe empty."""
    text.at += 1
    first, batch = 0, []
    more = text.peek() != "]"
    if not more:
        text.at += 1
    while more:
        text.peek()
        entry = text.value()
        if type(entry) is dict:
            entry.pop(drop, None)
        batch.append(entry)
        more = text.expect(",]") == ","
        if more and len(batch) == BATCH:
            yield first, batch
            first, batch = first + BATCH, []
    yield first, batch


class _Text:
    """The part of a file's text that is being read; `at` is the place in it."""

    def __init__(self, file: Path, raw: IO[bytes], stream: IO[bytes], piece_bytes: int):
        self.file, self.raw, self.stream, self.piece_bytes = file, raw, stream, piece_bytes
        self.text, self.at = "", 0
        self.taken = 0  # bytes handed to the decoder so far
        self.decoder = codecs.getincrementaldecoder("utf-8-sig")()
        self.decode = json.JSONDecoder().raw_decode
        size = file.stat().st_size
        self.progress = Progress(f"reading {file.name}", size >> 20, "MiB") if size >= LONG_FILE else None

    def peek(self) -> str:
        """The next character that is no white space, which `at` then points to; "" at the end of the file."""
        while True:
            found = self.text[self.at : self.at + 1]
            if found > " ":  # nearly always
                return found
            self.at = _SPACE.match(self.text, self.at).end()  # type: ignore[union-attr]
            if self.at < len(self.text):
                return self.text[self.at]
            if not self.grow():
                return ""

    def expect(self, characters: str) -> str:
        """The next character, which must be one of these, and is passed over."""
        found = self.peek()
        if not found or found not in characters:
            self.fail(f"{' or '.join(characters)} is expected")
        self.at += 1
        return found

    def value(self) -> Any:
        """The value that starts at `at`, which then points behind it."""
        while True:
            try:
                value, end = self.decode(self.text, self.at)
                problem = ""
            except RecursionError:
                raise BadInput(f"{self.file}: nested too deeply, {self.place()}; flatten or remove it") from None
            except json.JSONDecodeError as error:
                value, end, problem = None, error.pos, error.msg
            except ValueError:  # Python reads no whole number of more than 4300 digits
                value, end, problem = None, self.at, "a number has thousands of digits"
            if not problem and end < len(self.text) - 2:  # `1e+` is a number followed by two letters, until a 5 comes
                self.at = end
                return value
            # what looks broken, or is a number, may go on behind the end of the text
            if len(self.text) - self.at > LONGEST:
                raise BadInput(
                    f"{self.file}: an entry of more than {LONGEST >> 20} MiB, {self.place()}; repair or split it"
                )
            if self.grow():
                continue
            self.at = end
            return self.fail(problem) if problem else value

    def grow(self) -> bool:
        """Read on, at least as much as is left here, and forget what is behind; False at the end of the file."""
        pending = len(self.decoder.getstate()[0])
        try:
            piece = self.stream.read(max(self.piece_bytes, len(self.text) - self.at))
            fresh = self.decoder.decode(piece, final=not piece)
        except UnicodeDecodeError as error:
            place = self.taken - pending + error.start
            raise BadInput(f"{self.file}: not UTF-8 text, byte {place}; save it as UTF-8") from None
        except (OSError, EOFError, zlib.error) as error:
            raise BadInput(f"{self.file}: cannot be read ({error}); copy or compress it again") from None
        if not piece:
            return False
        self.text, self.at = self.text[self.at :] + fresh, 0
        self.taken += len(piece)
        if self.progress and (fresh_mib := (self.raw.tell() >> 20) - self.progress.done):
            self.progress.advance(fresh_mib)
        return True

    def place(self) -> str:
        """Where `at` is in the (uncompressed) file."""
        return f"byte {self.taken - len(self.decoder.getstate()[0]) - len(self.text[self.at :].encode())}"

    def fail(self, why: str) -> NoReturn:
        place = self.place()
        if not self.peek():
            raise BadInput(f"{self.file}: not valid JSON (it ends too early, {place}); copy or export it again")
        raise BadInput(f"{self.file}: not valid JSON ({why}, {place}); export the annotations again")


@contextmanager
def _opened(file: Path) -> Iterator[tuple[IO[bytes], IO[bytes]]]:
    """The file as it lies on the disk, and its content."""
    if not file.is_file():
        raise BadInput(f"{file}: there is no such annotation file; correct `root` or `subsets` in the data parameters")
    try:
        raw = file.open("rb")
    except OSError as error:
        raise BadInput(f"{file}: cannot be opened ({error.strerror}); make it readable") from None
    with raw:
        compressed = raw.peek(2)[:2] == b"\x1f\x8b"
        yield raw, gzip.open(raw) if compressed else raw  # type: ignore[misc]
