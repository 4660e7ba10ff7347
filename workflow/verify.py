"""Finds what a disk, a kill or a full disk damaged unseen, and removes it: the next run makes or fetches it anew.

    python -m workflow.verify

DVC takes the content of its cache, and of files whose time and size did not change, for what it was; this command reads
every byte. Damaged objects of the cache are restored from an intact result where there is one, else deleted; damaged
results are deleted; a dvc.lock that was cut off is put aside (finished stages come back from the cache). What a user
made is only reported.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from workflow.dag import BUSY

LOCK, RWLOCK = Path("dvc.lock"), Path(".dvc/tmp/rwlock")
OBJECT = re.compile(r"[0-9a-f]{32}(\.dir)?")


def verify() -> list[str]:
    """Remove what is damaged; a sentence for each finding."""
    from dvc.dependency import ParamsDependency
    from dvc.fs import localfs
    from dvc.repo import Repo

    found = [*_torn_files()]
    with Repo(".") as repo, repo.lock:
        outs = {Path(o.fs_path): None for o in repo.index.outs if o.protocol == "local"}
        deps = [d for s in repo.index.stages for d in s.deps if not isinstance(d, ParamsDependency)]
        sources = {Path(d.fs_path): None for d in deps if d.protocol == "local"}
        intact: dict[str, Path] = {}
        seen: dict[Path, None] = {}
        for root, ours in [(path, True) for path in outs] + [(path, False) for path in sources]:
            for file in _files(root):
                if file in seen:
                    continue
                seen[file] = None
                _, believed = repo.state.get(str(file), localfs)
                actual = _md5(file)
                if believed is None or believed.value == actual:
                    intact.setdefault(actual, file)
                elif ours:
                    file.unlink()
                    found.append(f"{_short(file)}: damaged; deleted, the next run makes it anew")
                else:
                    found.append(f"{_short(file)}: changed though its time and size did not; restore it from your copy")
        found += _objects(repo.cache.local, intact)
    return found


def _torn_files() -> Iterator[str]:
    """dvc.lock and DVC's list of who works on what, which it writes in place."""
    from dvc.schema import COMPILED_LOCKFILE_SCHEMA
    from ruamel.yaml import YAML
    from ruamel.yaml.error import YAMLError
    from voluptuous import Invalid

    if LOCK.exists():
        try:
            stages = COMPILED_LOCKFILE_SCHEMA(YAML(typ="safe").load(LOCK.read_text(encoding="utf-8")))["stages"]
            entries = [entry for stage in stages.values() for kind in ("deps", "outs") for entry in stage.get(kind, [])]
            whole = all(OBJECT.fullmatch(str(entry.get("md5", "0" * 32))) for entry in entries)
        except (YAMLError, UnicodeDecodeError, Invalid, KeyError, AttributeError):
            whole = False
        if not whole:
            aside = LOCK.with_suffix(".lock.damaged")
            os.replace(LOCK, aside)
            yield f"{LOCK}: damaged; put aside as {aside}, finished stages come back from the cache"
    if RWLOCK.exists():
        try:
            json.loads(RWLOCK.read_text())
        except ValueError:
            RWLOCK.unlink()
            yield f"{RWLOCK}: damaged; deleted"


def _objects(cache: Any, intact: dict[str, Path]) -> Iterator[str]:
    """The cache's objects, whose names are the hashes of their contents; `intact`: hash -> a result that has it."""
    root = Path(cache.path)
    for file in sorted(root.glob("[0-9a-f][0-9a-f]/*")):
        name = file.parent.name + file.name
        if OBJECT.fullmatch(name) and _md5(file) != name.removesuffix(".dir"):  # others: copies on their way
            file.unlink()
            if name in intact:
                aside = file.with_name(file.name + ".part")
                shutil.copy(intact[name], aside)
                aside.chmod(0o444)
                os.replace(aside, file)
            what = f"restored from {_short(intact[name])}" if name in intact else "deleted, the next run makes it anew"
            yield f"{_short(file)}: damaged; {what}"


def _files(path: Path) -> list[Path]:
    return [path] if path.is_file() else sorted(p for p in path.rglob("*") if p.is_file())


def _md5(file: Path) -> str:
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()


def _short(path: Path) -> str:
    return os.path.relpath(path)


if __name__ == "__main__":
    from dvc.lock import LockError

    try:
        said = verify()
    except LockError:
        sys.exit(BUSY)
    print("\n".join(said) if said else "every result and every object of the cache is whole")
