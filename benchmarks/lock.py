"""What one entry of dvc.lock costs a job: DVC's own reading and writing against workflow/repro.py's.

    python benchmarks/lock.py [--stages 511] [--deps 75] [--repeats 3]

Read once and written once, as `dvc repro` of a stage does it, in a file of so many stages with so many dependencies.
Processor seconds, alternating in one process; the ratio is DVC's time over ours, the median of the pairs. What both
have written is compared.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from copy import deepcopy
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1]))

from dvc import dvcfile
from dvc.repo import Repo
from dvc.utils.serialize import dumps_yaml

from workflow import repro

NAME = "retrain@data-split-f{}-detector-training-method-s0"


def lock(stages: int, deps: int) -> str:
    """The text of a dvc.lock."""
    listed = [{"path": f"scantling/module_{n}.py", "hash": "md5", "md5": f"{n:032x}", "size": n} for n in range(deps)]
    entry = {"cmd": "python stages/retrain.py " + "--option value " * 20, "deps": listed, "outs": deepcopy(listed[:4])}
    return dumps_yaml({"schema": "2.0", "stages": {NAME.format(n): deepcopy(entry) for n in range(stages)}})


def take(path: Path, text: str, load: Callable[..., Any], modify: Callable[..., Any], stage: str) -> tuple[float, str]:
    """Processor seconds to read the entry and to write another one, and the file then."""
    path.write_text(text)
    file = dvcfile.Lockfile(Repo(path.parent, uninitialized=True), str(path))
    start = time.process_time()
    load(file)
    with modify(str(path)) as content:
        content["stages"][stage]["cmd"] = "python stages/retrain.py"
    return time.process_time() - start, path.read_text()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--stages", type=int, default=511)
    parser.add_argument("--deps", type=int, default=75)
    parser.add_argument("--repeats", type=int, default=3)
    given = parser.parse_args()
    stage, text = NAME.format(given.stages // 2), lock(given.stages, given.deps)
    plain = dvcfile.Lockfile._load_yaml, dvcfile.modify_yaml
    repro.quicken(stage)
    ours = dvcfile.Lockfile._load_yaml, dvcfile.modify_yaml
    pairs = []
    with tempfile.TemporaryDirectory() as folder:
        for _ in range(given.repeats):
            (a, by_dvc), (b, by_us) = (take(Path(folder) / "dvc.lock", text, *way, stage) for way in (plain, ours))
            if by_dvc != by_us:
                sys.exit("the two have written different files")
            pairs.append((a, b))
    slow, quick = (statistics.median(pair[side] for pair in pairs) for side in (0, 1))
    ratio = statistics.median(a / b for a, b in pairs)
    print(
        f"{given.stages} stages, {len(text.splitlines())} lines: DVC {slow:.2f} s, an entry {quick:.3f} s: {ratio:.0f}"
    )


if __name__ == "__main__":
    main()
