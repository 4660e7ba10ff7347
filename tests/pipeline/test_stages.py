"""dvc.yaml says of every stage what its script says: command, parameters, code, files."""

from __future__ import annotations

import importlib.util
import inspect
import re
import typing
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

import pytest
import yaml

from scantling.params import Params
from tests.pipeline.imports import ROOT, closure
from workflow.study import base_of

CODE = ("stages/", "scantling/")


@dataclass
class Stage:
    """One resolved stage of dvc.yaml; params as {file: sections, or () for the whole file}."""

    name: str
    script: Path
    options: dict[str, str]
    deps: list[str]
    outs: list[str]
    params: dict[str, tuple[str, ...]]

    @property
    def kind(self) -> str:
        return self.name.partition("@")[0]


@pytest.fixture(scope="module")
def stages() -> list[Stage]:
    from dvc.dependency import ParamsDependency
    from dvc.repo import Repo

    with Repo(str(ROOT)) as repo:
        found = [s for s in repo.index.stages if getattr(s, "name", None)]
    return [
        Stage(
            name=s.addressing,
            script=ROOT / _words(s.cmd)[0],
            options=_options(_words(s.cmd)),
            deps=[d.def_path for d in s.deps if not isinstance(d, ParamsDependency)],
            outs=[o.def_path for o in s.outs],
            params={
                d.def_path: tuple(d.params) for d in s.deps if isinstance(d, ParamsDependency) and d.def_path in s.cmd
            },
        )
        for s in found
    ]


def _words(command: str) -> list[str]:
    """The script and its arguments, whoever starts it."""
    return re.sub(r"^python (-m workflow\.launch )?", "", command).split()


def _options(words: list[str]) -> dict[str, str]:
    assert all(w.startswith("--") for w in words[1::2]), words
    return dict(zip((w[2:] for w in words[1::2]), words[2::2], strict=True))


def _function(script: Path) -> Callable[..., None]:
    spec = importlib.util.spec_from_file_location(f"stage_{script.stem}", script)
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return getattr(module, script.stem)


def test_every_script_is_a_stage(stages: list[Stage]) -> None:
    scripts = {p.stem for p in (ROOT / "stages").glob("*.py")}
    assert set(yaml.safe_load((ROOT / "dvc.yaml").read_text())["stages"]) == scripts
    assert scripts - {s.kind for s in stages} == {"adopt"}  # no foreign teacher in this study: test_foreign.py
    assert all(s.script.stem == s.kind for s in stages)


def test_commands_fit_the_stage_functions(stages: list[Stage]) -> None:
    functions = {script: _function(script) for script in {s.script for s in stages}}
    for stage in stages:
        function = functions[stage.script]
        hints: dict[str, Any] = {k: v for k, v in typing.get_type_hints(function).items() if k != "return"}
        needed = {k for k, p in inspect.signature(function).parameters.items() if p.default is inspect.Parameter.empty}
        assert needed <= set(stage.options) <= set(hints), stage.name
        named: dict[str, tuple[str, ...]] = {}
        for option, value in stage.options.items():
            kind = hints[option]
            if isinstance(kind, type) and issubclass(kind, Params):
                file, _, section = value.partition(":")
                named[file] = (*named.get(file, ()), section) if section else ()
                assert (ROOT / file).is_file(), f"{stage.name}: {file} is not there"
            elif kind in (Path, Path | None):
                read_or_written = stage.outs if option == "out" else stage.deps
                assert any(PurePosixPath(path).is_relative_to(value) for path in read_or_written), (stage.name, option)
            else:
                kind(value)
        tracked = {file: tuple(sorted(sections)) for file, sections in stage.params.items()}
        assert tracked == {file: tuple(sorted(sections)) for file, sections in named.items()}, stage.name


def test_inputs_lie_below_the_paths_of_the_command(stages: list[Stage]) -> None:
    for stage in stages:
        given = [PurePosixPath(v.partition(":")[0]) for v in stage.options.values()]
        for path in map(PurePosixPath, [*stage.deps, *stage.outs]):
            if path.parts[0] == "results":
                assert any(path == g or g in path.parents for g in given), (
                    f"{stage.name}: {path} is not on its command line"
                )
        out = PurePosixPath(stage.options["out"])
        assert all(path == out or out in path.parents for path in map(PurePosixPath, stage.outs)), stage.name
        assert str(out) in stage.outs or f"{out}/provenance.json" in stage.outs, stage.name


METHODS = sorted(p.stem for p in (ROOT / "scantling/methods").glob("[a-z]*.py"))


@pytest.mark.parametrize("script", sorted((ROOT / "stages").glob("*.py")), ids=lambda p: p.stem)
def test_code_dependencies_are_what_the_script_imports(script: Path) -> None:
    declared = [
        d
        for d in yaml.safe_load((ROOT / "dvc.yaml").read_text())["stages"][script.stem]["do"]["deps"]
        if d.startswith(CODE)
    ]
    by_name = "scantling/methods/${item.module}.py"  # imported by the name in the method's file
    ever: set[str] = set()
    for method in METHODS if by_name in declared else [""]:
        module = [ROOT / "scantling/methods" / f"{method}.py"] if method else []
        used = {p.relative_to(ROOT).as_posix() for p in (script, *module)} | closure(script, *module)
        own = [
            d.replace("${item.module}", method).replace("${item.base}", base_of(method) if method else "")
            for d in declared
        ]
        missing = {u for u in used if not any(_covers(d, u) for d in own)}
        assert not missing, f"{script.stem} {method}: add {sorted(missing)} to deps in dvc.yaml"
        ever |= used
    idle = [d for d in declared if "${item" not in d and not any(_covers(d, u) for u in ever)]
    assert not idle, f"{script.stem}: does not import {idle}; remove them from deps in dvc.yaml"


def _covers(dep: str, file: str) -> bool:
    return PurePosixPath(file).is_relative_to(dep)


def test_training_never_depends_on_the_hidden_truth(stages: list[Stage]) -> None:
    reads = {s.kind for s in stages if any(d.endswith("/boxes.parquet") for d in s.deps)}
    assert reads == {"split", "evaluate"}


def test_nothing_that_says_when_or_how_long_is_an_input(stages: list[Stage]) -> None:
    assert not [s.name for s in stages if any(d.endswith("provenance.json") for d in s.deps)]


def test_methods_are_dependencies_by_the_module_they_name(stages: list[Stage]) -> None:
    for stage in stages:
        if stage.kind in ("polish", "retrain"):
            content = (ROOT / stage.options["method"]).read_text()
            (module,) = [line.split()[1] for line in content.splitlines() if line.startswith("method:")]
            assert f"scantling/methods/{module}.py" in stage.deps
