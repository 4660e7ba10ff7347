"""`dvc repro` of one stage, for which dvc.lock is nothing but the stage's own entry.

    python -m workflow.repro STAGE [OPTION ...]

DVC parses the whole file as it starts, and once more, slower, to write one entry, while all other jobs wait: 34 s of a
core for each stage of a study of hundreds of runs (157,000 lines). Here the entry is cut out as text and put back as
text, to the same bytes; a file of another form than DVC writes is left to DVC.
"""

from __future__ import annotations

import contextlib
import os
import re
import signal
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

HEAD = "schema: '2.0'\nstages:\n"
PLAIN = re.compile(r"[A-Za-z_][\w@.+-]{0,99}", re.ASCII)  # a name that YAML writes as it is, on one line
# below the head: other keys of the file, names that are quoted, names with an anchor behind
FOREIGN = re.compile(r"^(?:\S|  [^ A-Za-z_]|  \S.*[^:\n]$)", re.MULTILINE)


class Entry(NamedTuple):
    """What is before an entry of dvc.lock, the entry's lines (none: there is no such stage yet), what is after."""

    before: str
    own: str
    after: str


def find(text: str, stage: str) -> Entry | None:
    """The entry of a stage; None for a text or a name that only a parser of YAML understands."""
    if not PLAIN.fullmatch(stage) or not text.startswith(HEAD) or not text.endswith("\n"):
        return None
    if FOREIGN.search(text, len(HEAD)):
        return None
    start = text.find(f"\n  {stage}:\n") + 1
    if not start:
        return Entry(text, "", "")
    following = re.compile(r"^  \S", re.MULTILINE).search(text, start + len(stage))
    end = following.start() if following else len(text)
    return Entry(text[:start], text[start:end], text[end:])


def quicken(stage: str) -> None:
    """Let DVC, in this process, read and write the entry of `stage` alone."""
    from dvc import dvcfile
    from dvc.utils import strictyaml
    from dvc.utils.serialize import dumps_yaml, parse_yaml, parse_yaml_for_update

    parse_all, modify_all = dvcfile.Lockfile._load_yaml, dvcfile.modify_yaml

    def load(self: Any, **options: Any) -> tuple[Any, str]:
        entry = find(_text(self.path), stage)
        if entry is None or options:
            return parse_all(self, **options)
        text = HEAD + entry.own if entry.own else HEAD.replace("stages:", "stages: {}")
        content = parse_yaml(text, self.path)
        strictyaml.validate(content, self.SCHEMA, text=text, path=self.relpath)
        return content, text

    @contextlib.contextmanager
    def modify(path: str, fs: Any = None) -> Iterator[Any]:
        entry = find(_text(path), stage) if Path(path).name == "dvc.lock" else None
        if entry is None:
            with modify_all(path, fs=fs) as content:
                yield content
            return
        content: Any = parse_yaml_for_update(HEAD + entry.own, path) if entry.own else {"schema": "2.0", "stages": {}}
        yield content
        written = dumps_yaml(content)
        if not written.startswith(HEAD) or set(content["stages"]) != {stage}:
            raise RuntimeError(f"{path}: DVC wrote other than the entry of {stage}; nothing was changed")
        ignored = Path(path).parent / ".dvc" / "tmp"  # by Git
        aside = (ignored if ignored.is_dir() else Path(path).parent) / "dvc.lock.part"
        aside.write_text(entry.before + written.removeprefix(HEAD) + entry.after, encoding="utf-8")
        os.replace(aside, path)

    dvcfile.Lockfile._load_yaml, dvcfile.modify_yaml = load, modify


def _text(path: str) -> str:
    """Of a file that is no text, too: `find` gives it up then."""
    with contextlib.suppress(OSError), open(path, encoding="utf-8", errors="replace", newline="") as file:
        return file.read()
    return ""


def main(stage: str, *options: str) -> int:
    # SIGTERM is for the stage alone: DVC ends when that has. A handler, other than SIG_IGN, is not handed on to it
    signal.signal(signal.SIGTERM, lambda *_: None)
    from dvc.cli import main as dvc

    quicken(stage)
    return dvc(["--wait-for-lock", "repro", "--single-item", *options, stage])


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
