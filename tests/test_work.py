"""A state of other parameters, inputs or threads is never picked up."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from scantling import work
from scantling.params import Params


class Numbers(Params):
    factor: int


def test_each_thing_that_decides_gives_another_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SCANTLING_DEVICE", "cpu")
    file = tmp_path / "in.txt"
    file.write_text("1")

    def key(**changes: object) -> Path:
        return work.folder("train", **({"numbers": Numbers(factor=1), "input": file, "seed": 0} | changes))

    first = key()
    assert key() == first and first.parent == Path("work/train")
    others = [key(numbers=Numbers(factor=2)), key(seed=1), work.folder("other", numbers=Numbers(factor=1))]
    monkeypatch.setenv("SCANTLING_THREADS", "2")
    others.append(key())
    monkeypatch.delenv("SCANTLING_THREADS")
    monkeypatch.setenv("SCANTLING_DEVICE", "cuda:0")
    others.append(key())
    monkeypatch.setenv("SCANTLING_DEVICE", "cuda:1")
    assert key() == others[-1], "which of the GPUs decides nothing"
    monkeypatch.setenv("SCANTLING_DEVICE", "cpu")
    file.write_text("2")
    others.append(key())
    assert len({first, *others}) == 7


def test_the_code_decides_wherever_the_checkout_lies(tmp_path: Path) -> None:
    """A folder above the package may be called like a part of it that changes no training."""
    keys = []
    for change in ("", "# changed", ""):
        package = tmp_path / "review" / "scantling"
        shutil.copytree(
            Path(work.__file__).parent, package, ignore=shutil.ignore_patterns("__pycache__"), dirs_exist_ok=True
        )
        with (package / "train.py").open("a") as file:
            file.write(change)
        asks = "from scantling import work; print(work.folder('train'))"
        run = subprocess.run(
            [sys.executable, "-c", asks], cwd=package.parent, capture_output=True, text=True, check=True
        )
        keys.append(run.stdout)
    assert keys[0] == keys[2] != keys[1]


def test_a_finished_stage_leaves_nothing(tmp_path: Path) -> None:
    (tmp_path / "w").mkdir()
    (tmp_path / "w/state.pt").touch()
    work.finished(tmp_path / "w")
    work.finished(tmp_path / "w")
    assert not (tmp_path / "w").exists()


HOLDS = (
    "import sys, time; from pathlib import Path; from scantling import work\n"
    "where = Path(sys.argv[1])\n"
    "with work.alone(where): print('in', flush=True); time.sleep(float(sys.argv[2])); (where / 'made').touch()"
)


def holding(where: Path, seconds: float) -> subprocess.Popen[str]:
    first = subprocess.Popen([sys.executable, "-c", HOLDS, str(where), str(seconds)], stdout=subprocess.PIPE, text=True)
    assert first.stdout is not None and first.stdout.readline() == "in\n"
    return first


def test_runs_that_share_a_folder_wait_for_each_other(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    with holding(tmp_path, 1):
        with work.alone(tmp_path):
            assert (tmp_path / "made").is_file(), "the second one did not wait"
    assert f"is still at work in {tmp_path / 'lock'}; waiting for it to end" in capfd.readouterr().out


def test_a_killed_run_lets_go_of_a_shared_folder(tmp_path: Path) -> None:
    first = holding(tmp_path, 60)
    first.kill()
    first.wait()
    with work.alone(tmp_path):
        assert not (tmp_path / "made").exists()
