"""One entry of dvc.lock read and written as text: the bytes that DVC would write, or DVC itself."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from dvc import dvcfile
from dvc.utils.serialize import dumps_yaml

from workflow import repro

LONG = "python -m workflow.launch stages/retrain.py " + " ".join(f"--option-{n} results/some/folder" for n in range(9))


def entry(number: int) -> dict[str, Any]:
    """As DVC writes it: a command that is folded, hashes, parameters of all kinds."""
    deps = [{"path": f"scantling/{name}.py", "hash": "md5", "md5": f"{number:032x}", "size": 7} for name in "abc"]
    values = {"steps": number, "rate": 1e-3, "none": None, "list": [1, "no", "2.0"], "text": "a: b # c\nd", "empty": {}}
    return {"cmd": LONG, "deps": deps, "params": {"params/t.yaml": values}, "outs": []}


def lock(*names: str) -> str:
    return dumps_yaml({"schema": "2.0", "stages": {name: entry(n) for n, name in enumerate(names)}})


NAMES = ("prepare@cells", "retrain@cells-drop_50-f1", "retrain@cells-drop_50-f10", "report@s")


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch):
    """`modify_yaml` of DVC, and ours for a stage; DVC is as it was afterwards."""
    plain = dvcfile.modify_yaml

    def of(stage: str) -> Any:
        monkeypatch.setattr(dvcfile.Lockfile, "_load_yaml", dvcfile.Lockfile._load_yaml)
        monkeypatch.setattr(dvcfile, "modify_yaml", plain)
        repro.quicken(stage)
        return dvcfile.modify_yaml

    return plain, of


@pytest.mark.parametrize("stage", [*NAMES, "retrain@cells-drop_50-f2", "retrain@cells-drop_50"])
def test_the_same_bytes_as_by_dvc(quick, tmp_path: Path, stage: str):
    plain, of = quick
    written = []
    for folder, modify in (("dvc", plain), ("ours", of(stage))):
        path = tmp_path / folder / "dvc.lock"
        path.parent.mkdir()
        path.write_text(lock(*NAMES))
        with modify(str(path)) as content:
            assert stage not in content["stages"] or content["stages"][stage] == entry(NAMES.index(stage))
            content["stages"].update({stage: entry(77)})
        written.append(path.read_text())
    assert written[0] == written[1] and f"{77:032x}" in written[0]


def test_other_entries_are_not_even_read(tmp_path: Path, quick):
    broken = lock(*NAMES).replace("prepare@cells:\n    cmd: python", "prepare@cells:\n    cmd: [python")
    path = tmp_path / "dvc.lock"
    path.write_text(broken)
    with quick[1]("report@s")(str(path)) as content:
        assert list(content["stages"]) == ["report@s"]
        content["stages"]["report@s"]["cmd"] = "other"
    start = broken.index("  report@s:")
    assert path.read_text()[:start] == broken[:start]
    assert "    cmd: other\n" in path.read_text()


@pytest.mark.parametrize(
    "text",
    [
        "",
        "schema: '2.0'\n",
        lock(*NAMES)[:-1],  # cut off
        lock(*NAMES) + "datasets: []\n",
        lock("prepare@a", "prepare@" + "long" * 40),  # YAML has another form for long keys
        lock("prepare@a", "prepare@b: c"),  # quoted
        "schema: '2.0'\nstages:\n  prepare@a: &x\n    cmd: a\n  prepare@b: *x\n",
        "stages: {}\n",
    ],
)
def test_files_of_another_form_are_left_to_dvc(quick, tmp_path: Path, text: str):
    assert repro.find(text, "prepare@a") is None
    path = tmp_path / "dvc.lock"
    path.write_text(text)
    with quick[1]("prepare@a")(str(path)) as content:
        content.setdefault("stages", {})["prepare@b: c"] = entry(1)  # what ours would refuse
    assert "prepare@b: c" in path.read_text()


def test_names_that_yaml_quotes_are_left_to_dvc():
    for name in ("prepare@b: c", "prepare@" + "long" * 40, "1@a", "split@ä"):
        assert repro.find(lock(*NAMES), name) is None


def test_a_write_of_other_stages_changes_nothing(quick, tmp_path: Path):
    path = tmp_path / "dvc.lock"
    path.write_text(lock(*NAMES))
    with pytest.raises(RuntimeError, match="nothing was changed"):
        with quick[1]("report@s")(str(path)) as content:
            content["stages"]["prepare@cells"] = entry(9)
    assert path.read_text() == lock(*NAMES)
