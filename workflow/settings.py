"""Checks every parameter file that the stages of the current study are given, before the first of them runs.

    python -m workflow.settings

A stage checks its own files when it begins, so a misspelt key of a method would be seen after hours of burn-in.
Snakemake asks this first, and so does `python -m workflow.study`. Which file is what is read from the commands in
dvc.yaml and the signatures of the stages.
"""

from __future__ import annotations

import ast
import importlib
import re
import shlex
import subprocess
import sys
import typing
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from scantling.params import Params, ParamsError, read

SECTIONS = ("views", "burn_in", "retrain")  # of a file of params/training

FIELD = re.compile(r"\$\{([\w.]+)\}")


def commands() -> Iterator[str]:
    """The command of every stage of dvc.yaml in the current study, quicker than DVC would tell."""
    tables = read("params/experiments.yaml")
    for stage in read("dvc.yaml")["stages"].values():
        if "foreach" not in stage:
            yield stage["cmd"]
            continue
        rows: Any = _at(tables, FIELD.sub(r"\1", stage["foreach"])) if isinstance(stage["foreach"], str) else None
        if rows is None:  # a list, as of the one report
            rows = [_filled(item, tables) if isinstance(item, str) else item for item in stage["foreach"]]
        for key, item in rows.items() if isinstance(rows, dict) else enumerate(rows):
            yield _filled(stage["do"]["cmd"], {**tables, "key": key, "item": item})


def _filled(text: str, names: dict[str, Any]) -> str:
    return FIELD.sub(lambda found: str(_at(names, found[1])), text)


def _at(names: dict[str, Any], path: str) -> Any:
    for part in path.split("."):
        names = names[part]
    return names


def problems() -> list[str]:
    """A sentence for each thing that a stage would refuse, each once."""
    found: dict[str, None] = {}
    known: dict[str, dict[str, type[Params]]] = {}
    loaded: dict[tuple[type[Params], str], Params | None] = {}
    for words in map(shlex.split, commands()):
        script = next((word for word in words if word.startswith("stages/")), "")
        if script not in known:
            known[script] = _parameters(Path(script))
        given = {}
        for option, spec in zip(words, words[1:], strict=False):
            kind = known[script].get(option.removeprefix("--")) if option.startswith("--") else None
            if kind is None:
                continue
            given[option] = kind, spec
            if (kind, spec) in loaded:
                continue
            loaded[kind, spec] = None
            try:
                _refuse_strangers(spec)
                loaded[kind, spec] = kind.load(spec)
            except ParamsError as error:
                found |= dict.fromkeys(str(error).split("\n"))
        if {"--method", "--views"} <= set(given):
            method, views = (loaded[given[name]] for name in ("--method", "--views"))
            for view in _missing_views(method, views) if method and views else ():
                place, asker = given["--views"][1], given["--method"][1]
                found[f"{place}: has no view `{view}`, which {asker} asks for; see params/training/tens.yaml"] = None
    return list(found)


def _missing_views(method: Any, views: Any) -> list[str]:
    from scantling import methods

    classes = tuple(getattr(method, "class_score_of", ())) or ("any",)  # no image is looked at
    asked = methods.create(method, classes, None)
    return sorted(name for name in {*asked.labeled_views, *asked.unlabeled_views} if getattr(views, name) is None)


def _refuse_strangers(spec: str) -> None:
    """Keys of a training file that are in none of its sections: no stage would see them."""
    file = Path(spec.partition(":")[0])
    if file.parent.name == "training" and (strange := [key for key in read(file) if key not in SECTIONS]):
        raise ParamsError(
            f"{file}: `{strange[0]}` is in no section, and has no effect; put it under one of {', '.join(SECTIONS)}"
        )


def _parameters(script: Path) -> dict[str, type[Params]]:
    """Option -> type of its file, for a stage that is a function of its own name; {} for any other script."""
    if not script.is_file():
        return {}
    defined = [node.name for node in ast.parse(script.read_text()).body if isinstance(node, ast.FunctionDef)]
    if script.stem not in defined:
        return {}
    function = getattr(importlib.import_module(f"stages.{script.stem}"), script.stem)
    hints = typing.get_type_hints(function)
    return {name: kind for name, kind in hints.items() if isinstance(kind, type) and issubclass(kind, Params)}


def check() -> None:
    """`problems` in a process of its own, as the stages bring PyTorch along. Raises ParamsError."""
    done = subprocess.run([sys.executable, "-m", "workflow.settings"], capture_output=True, text=True, check=False)
    if done.returncode:
        raise ParamsError(done.stderr.strip())


def main() -> None:
    try:
        found = problems()
    except ParamsError as error:
        found = [str(error)]
    if found:
        sys.exit("\n".join(found))


if __name__ == "__main__":
    main()
