"""Twenty kills in a row at random moments end in the same bytes."""

import json
import os
import subprocess
import sys
from pathlib import Path

from tests import toy


def test_twenty_random_kills_change_no_bit(tmp_path: Path) -> None:
    words = [sys.executable, "-W", "ignore", str(toy.ROOT / "tests/faults/kills.py"), str(tmp_path)]
    environment = os.environ | {"PYTHONPATH": str(toy.ROOT), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(words, env=environment, capture_output=True, text=True, timeout=250)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout.splitlines()[-1])
    assert found["equal"] and found["kills"] == 20
    assert found["resumed"] >= 10, "most lives must find what the one before left"
