"""Asks DVC which stages there are and which are stale, and tells Snakemake by the times of stamp files.

dvc.yaml is the only description of the stages, and DVC the only judge of staleness. Snakemake's rules trade in empty
stamps: `.pipeline/want/STAGE` newer than `.pipeline/done/STAGE`, or a missing one, means that the stage is to run.
"""

from __future__ import annotations

import json
import os
from pathlib import Path, PurePosixPath
from typing import Any

from scantling.params import ParamsError
from workflow import study

STATE = Path(".pipeline")
CACHE = STATE / "dag.json"
FAILED = STATE / "failed"
BUSY = (
    "DVC is busy in this checkout: another run is in progress; wait for it or stop it "
    "(just killed: try again in a moment; none there at all: delete .dvc/tmp/rwlock)"
)


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


def sync() -> list[dict[str, Any]]:
    """For the head process: bring the stage table up to date and give each stamp the time that says what DVC knows."""
    from dvc.exceptions import DvcException
    from dvc.lock import LockError

    try:
        study.refresh()
        stages, stale = resolve()
    except LockError:
        raise SystemExit(BUSY) from None
    except (DvcException, ParamsError) as error:
        raise SystemExit(str(error)) from None
    for folder in ("want", "done", "failed"):
        (STATE / folder).mkdir(parents=True, exist_ok=True)
    for stage in stages:
        want, done = STATE / "want" / stage["name"], STATE / "done" / stage["name"]
        if stage["name"] in stale:
            want.write_text(stage["name"])
            done.unlink(missing_ok=True)
        else:
            for stamp in (want, done):
                stamp.touch()
                os.utime(stamp, (1, 1))
    CACHE.write_text(json.dumps(connect(stages), indent=1))
    return stages


def cached() -> list[dict[str, Any]]:
    """For the processes of jobs: what the head process found, as DVC may be busy by now."""
    return json.loads(CACHE.read_text())
