"""Break things for an hour and count what the next call made good.

    python -m tests.faults --minutes 60 --seed 0 --out faults.json

Prints a line for each fault and, after each, writes the counts: by kind how many were tried and survived, what was hit,
and which remedies the messages named were needed. The faults of a seed are always the same, their moments depend on the
machine. What did not survive stays in the folder that is named.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import shutil
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import Any

import torch

from tests.faults import disk, engines, labeling, training
from tests.faults.project import Project

STARTS = ("never run", "a value changed")
ON_FULL_DISK = "full disk under an engine"
STAGES = training.FAULTS | labeling.FAULTS


class Bench:
    """Projects to break: one that was never run and one with a changed value; and what each is to become."""

    def __init__(self, folder: Path, starts: tuple[str, ...] = STARTS):
        fresh = Project.create(folder / "fresh")
        changed = fresh.copy(folder / "changed")
        changed.run("dvc")
        changed.set("training", a={"rate": 5})
        self.starts = {start: {STARTS[0]: fresh, STARTS[1]: changed}[start] for start in starts}
        self.stages = dict(zip(STARTS, (7, 3), strict=True))  # that are to do
        self.peace = {}
        for start, project in self.starts.items():
            undisturbed = project.copy(folder / "peace" / start.replace(" ", "_"))
            undisturbed.run("dvc")
            self.peace[start] = undisturbed.bytes()

    def engine(self, kind: str, where: Path, rng: random.Random) -> tuple[str, str]:
        """How a fault of an engine went, and what was needed after it."""
        start = rng.choice(list(self.starts))
        if kind == ON_FULL_DISK:
            with disk.small(where):
                return self._tried(disk.full, start, where / "project", rng)
        return self._tried(engines.FAULTS[kind], start, where / "project", rng)

    def _tried(self, fault: Any, start: str, where: Path, rng: random.Random) -> tuple[str, str]:
        project = self.starts[start].copy(where)
        how = fault(project, rng, self.stages[start])
        after = engines.finish(project, rng)
        if (found := project.bytes()) != self.peace[start]:
            wrong = sorted({k for k, _ in set(found.items()) ^ set(self.peace[start].items())})
            raise engines.Broken(f"other bytes than an undisturbed run after {how}, {after}: {wrong}")
        return f"{start}: {how}", after


def kinds() -> list[str]:
    """Those that this machine can try."""
    found = [*engines.FAULTS, *STAGES, ON_FULL_DISK]
    if reason := disk.why_not():
        print(f"full disks are left out: {reason}", file=sys.stderr)
        found = [kind for kind in found if "full disk" not in kind]
    return found


def commit() -> str:
    words = ["git", "describe", "--always", "--dirty"]
    return subprocess.run(words, capture_output=True, text=True, cwd=Path(__file__).parent).stdout.strip()


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=60)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, default=Path("work/faults.json"))
    a = parser.parse_args()
    torch.set_num_threads(1)
    folder = Path(tempfile.mkdtemp(prefix="faults"))
    os.environ["DVC_SITE_CACHE_DIR"] = str(folder / "site")
    bench, lab = Bench(folder / "bench"), training.Lab(folder / "lab")
    counts: dict[str, dict[str, Any]] = {}
    failed: list[dict[str, Any]] = []
    order, known, number = [], kinds(), 0
    started = time.monotonic()
    while time.monotonic() - started < 60 * a.minutes:
        if not order:
            order = random.Random(f"{a.seed} {number}").sample(known, len(known))
        kind, where = order.pop(), folder / f"{number}"
        rng = random.Random(f"{a.seed} {number} {kind}")
        count = counts.setdefault(kind, {"tried": 0, "survived": 0, "how": Counter(), "needed": Counter()})
        count["tried"] += 1
        begun = time.monotonic()
        try:
            how, after = (STAGES[kind](lab, where, rng), "") if kind in STAGES else bench.engine(kind, where, rng)
            count["survived"] += 1
            count["how"][how] += 1
            count["needed"].update(after.split(", ")[1:])
            shutil.rmtree(where, ignore_errors=True)
            said = f"{how}{' | ' + after if after else ''}"
        except Exception as error:
            said = f"FAILED {type(error).__name__}: {error}; see {where}"
            failed.append({"number": number, "kind": kind, "what": said})
        print(f"{number:4} {time.monotonic() - begun:5.1f} s  {kind}: {said}", flush=True)
        number += 1
        total = {name: sum(c[name] for c in counts.values()) for name in ("tried", "survived")}
        found = {"commit": commit(), "seed": a.seed, "minutes": round((time.monotonic() - started) / 60, 1)}
        a.out.parent.mkdir(parents=True, exist_ok=True)
        part = a.out.with_suffix(".part")
        part.write_text(json.dumps(found | total | {"kinds": counts, "failed": failed}, indent=1))
        os.replace(part, a.out)
    print(f"{total['tried']} faults, {total['survived']} survived: {a.out}")
    if not failed:
        shutil.rmtree(folder, ignore_errors=True)
    return int(bool(failed))


if __name__ == "__main__":
    sys.exit(main())
