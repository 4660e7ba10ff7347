"""A state of other parameters, inputs or threads is never picked up."""

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


def test_a_finished_stage_leaves_nothing(tmp_path: Path) -> None:
    (tmp_path / "w").mkdir()
    (tmp_path / "w/state.pt").touch()
    work.finished(tmp_path / "w")
    work.finished(tmp_path / "w")
    assert not (tmp_path / "w").exists()
