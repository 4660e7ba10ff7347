"""Asks DVC which stages there are and which are stale, and tells Snakemake by the times of stamp files.

dvc.yaml is the only description of the stages, and DVC the only judge of staleness. Snakemake's rules trade in empty
stamps: a missing `.pipeline/done/STAGE` means that the stage is to run. `.pipeline/want/STAGE` is older than any.
"""

from __future__ import annotations

import contextlib
import json
import os
import time
from collections.abc import Callable
from pathlib import Path, PurePosixPath
from typing import Any

from scantling import alone
from scantling.params import ParamsError
from workflow import settings, study

STATE = Path(".pipeline")
CACHE = STATE / "dag.json"
FAILED = STATE / "failed"
BUSY = (
    "DVC is busy in this checkout: another run is in progress; wait for it or stop it "
    "(just killed: try again in a moment; none there at all: delete .dvc/tmp/rwlock)"
)
SNAKEMAKE = "DVC is busy in this checkout: Snakemake ({}) is at work in it; wait for it or stop it"
# DVC writes these two in place; a kill or a full disk in that moment leaves a part of one
TORN = {
    "dvc.lock": "`python -m workflow.verify` puts it aside; then run again: finished stages come back from the cache",
    "rwlock": "no run is in progress? then delete .dvc/tmp/rwlock and run again",
}
ORPHANS_S = 5  # seconds in which the jobs of a killed Snakemake notice that it is gone (head.LOOK_S) and end

_held = contextlib.ExitStack()  # the lock of this process, until it ends


def resolve() -> tuple[list[dict[str, Any]], set[str]]:
    """Every stage of dvc.yaml (name, deps, outs; paths as written there) and the names of the stale ones."""
    from dvc.dependency import ParamsDependency
    from dvc.repo import Repo

    with Repo(".") as repo, repo.lock:
        found = [s for s in repo.index.stages if getattr(s, "name", None)]
        stages = [
            {
                "name": s.addressing,
                "deps": [d.def_path for d in s.deps if not isinstance(d, ParamsDependency)],
                "outs": [o.def_path for o in s.outs],
            }
            for s in found
        ]
        stale = {s.addressing for s in found if s.changed(allow_missing=False)}
    return stages, stale


def connect(stages: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Add to each stage `upstream` (names of the stages its deps come from) and `sources` (the other deps).

    A dep comes from a stage if it is an out of it, lies inside one, or is a folder that contains one.
    """
    inside: dict[PurePosixPath, set[str]] = {}  # an out, or a folder above outs -> their stages
    owner: dict[PurePosixPath, str] = {}
    for stage in stages:
        for out in map(PurePosixPath, stage["outs"]):
            owner[out] = stage["name"]
            for path in (out, *out.parents):
                inside.setdefault(path, set()).add(stage["name"])
    for stage in stages:
        upstream: set[str] = set()
        sources = []
        for dep in stage["deps"]:
            path = PurePosixPath(dep)
            makers = inside.get(path, set()) | {owner[p] for p in path.parents if p in owner}
            upstream |= makers
            if not makers:
                sources.append(dep)
        stage |= {"upstream": sorted(upstream - {stage["name"]}), "sources": sources}
    return stages


def with_downstream(stages: list[dict[str, Any]], stale: set[str]) -> set[str]:
    """`stale` and all stages after them, of stages that have been connected.

    Snakemake that is asked for one stage does not look behind the stamps of those before it: with that of a stage far
    upstream missing alone it finds nothing to be done.
    """
    after: dict[str, list[str]] = {}
    for stage in stages:
        for name in stage["upstream"]:
            after.setdefault(name, []).append(stage["name"])
    found, ahead = set(stale), list(stale)
    while ahead:
        fresh = [name for name in after.get(ahead.pop(), []) if name not in found]
        found.update(fresh)
        ahead += fresh
    return found


def sync() -> list[dict[str, Any]]:
    """For the head process: bring the stage table up to date and give each stamp the time that says what DVC knows."""
    from dvc.exceptions import DvcException

    try:
        _held.enter_context(alone.hold(study.LOCK, 0))
    except alone.Busy as other:
        raise SystemExit(SNAKEMAKE.format(other)) from None
    try:
        study.refresh()
        stages, stale = _patiently(resolve)
        if stale:
            settings.check()
    except (DvcException, ParamsError) as error:
        text = str(error).strip()
        raise SystemExit("; ".join([text, *(what for file, what in TORN.items() if file in text)])) from None
    except (AttributeError, TypeError) as error:  # DVC on a dvc.lock in which a hash is cut off
        raise SystemExit(f"DVC cannot read dvc.lock ({error}); {TORN['dvc.lock']}") from None
    for folder in ("want", "done", "failed"):
        (STATE / folder).mkdir(parents=True, exist_ok=True)
    stale = with_downstream(connect(stages), stale)
    _refuse_missing([stage for stage in stages if stage["name"] in stale])
    for stage in stages:
        want, done = STATE / "want" / stage["name"], STATE / "done" / stage["name"]
        for stamp in (want, done):
            stamp.touch()
            os.utime(stamp, (1, 1))  # not now: a clock that is set back during the run would make `want` the newer one
        if stage["name"] in stale:
            done.unlink()
    aside = CACHE.with_suffix(".part")
    aside.write_text(json.dumps(stages, indent=1))
    os.replace(aside, CACHE)
    return stages


def _refuse_missing(stages: list[dict[str, Any]]) -> None:
    """End with a sentence where a data set is not there: Snakemake would name a rule, and not the file to correct."""
    for stage in stages:
        kind, _, data = stage["name"].partition("@")
        missing = [path for path in stage["sources"] if not Path(path).exists()] if kind == "prepare" else []
        if missing:
            raise SystemExit(
                f"params/data/{data}.yaml: there is no {missing[0]}: correct `root` (or `watch`), or put the data there"
            )


def _patiently(ask: Callable[[], Any]) -> Any:
    """`ask` again for some seconds while DVC is busy, as it is just after a kill."""
    from dvc.lock import LockError

    until = time.monotonic() + ORPHANS_S
    while True:
        try:
            return ask()
        except LockError:
            if time.monotonic() >= until:
                raise SystemExit(BUSY) from None
            time.sleep(0.5)


def cached() -> list[dict[str, Any]]:
    """For the processes of jobs: what the head process found, as DVC may be busy by now."""
    return json.loads(CACHE.read_text())
