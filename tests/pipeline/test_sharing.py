"""A team with a remote: what one has computed, no other computes again, under either engine (docs/sharing.md)."""

from __future__ import annotations

from pathlib import Path

from tests.pipeline.toy_project import STAGES, Toy

CHANGED = {"retrain@toy-a", "evaluate@toy-a", "report@two"}


def test_a_second_clone_reproduces_nothing_twice(tmp_path: Path) -> None:
    first = Toy.create(tmp_path / "first")
    first.dvc("remote", "add", "--default", "team", str(tmp_path / "disk"))
    first.dvc("remote", "modify", "team", "verify", "true")
    assert first.run("dvc") == STAGES
    first.commit("one result")
    first.set("training", a={"rate": 5})
    assert first.run("dvc") == CHANGED
    first.commit("another")
    first.dvc("push", "--run-cache", "--all-commits")

    first.git("clone", "-q", str(first.folder), str(tmp_path / "second"))
    second = Toy(tmp_path / "second")
    second.dvc("pull", "--run-cache", "--all-commits")
    assert second.run("snakemake") == set()
    assert second.read("results/report/two/index.html") == first.read("results/report/two/index.html")
    second.set("training", a={"rate": 1})  # what the first one had run before that
    assert second.run("dvc") == {"evaluate@toy-a"}  # its numbers are in Git, not in the remote; no training runs
    second.git("checkout", "-q", "--force", "HEAD~1")
    second.dvc("checkout")
    assert second.run("dvc") == set()


def test_with_a_cache_on_a_shared_disk_nobody_runs_what_another_has_run(tmp_path: Path) -> None:
    first = Toy.create(tmp_path / "first")
    first.dvc("cache", "dir", "--local", str(tmp_path / "disk"))
    first.dvc("config", "--local", "cache.shared", "group")
    first.dvc("config", "--local", "cache.type", "reflink,hardlink,symlink,copy")
    assert first.run("dvc") == STAGES
    first.commit("one result")
    first.git("clone", "-q", str(first.folder), str(tmp_path / "second"))
    second = Toy(tmp_path / "second")
    second.dvc("cache", "dir", "--local", str(tmp_path / "disk"))
    for toy, engine, ran in ((second, "dvc", CHANGED), (first, "snakemake", set())):
        toy.set("training", a={"rate": 7})
        assert toy.run(engine) == ran
    assert first.read("results/report/two/index.html") == second.read("results/report/two/index.html")


def test_a_damaged_object_of_the_remote_is_not_taken(tmp_path: Path) -> None:
    toy = Toy.create(tmp_path / "toy")
    toy.dvc("remote", "add", "--default", "team", str(tmp_path / "disk"))
    toy.dvc("remote", "modify", "team", "verify", "true")
    assert toy.call(*toy.engine("dvc"), "prepare@toy")
    toy.dvc("push")
    table = toy.folder / "results/prepare/toy/table.txt"
    content = table.read_text()
    (stored,) = [p for p in (tmp_path / "disk").rglob("*") if p.is_file() and p.read_text() == content]
    stored.chmod(0o644)
    stored.write_text(content.upper())
    for path in (toy.folder / ".dvc/cache/files", table):
        toy.call("rm", "-r", str(path))
    assert "failed" in toy.dvc("pull", fails=True) and not table.exists()
    toy.forget()
    toy.call(*toy.engine("dvc"), "prepare@toy")
    assert table.read_text() == content and "prepare@toy" in toy.ran()
