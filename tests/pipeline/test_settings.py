"""Every parameter file of a study is looked at before its first stage."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.pipeline.imports import ROOT
from workflow import dag, settings, study


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Our own stages and parameters."""
    shutil.copytree(ROOT / "params", tmp_path / "params")
    shutil.copy(ROOT / "dvc.yaml", tmp_path)
    (tmp_path / "stages").symlink_to(ROOT / "stages")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def edit(path: str, old: str, new: str) -> None:
    text = Path(path).read_text()
    assert old in text
    Path(path).write_text(text.replace(old, new, 1))


def test_commands_are_those_that_dvc_runs(monkeypatch: pytest.MonkeyPatch):
    from dvc.repo import Repo

    monkeypatch.chdir(ROOT)
    with Repo(".") as repo:
        told = sorted(stage.cmd for stage in repo.index.stages)
    assert sorted(settings.commands()) == told


def test_our_own_files_are_fine(project):
    assert settings.problems() == []


def test_a_misspelt_key_of_a_late_stage_is_seen_first(project):
    edit("params/methods/soft_teacher.yaml", "\njitter_times:", "\njitter_tims:")
    edit("params/training/digits.yaml", "steps: 250", "steps: eight")
    edit("params/evaluate.yaml", "\nsubset:", "\nsubst:")
    told = settings.problems()
    assert "params/methods/soft_teacher.yaml: unknown parameter `jitter_tims`; did you mean `jitter_times`?" in told
    assert any(line.startswith("params/training/digits.yaml:burn_in: `steps` = 'eight': ") for line in told)
    assert "params/evaluate.yaml: unknown parameter `subst`; did you mean `subset`?" in told
    assert len(told) == len(set(told))


def test_a_file_that_no_run_uses_is_nobodys_business(project):
    edit("params/methods/ci_ssod.yaml", "method: ci_ssod", "method: ci_ssod\nunknown: 3")
    assert settings.problems() == []


def test_snakemake_and_the_study_command_ask(project):
    edit("params/methods/soft_teacher.yaml", "\njitter_times:", "\njitter_tims:")
    for folder in ("workflow", "scantling"):
        Path(folder).symlink_to(ROOT / folder)
    given = [sys.executable, "-m", "workflow.study", "params/studies/demo.yaml"]
    done = subprocess.run(given, capture_output=True, text=True, check=False)
    assert done.returncode == 1 and "did you mean `jitter_times`?" in done.stderr and "Traceback" not in done.stderr
    for words in (["git", "init", "-q"], ["dvc", "init", "-q"]):
        subprocess.run([sys.executable, "-m", *words] if words[0] == "dvc" else words, check=True, capture_output=True)
    done = subprocess.run(
        [sys.executable, "-c", "from workflow import dag; dag.sync()"], capture_output=True, text=True
    )
    assert done.returncode == 1 and "did you mean `jitter_times`?" in done.stderr and "Traceback" not in done.stderr
    assert not dag.CACHE.exists()


def test_scripts_of_another_kind_say_nothing(project):
    Path("stages").unlink()
    Path("stages").mkdir()
    assert settings.problems() == []  # none is there
    Path("stages/retrain.py").write_text("raise SystemExit('ran')\n")
    assert settings.problems() == []


def test_a_key_outside_of_the_sections_of_a_training_is_no_silent_mistake(project: Path) -> None:
    named = {w.partition(":")[0] for c in settings.commands() for w in c.split() if w.startswith("params/training/")}
    file = min(named)
    Path(file).write_text("background_from_iou: 0.1\n" + Path(file).read_text())
    assert settings.problems() == [
        f"{file}: `background_from_iou` is in no section, and has no effect; "
        "put it under one of views, burn_in, retrain"
    ]


def test_a_view_that_a_method_asks_for_is_missed_before_the_burn_in(project: Path) -> None:
    (project / "scantling").symlink_to(ROOT / "scantling")  # which methods there are
    study.write(Path("params/studies/bccd_sparse.yaml"))
    assert settings.problems() == []
    file = Path("params/training/bccd_sparse.yaml")
    named = {w.partition(":")[0] for c in settings.commands() for w in c.split() if w.startswith("params/training/")}
    assert str(file) in named
    lines = file.read_text().splitlines(keepends=True)
    at = next(k for k, line in enumerate(lines) if line.startswith("  raw:"))
    end = next(k for k in range(at + 1, len(lines)) if not lines[k].startswith("    "))
    file.write_text("".join(lines[:at] + lines[end:]))
    told = settings.problems()
    assert told and all("has no view `raw`, which params/methods/co_student" in line for line in told)
