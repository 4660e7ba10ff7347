"""Time and peak memory of the stages on data sets as large as COCO and Objects365, each in a process of its own.

    python benchmarks/prepare.py [--size coco|objects365] [--repeats 3] [--work FOLDER] [--small]

coco: 118,287 images, 860,001 boxes, one file of 448 MB with polygons; `prepare` is set against json.load of the same
file, alternating, and the ratios of time and peak memory are printed. objects365: 1,700,000 images, 25,000,000 boxes,
one file of 5 GB, which json.load cannot read in the memory of most machines: only peak memory and time are printed.
After either, the stage `split` is measured on the index, for all labels and for 10 % of the images. The images are
empty files: with `verify: none` no stage opens them. What is generated needs 0.5 and 6 GB below --work and is removed
at the end. --small is a try-out with few images.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import coco_size

ROOT = Path(__file__).parents[1]
JSON_LOAD = "import json, os, sys; content = json.load(open(sys.argv[1])); os._exit(0)"
SPLITS = ("full", "percent_10")


class Cost(NamedTuple):
    seconds: float  # on the clock
    cpu_seconds: float  # which other processes lengthen less
    peak_mib: float

    def __str__(self) -> str:
        return f"{self.seconds:.1f} s (processor {self.cpu_seconds:.1f} s), {self.peak_mib:,.0f} MiB"


def cost(command: Sequence[object], folder: Path) -> Cost:
    """Of a command run in `folder`: time and peak resident memory; ends everything if it fails."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    with (folder / "output").open("w+") as output:
        start = time.perf_counter()
        process = subprocess.Popen(
            [str(c) for c in command], cwd=folder, env=environment, stdout=output, stderr=subprocess.STDOUT
        )
        _, status, usage = os.wait4(process.pid, 0)
        seconds = time.perf_counter() - start
        process.returncode = os.waitstatus_to_exitcode(status)
        if process.returncode:
            output.seek(0)
            sys.exit(f"{command} failed:\n{output.read()}")
    return Cost(seconds, usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024)


def make(size: str, small: bool, folder: Path) -> Path:
    """Writes the data set and its parameters; gives the annotation file."""
    file, counts = folder / "set/annotations/train.json", {"images": 200, "boxes": 2000}
    lines = ["root: set", "subsets: {train: annotations/train.json}", "verify: none"]
    if size == "coco":
        counts = counts if small else {"images": 118_287, "boxes": 860_001}
        names, lines = coco_size.write_coco(file, **counts), ["format: coco", "images: train2017", *lines]
        coco_size.touch(folder / "set/train2017", names)
    else:
        counts = counts if small else {"images": 1_700_000, "boxes": 25_000_000}
        names, lines = coco_size.write_objects365(file, **counts), ["format: objects365", *lines]
        coco_size.touch(folder / "set/train", names)
    (folder / "data.yaml").write_text("\n".join(lines) + "\n")
    size_mb = file.stat().st_size / 1e6
    print(f"{size}: {counts['images']:,} images, {counts['boxes']:,} boxes, {size_mb:,.1f} MB of JSON", flush=True)
    return file


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", choices=("coco", "objects365"), default="coco")
    parser.add_argument("--repeats", type=int, default=3, help="pairs of json.load and prepare (coco)")
    parser.add_argument("--work", type=Path, help="existing folder with room; the system's temporary one if not given")
    parser.add_argument("--small", action="store_true")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="scantling-", dir=options.work) as temporary:
        folder = Path(temporary)
        file = make(options.size, options.small, folder)
        prepare = [sys.executable, ROOT / "stages/prepare.py", "--data", "data.yaml", "--out", "index"]
        load = [sys.executable, "-c", JSON_LOAD, file]
        ratios = []
        for repeat in range(options.repeats if options.size == "coco" else 1):
            commands = {"prepare": prepare} | ({"json.load": load} if options.size == "coco" else {})
            order = list(commands)[:: 1 if repeat % 2 else -1]
            costs = {name: cost(commands[name], folder) for name in order}
            print("; ".join(f"{name} {costs[name]}" for name in commands), flush=True)
            if "json.load" in costs:
                ours, theirs = costs["prepare"], costs["json.load"]
                ratios.append((ours.seconds / theirs.seconds, ours.peak_mib / theirs.peak_mib))
        if ratios:
            seconds, memory = (statistics.median(column) for column in zip(*ratios, strict=True))
            print(f"prepare over json.load: median time {seconds:.2f}, median peak memory {memory:.2f}", flush=True)
        for protocol in SPLITS:
            split = [sys.executable, ROOT / "stages/split.py", "--index", "index", "--fold", 1, "--out", "split"]
            paid = cost([*split, "--protocol", ROOT / f"params/splits/{protocol}.yaml"], folder)
            print(f"split {protocol}: {paid}", flush=True)


if __name__ == "__main__":
    main()
