"""A JSON file that somebody else wrote, plain or gzipped: its content, or one sentence on what is wrong with it."""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import zlib
from pathlib import Path
from typing import Any

from scantling.stage import BadInput

GZIP = b"\x1f\x8b"
MAX_UNPACKED_BYTES = 1 << 30  # of a gzipped file, which can hold a thousand times its size


def read(file: Path, remedy: str) -> Any:
    """The content of `file`, whatever its name ends with. `remedy` ends the sentence when there is no such file."""
    try:
        content = file.read_bytes()
    except OSError:
        raise BadInput(f"{file}: there is no such file, or it cannot be read; {remedy}") from None
    if content.startswith(GZIP):
        try:
            with gzip.open(io.BytesIO(content)) as packed:
                content = packed.read(MAX_UNPACKED_BYTES + 1)
        except (OSError, EOFError, zlib.error) as error:
            raise BadInput(f"{file}: the gzip file is damaged ({error}); copy or download it again") from None
        if len(content) > MAX_UNPACKED_BYTES:
            raise BadInput(
                f"{file}: unpacks to more than {MAX_UNPACKED_BYTES >> 30} GiB; unpack it yourself if it is honest"
            )
    try:
        return json.loads(content)
    except RecursionError:
        raise BadInput(f"{file}: lists are nested too deeply to be read; export it again") from None
    except ValueError as error:
        raise BadInput(f"{file}: not valid JSON ({error}); copy or download it again") from None


def sha256(file: Path) -> str:
    """Of the bytes of the file."""
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
