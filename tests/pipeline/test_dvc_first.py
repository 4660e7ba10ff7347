"""The story of checks.py, begun by DVC and gone on with by Snakemake; and what is the same whichever comes first."""

from __future__ import annotations

import os
from pathlib import Path

from tests.pipeline.checks import EngineChecks
from tests.pipeline.toy_project import Toy, drop_root_override


class TestDvcThenSnakemake(EngineChecks):
    first, second = "dvc", "snakemake"

    def test_times_of_files_mean_nothing(self, toy: Toy) -> None:
        for path in ("stages", "params", "data/generated", "results"):
            for file in (toy.folder / path).rglob("*"):
                os.utime(file)
        self.nothing_to_do(toy, self.first, self.second)

    def test_a_clone_with_the_cache_has_nothing_to_do(self, toy: Toy, tmp_path: Path) -> None:
        toy.commit("results")
        other = toy.clone(tmp_path / "clone")
        self.nothing_to_do(other, "snakemake", "dvc")
        assert "Nothing to be done" in other.snakemake("-n")

    def test_outs_may_be_read_only_links(self, toy: Toy, tmp_path: Path) -> None:
        toy.commit("results, again") if toy.git("status", "--porcelain") else None
        other = toy.clone(tmp_path / "clone")
        other.dvc("config", "--local", "cache.type", "hardlink,symlink")
        other.dvc("checkout", "--relink", "-q")
        assert not os.stat(other.folder / "results/retrain/toy-a/model.txt").st_mode & 0o222
        self.nothing_to_do(other, self.first)
        for engine, rate in ((self.first, 21), (self.second, 22)):
            other.set("training", a={"rate": rate})
            ran = other.run(engine, preexec_fn=drop_root_override)
            assert ran == {"retrain@toy-a", "evaluate@toy-a", "report@two"}
