"""The benchmarks run; what they measure is asked of a quiet machine, not of a test."""

import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]


def test_detectors_against_torchvision() -> None:
    done = subprocess.run(
        [sys.executable, "benchmarks/detectors.py", "--image", "64", "--batch", "1", "--steps", "1", "--repeats", "1",
         "faster_rcnn_lite", "retinanet_lite"],
        cwd=ROOT, env={"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}, capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    for name in ("faster_rcnn_lite", "retinanet_lite"):
        assert re.search(rf"{name}: images/s over torchvision's: median \d", done.stdout)
