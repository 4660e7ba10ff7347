"""A stage as a user runs it: options from the signature, one sentence on bad input, all or nothing on disk."""

import errno
import json
import os
from pathlib import Path

import pytest

from scantling import stage
from scantling.params import Params


class Numbers(Params):
    factor: int


def double(source: Path, numbers: Numbers, out: Path, times: int = 1) -> None:
    (out / "result.txt").write_text(str(int(source.read_text()) * numbers.factor * times))


def fail(source: Path, out: Path) -> None:
    (out / "half.txt").write_text("half")
    raise stage.BadInput(f"{source}: 7 is odd; give an even number")


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    Path("in.txt").write_text("7")
    Path("p.yaml").write_text("factor: 3")
    return tmp_path


def earlier(out: str) -> None:
    """What an earlier run left."""
    Path(out).mkdir(parents=True)
    Path(out, "old.txt").write_text("old")
    Path(out, "provenance.json").write_text("{}")


def test_writes_everything_with_provenance() -> None:
    stage.run(double, "--source in.txt --numbers p.yaml --times 2 --out deep/o".split())
    assert Path("deep/o/result.txt").read_text() == "42"
    record = json.loads(Path("deep/o/provenance.json").read_text())
    assert record["params"] == {"numbers": {"factor": 3}, "times": 2}
    assert record["inputs"]["source"]["sha256"] == stage.digest(Path("in.txt"))
    assert record["seconds"] >= 0 and record["peak_memory_mib"] > 0 and record["versions"]["torch"]
    assert [p.name for p in Path("deep").iterdir()] == ["o"]


def test_replaces_an_earlier_result_as_a_whole() -> None:
    earlier("o")
    stage.run(double, "--source in.txt --numbers p.yaml --out o".split())
    assert sorted(p.name for p in Path("o").iterdir()) == ["provenance.json", "result.txt"]


def test_a_failure_leaves_the_earlier_result_alone_and_says_one_sentence() -> None:
    earlier("o")
    with pytest.raises(SystemExit, match=r"^fail: in.txt: 7 is odd; give an even number$"):
        stage.run(fail, "--source in.txt --out o".split())
    assert sorted(p.name for p in Path("o").iterdir()) == ["old.txt", "provenance.json"]


def test_what_no_stage_has_written_is_never_replaced() -> None:
    Path("photos").mkdir()
    Path("photos/1.jpg").write_text("mine")
    for out in ("photos", "p.yaml"):
        with pytest.raises(SystemExit, match=rf"--out {out}: is there and was not written by a stage; name another"):
            stage.run(double, f"--source in.txt --numbers p.yaml --out {out}".split())
    earlier("deep/o")
    Path("deep/o/in.txt").write_text("7")
    with pytest.raises(SystemExit, match=r"--out deep/o: would replace --source deep/o/in.txt; name another folder"):
        stage.run(double, "--source deep/o/in.txt --numbers p.yaml --out deep/o".split())
    assert Path("photos/1.jpg").read_text() == "mine" and Path("p.yaml").is_file()
    Path("empty").mkdir()
    stage.run(double, "--source in.txt --numbers p.yaml --out empty".split())


def test_a_full_disk_is_a_sentence_however_deep_it_lies() -> None:
    def plain(out: Path) -> None:
        raise OSError(errno.ENOSPC, "No space left on device", "work/state.part")

    def deep(out: Path) -> None:
        try:
            plain(out)
        except OSError:
            raise RuntimeError("unexpected pos 64 vs 0")  # noqa: B904, as PyTorch does

    for function in (plain, deep):
        with pytest.raises(SystemExit, match=r"^\w+: no space left on the disk \(work/state.part\); free some and run"):
            stage.run(function, ["--out", "o"])
    assert not Path("o").exists()


def test_a_file_that_is_not_what_the_stage_before_wrote_is_refused() -> None:
    stage.run(double, "--source in.txt --numbers p.yaml --out first".split())
    stage.run(double, "--source first/result.txt --numbers p.yaml --out second".split())
    times = Path("first/result.txt").stat()
    Path("first/result.txt").write_text("22")
    os.utime("first/result.txt", ns=(times.st_atime_ns, times.st_mtime_ns))
    with pytest.raises(SystemExit, match="--source first/result.txt: its content is not what the stage before wrote"):
        stage.run(double, "--source first/result.txt --numbers p.yaml --out second".split())
    assert Path("second/result.txt").read_text() == "63"


def test_a_folder_of_another_stage_is_named() -> None:
    def reads(source: Path, out: Path) -> None:
        (source / "split.parquet").read_bytes()

    Path("other").mkdir()
    with pytest.raises(
        SystemExit, match=r"^reads: --source other has not all of the files .*other/split.parquet.*is it a"
    ):
        stage.run(reads, "--source other --out o".split())


def test_missing_input_and_wrong_parameter_are_named() -> None:
    with pytest.raises(SystemExit, match="--source nowhere.txt: there is no such file"):
        stage.run(double, "--source nowhere.txt --numbers p.yaml --out o".split())
    Path("p.yaml").write_text("facto: 3")
    with pytest.raises(SystemExit, match="unknown parameter `facto`; did you mean `factor`?"):
        stage.run(double, "--source in.txt --numbers p.yaml --out o".split())


def test_help_tells_the_options(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as end:
        stage.run(double, ["--help"])
    text = capsys.readouterr().out
    assert end.value.code == 0 and "--numbers FILE[:SECTION]" in text and "--out PATH" in text


def test_a_digest_sees_content_and_names_but_not_provenance() -> None:
    folder = Path("d")
    folder.mkdir()
    (folder / "a").write_text("1")
    first = stage.digest(folder)
    (folder / "provenance.json").write_text("{}")
    assert stage.digest(folder) == first
    (folder / "a").rename(folder / "b")
    assert stage.digest(folder) != first
