"""The environment runs, its description agrees with itself, and what is wrong with one is said in a sentence."""

from __future__ import annotations

import importlib
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from scantling import environment

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]


def pins(text: str) -> dict[str, str]:
    """name -> version of every `name==version` line."""
    lines = [line.split("#")[0].strip() for line in text.splitlines()]
    found = {canonicalize_name(n): v for n, _, v in (line.partition("==") for line in lines if line)}
    assert all(found.values()), f"not pinned: {[n for n, v in found.items() if not v]}"
    return found


# extras that the environment does not have: more backbones, a viewer of curves, for who wants them
OPTIONAL = {"timm", "tensorboard"}
REQUIREMENTS = pins((ROOT / "requirements.txt").read_text())
LOCK = pins((ROOT / "requirements.lock").read_text())


def test_this_environment_is_complete() -> None:
    assert environment.problem() is None


def test_the_check_prints_one_line_and_ends_well() -> None:
    done = subprocess.run([sys.executable, "-m", "scantling.environment"], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0 and re.fullmatch(r"environment: complete \(torch \S+, torchvision .*\)\n", done.stdout)


def test_pins_lie_in_the_ranges_of_the_package() -> None:
    extras = [r for name, group in PROJECT["optional-dependencies"].items() if name not in OPTIONAL for r in group]
    ranges = [Requirement(r) for r in [*PROJECT["dependencies"], *extras]]
    assert {canonicalize_name(r.name) for r in ranges} == set(REQUIREMENTS)
    for wanted in ranges:
        assert wanted.specifier.contains(REQUIREMENTS[canonicalize_name(wanted.name)]), wanted


def test_the_lock_has_the_same_pins_and_more() -> None:
    assert {name: LOCK.get(name) for name in REQUIREMENTS} == REQUIREMENTS


def test_conda_users_get_the_same_pins() -> None:
    *packages, by_pip = yaml.safe_load((ROOT / "environment.yml").read_text())["dependencies"]
    *lines, itself = by_pip["pip"]
    assert itself == "-e ." and pins("\n".join(lines)) == REQUIREMENTS
    (python,) = [p.partition("=")[2] for p in packages if p.startswith("python=")]
    assert Requirement(f"python{PROJECT['requires-python']}").specifier.contains(python)


@pytest.mark.parametrize(
    "name", ["requirements.txt", "requirements.lock", "environment.yml", "pyproject.toml", "Makefile"]
)
def test_no_address_of_an_index_is_written_down(name: str) -> None:
    found = re.findall(r"https?://\S+|--(?:extra-)?index-url.*|--find-links.*", (ROOT / name).read_text())
    assert not found


def test_a_torchvision_of_another_torch_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(*_: object) -> None:
        raise RuntimeError("operator torchvision::nms does not exist")

    monkeypatch.setattr("torchvision.ops.nms", missing)
    found = environment.problem()
    assert found and "do not fit together (RuntimeError: operator torchvision::nms does not exist)" in found
    assert "requirements.txt" in found and "\n" not in found


def test_wrong_results_of_an_operator_are_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    import torch

    monkeypatch.setattr("torchvision.ops.nms", lambda *_: torch.tensor([0, 1, 2]))
    assert "instead of [0, 2]" in str(environment.problem())


def test_a_missing_package_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    there = importlib.import_module

    def without(name: str, *more: str) -> object:
        if name.startswith("pyarrow"):
            raise ModuleNotFoundError("No module named 'pyarrow'")
        return there(name, *more)

    monkeypatch.setattr(importlib, "import_module", without)
    found = environment.problem()
    assert found and found.startswith("pyarrow cannot be imported") and environment.REPAIR in found


def test_another_python_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "version_info", (3, 13, 0))
    assert "Python 3.13 runs this" in str(environment.problem())
