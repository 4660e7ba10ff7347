"""One writer for each output; a stage that DVC started ends with DVC, one that a person started does not."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from scantling import alone, stage
from tests import toy

HOLD = """
import sys, time
from pathlib import Path
from scantling import alone
with alone.writer_of(Path(sys.argv[1])):
    print("inside", flush=True)
    time.sleep(60)
"""
PARENT = """
import os, subprocess, sys
child = subprocess.Popen([sys.executable, "-c", '''
import time
from scantling import alone
alone.end_with_engine()
print("ready", flush=True)
time.sleep(60)
'''])
print(child.pid, flush=True)
child.wait()
"""


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PYTHONPATH", str(toy.ROOT))


@pytest.fixture
def other() -> Iterator[subprocess.Popen[str]]:
    """Another process that writes `out`."""
    process = subprocess.Popen([sys.executable, "-c", HOLD, "out"], stdout=subprocess.PIPE, text=True)
    assert process.stdout and process.stdout.readline() == "inside\n"
    yield process
    process.kill()
    process.communicate()


def test_two_writers_of_one_folder_one_after_the_other(other: subprocess.Popen[str]) -> None:
    with alone.writer_of(Path("another"), 0):
        pass
    with pytest.raises(alone.Busy, match=f"process {other.pid} on "), alone.writer_of(Path("deep/../out"), 0):
        pass
    other.kill()
    with alone.writer_of(Path("out"), 60):  # the lock ended with its process
        pass


def copy(source: Path, out: Path) -> None:
    (out / "result.txt").write_text(source.read_text())


def test_a_stage_says_who_writes_its_output(other: subprocess.Popen[str], monkeypatch: pytest.MonkeyPatch) -> None:
    Path("in.txt").write_text("1")
    whole = alone.writer_of
    monkeypatch.setattr(alone, "writer_of", lambda out: whole(out, 0.5))
    with pytest.raises(SystemExit, match=rf"^copy: out: process {other.pid} on \S+ is writing it; wait until it ends"):
        stage.run(copy, "--source in.txt --out out".split())
    assert not Path("out").exists() and not Path(".out.part").exists()
    other.kill()
    stage.run(copy, "--source in.txt --out out".split())
    assert Path("out/result.txt").read_text() == "1"


def test_without_locks_of_the_file_system_it_goes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise OSError(37, "No locks available")

    monkeypatch.setattr(alone.fcntl, "lockf", refuse)
    with alone.writer_of(Path("out"), 0):
        pass


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="only Linux tells a process that its parent is gone")
@pytest.mark.parametrize("by_dvc", [True, False])
def test_a_stage_ends_with_the_dvc_that_started_it(by_dvc: bool) -> None:
    environment = {k: v for k, v in os.environ.items() if k != "DVC_STAGE"} | ({"DVC_STAGE": "a"} if by_dvc else {})
    parent = subprocess.Popen([sys.executable, "-c", PARENT], stdout=subprocess.PIPE, text=True, env=environment)
    assert parent.stdout
    said = {parent.stdout.readline().strip(), parent.stdout.readline().strip()}
    child = int((said - {"ready"}).pop())
    parent.kill()
    parent.wait()
    until = time.monotonic() + (30 if by_dvc else 1)
    while alive(child) and time.monotonic() < until:
        time.sleep(0.02)
    assert alive(child) != by_dvc
    if not by_dvc:
        os.kill(child, signal.SIGKILL)


def alive(process: int) -> bool:
    """Not gone and no zombie, which a container without init keeps."""
    try:
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False
