"""A few of the faults that `python -m tests.faults` tries for an hour: one of each kind that no other test has."""

from __future__ import annotations

import random
from pathlib import Path

import pytest
import torch

from tests.faults import disk, engines, training
from tests.faults.__main__ import ON_FULL_DISK, STAGES, Bench, kinds


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Bench:
    return Bench(tmp_path_factory.mktemp("bench") / "bench", starts=("a value changed",))


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> training.Lab:
    assert torch.get_num_threads() == 1
    return training.Lab(tmp_path_factory.mktemp("lab") / "lab")


def skip_without_disk(kind: str) -> None:
    if "full disk" in kind and (reason := disk.why_not()):
        pytest.skip(reason)


@pytest.mark.parametrize(
    "kind", ["kill -9 of Snakemake", "damaged objects of the cache", "lock file cut off", ON_FULL_DISK]
)
def test_after_a_fault_of_an_engine_the_next_call_ends_in_the_same_bytes(
    bench: Bench, tmp_path: Path, kind: str
) -> None:
    skip_without_disk(kind)
    bench.engine(kind, tmp_path / "trial", random.Random(1))


@pytest.mark.parametrize(
    "kind", ["kill -9 of one rank of two", "full disk under a training", "damaged parts of labels"]
)
def test_after_a_fault_of_a_stage_the_next_call_ends_in_the_same_bytes(
    lab: training.Lab, tmp_path: Path, kind: str
) -> None:
    skip_without_disk(kind)
    STAGES[kind](lab, tmp_path / "trial", random.Random(1))


def test_a_broken_promise_is_noticed(bench: Bench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def forge(project: engines.Project, rng: random.Random, stages: int) -> str:
        (project.folder / "stages/retrain.py").write_text("import sys; sys.exit('retrain: no remedy')")
        return ""

    monkeypatch.setitem(engines.FAULTS, "forged", forge)
    with pytest.raises(engines.Broken, match="no remedy is named"):
        bench.engine("forged", tmp_path / "trial", random.Random(0))


def test_every_kind_can_be_tried() -> None:
    known = {*engines.FAULTS, *STAGES, ON_FULL_DISK}
    assert set(kinds()) == known - ({k for k in known if "full disk" in k} if disk.why_not() else set())
