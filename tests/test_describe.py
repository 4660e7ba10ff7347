"""The command that says what a split is."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from scantling import describe
from scantling.data import protocols
from tests.data.tables import long_tailed
from tests.data.test_protocols import EVERY

ROOT = Path(__file__).parents[1]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    _, facts = protocols.make(long_tailed(300, 60, 1), EVERY["percent"], 1)
    (tmp_path / "split.json").write_text(json.dumps(facts))
    return tmp_path


def test_it_says_what_is_in_split_json(folder: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "scantling.describe", str(folder)],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    facts = json.loads((folder / "split.json").read_text())
    said = done.stdout
    assert "300: 120 labeled, 180 unlabeled" in said and facts["sha256"] in said and facts["source_sha256"] in said
    assert "The 20 most frequent of" in said and "The 20 that keep the fewest boxes" in said
    name, own = next(iter(facts["per_class"].items()))
    assert [
        line
        for line in said.splitlines()
        if line.split()
        == [
            name,
            f"{own['kept']:,}",
            f"{own['hidden']:,}",
            f"{own['kept'] / (own['kept'] + own['hidden']):.1%}",
            f"{own['images']:,}",
        ]
    ]


def test_all_classes_if_asked(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    describe.main([str(folder), "--classes", "100"])
    assert "All " in capsys.readouterr().out


def test_what_is_no_split_ends_in_a_sentence(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(SystemExit, match=r"describe: .*split\.json: there is no such file; name the folder of a split"):
        describe.main([str(tmp_path / "none")])
    for text in ("{", "[]", "{}", '{"counts": 3}', '{"data": "x", "counts": {"kept": 1}, "per_class": {}}'):
        (folder / "split.json").write_text(text)
        with pytest.raises(SystemExit, match=r"not written by this version of the split stage; run it again"):
            describe.main([str(folder)])
