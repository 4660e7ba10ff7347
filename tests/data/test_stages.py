"""The three stages from the command line: files in, files out, one sentence on bad input."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest

from scantling.data import check_page, formats
from scantling.data import index as indices
from scantling.data.check import check
from scantling.data.formats import DataParams
from scantling.data.problems import Findings
from tests.data.made import instances

PROJECT = Path(__file__).parents[2]


def stage(name: str, folder: Path, *arguments: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, PROJECT / "stages" / f"{name}.py", *arguments]
    environment = {"PYTHONPATH": str(PROJECT), "PATH": "/usr/bin:/bin", "OMP_NUM_THREADS": "1"}
    return subprocess.run([str(c) for c in command], cwd=folder, env=environment, capture_output=True, text=True)


@pytest.fixture(scope="module")
def generated(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("run")
    text = (PROJECT / "params/generate/digits.yaml").read_text()
    for before, after in (("train: 200", "train: 10"), ("val: 60", "val: 2"), ("test: 100", "test: 2")):
        assert before in text
        text = text.replace(before, after)
    (folder / "few.yaml").write_text(text)
    done = stage("generate", folder, "--params", "few.yaml", "--out", "data/generated/digits")
    assert done.returncode == 0, done.stderr
    return folder


def test_generate_prepare_split(generated: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data, protocol = PROJECT / "params/data/digits.yaml", PROJECT / "params/splits/percent_10.yaml"
    done = stage("prepare", generated, "--data", data, "--out", "results/prepare/digits")
    assert done.returncode == 0, done.stderr
    index = generated / "results/prepare/digits"
    assert {p.name for p in index.iterdir()} == {
        "images.parquet",
        "boxes.parquet",
        "image_labels.parquet",
        "data.json",
        "check.html",
        "provenance.json",
    }
    assert json.loads((index / "data.json").read_text())["counts"]["train"]["images"] == 10

    for out in ("a", "b"):
        done = stage("split", generated, "--index", index, "--protocol", protocol, "--fold", 2, "--out", f"split/{out}")
        assert done.returncode == 0, done.stderr
        assert "percent, fold 2: 1 of 10 images labeled" in done.stdout
    first, second = (generated / "split" / out for out in ("a", "b"))
    for file in ("split.parquet", "split.json", "split.html"):
        assert (first / file).read_bytes() == (second / file).read_bytes()
    assert pd.read_parquet(first / "split.parquet").image_id.nunique() == 10

    monkeypatch.chdir(generated)
    params = DataParams.load(data)
    problems = Findings(params.problems)
    checked = check(formats.read(params, problems), params, problems)
    again = generated / "again"
    again.mkdir()
    indices.save(checked, again)
    check_page.write(checked, problems, again / "check.html")
    for file in ("images.parquet", "boxes.parquet", "data.json", "check.html"):
        assert (index / file).read_bytes() == (again / file).read_bytes()


def test_bad_input_ends_with_one_sentence_and_leaves_nothing(coco_set: Callable[..., Path], tmp_path: Path) -> None:
    file = coco_set(train=instances())
    (tmp_path / "set/images/1.jpg").write_bytes(b"")
    done = stage("prepare", tmp_path, "--data", file, "--out", "out/bolts")
    assert done.returncode == 1
    assert len(done.stderr.strip().splitlines()) == 1
    assert done.stderr.startswith("prepare: bolts: 1 x unreadable or truncated image, e.g. ")
    assert "1.jpg" in done.stderr and "replace the file" in done.stderr
    assert not (tmp_path / "out/bolts").exists()
