"""Eight kills in a row at random moments end in the same bytes; SIGTERM to a whole job saves the state."""

import json
import os
import subprocess
import sys
from pathlib import Path

from tests import toy


def found(*arguments: str) -> dict:
    words = [sys.executable, "-W", "ignore", str(toy.ROOT / "tests/faults/kills.py"), *arguments]
    environment = os.environ | {"PYTHONPATH": str(toy.ROOT), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(words, env=environment, capture_output=True, text=True, timeout=250)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


def test_random_kills_change_no_bit(tmp_path: Path) -> None:
    seen = found(str(tmp_path))
    assert seen["equal"] and seen["kills"] == 8
    assert seen["resumed"] >= 4, "most lives must find what the one before left"


def test_a_job_asked_to_end_with_all_its_workers_saves_its_state(tmp_path: Path) -> None:
    seen = found(str(tmp_path), "group")
    assert seen["status"] == 2 and "asked to end (SIGTERM) at step" in seen["reason"]
    step = int(seen["reason"].split("at step ")[1].split(";")[0])
    assert [p for p in (tmp_path / "work").iterdir() if p.name.startswith(f"state_{step:09d}_")]
