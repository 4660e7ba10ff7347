"""Expands a study, a short file of what is to be compared, into params/experiments.yaml, the table dvc.yaml loops over.

    python -m workflow.study params/studies/demo.yaml

A study names files of params/ without their folder and ending. What is not said in a block of `grid` is taken from
the top of the study. Stages that several runs need appear once in the table.
"""

from __future__ import annotations

import argparse
import ast
import itertools
import os
import sys
from pathlib import Path
from typing import Annotated, Any, Literal, Self

import yaml
from pydantic import Field, model_validator

from scantling import alone
from scantling.params import Params, ParamsError, check, read
from workflow import settings

EXPERIMENTS = Path("params/experiments.yaml")
LOCK = Path(".pipeline/lock")  # held by the Snakemake that is at work here
HEADER = """\
# Which stages there are: dvc.yaml makes one of each row. Generated, do not edit.
# Change {study} instead, then run: python -m workflow.study {study}
# (Snakemake does so by itself; before `dvc repro` use `make study STUDY={name}`.)
"""

Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9_]+$")]  # keys are names joined by "-"
# of a path that stands in a command line of dvc.yaml: nothing that a shell would read as more than a name
PlainPath = Annotated[str, Field(pattern=r"^[\w./][\w./@+,=-]*$")]
Names = Annotated[tuple[Name, ...], Field(min_length=1)]
Numbers = Annotated[tuple[Annotated[int, Field(ge=0)], ...], Field(min_length=1)]
REPORTED = ("data", "split", "fold", "detector", "training", "method", "seed", "after")
DRAW_NOTHING = ("full", "external")  # protocols of splits
AXES = ("data", "detectors", "training", "folds", "seeds")
OPTIONS = ("rounds", "round_start", "corrections", "teacher")
NO_CORRECTIONS = "params/corrections/none.json"


class Axes(Params):
    """What a run is made of besides its split and method; said once for the study, or for one block of its grid."""

    data: Name | None = None  # params/data/NAME.yaml
    detectors: Names | None = None  # params/detectors/
    training: Name | None = None  # params/training/NAME.yaml
    folds: Numbers | None = None  # which draw of the labels
    seeds: Numbers | None = None  # which draw of everything else
    rounds: Annotated[int, Field(ge=1, le=20)] | None = None  # of pseudo_label, polish, retrain; 1 unless said
    # what a student starts from: the burn-in (unless said); the round before, if there is one; or the backbone alone
    round_start: Literal["burn_in", "previous", "backbone"] | None = None
    corrections: PlainPath | None = (
        None  # COCO file of images labeled by hand since; they win over the machine's labels
    )
    teacher: Name | None = None  # params/teachers/NAME.yaml: a foreign model's detections; the burn-in's unless said


class Block(Axes):
    """Every split with every method."""

    splits: Names  # params/splits/
    methods: Names  # params/methods/


class Study(Axes):
    name: Name
    title: str
    grid: Annotated[tuple[Block, ...], Field(min_length=1)]

    @model_validator(mode="after")
    def _complete(self) -> Self:
        for number, block in enumerate(self.grid):
            for axis in AXES:
                if getattr(block, axis) is None and getattr(self, axis) is None:
                    raise ValueError(f"grid block {number} has no `{axis}`; say it there or at the top of the study")
        return self


def expand(path: Path) -> dict[str, Any]:
    """The content of params/experiments.yaml for the study in `path`."""
    study = check(Study, read(path), path)
    if study.name != path.stem:
        raise ParamsError(f"{path}: `name` = {study.name!r}: a study is called like its file; write name: {path.stem}")
    kinds = ("generated", "data", "splits", "burn_ins", "teachers", "foreign", "runs")
    table: dict[str, Any] = {kind: {} for kind in kinds}
    for block in study.grid:
        axes = {axis: getattr(block, axis) or getattr(study, axis) for axis in (*AXES, *OPTIONS)}
        _add(table, axes, block, path)
    runs = {key: {field: run[field] for field in REPORTED} for key, run in table["runs"].items()}
    for key, run in table["runs"].items():
        if run["teacher"] in table["foreign"]:
            runs[key]["teacher"] = run["teacher"]
        if table["burn_ins"][run["burn_in"]]["training"] != run["training"]:
            runs[key]["burn_in"] = run["burn_in"]
    return {"study": path.as_posix(), **table, "report": {"name": study.name, "title": study.title, "runs": runs}}


def _add(table: dict[str, Any], axes: dict[str, Any], block: Block, study: Path) -> None:
    """One block of the grid, in the order split, fold, detector, seed, method; rows that are there already stay."""
    data, training = axes["data"], axes["training"]
    modules = {method: _module(method, study) for method in block.methods}
    _add_data(table, data, study)
    for folder, names in (("training", [training]), ("splits", block.splits), ("detectors", axes["detectors"])):
        for name in names:
            _content(folder, name, study)
    for split in block.splits if len(set(axes["folds"])) > 1 else ():
        _check_draws(split, study)
    for split, fold in itertools.product(block.splits, axes["folds"]):
        split_key = f"{data}-{split}-f{fold}"
        table["splits"].setdefault(split_key, {"data": data, "split": split, "fold": fold})
        for detector, seed in itertools.product(axes["detectors"], axes["seeds"]):
            stem = f"{split_key}-{detector}-{training}"
            start = {"data": data, "split_key": split_key, "detector": detector, "training": training, "seed": seed}
            burn_in = _burn_in(table, start, study)
            for method in block.methods:
                module = modules[method]
                more = {"split": split, "fold": fold, "burn_in": burn_in, "module": module}
                more["base"] = base_of(module)
                _add_rounds(table, axes, {**start, **more}, stem, method, study)


def _check_draws(split: str, study: Path) -> None:
    """Several folds of a split that draws nothing would be the same one several times, and its interval nothing."""
    asked = _content("splits", split, study)
    protocol = asked.get("protocol")
    first = protocol == "keep1" and asked.get("select", "first") == "first"
    if protocol in DRAW_NOTHING or first:
        raise ParamsError(
            f"{study}: split `{split}` (protocol {protocol}) draws nothing, its folds are all the same; "
            "write folds: [1] for it and repeat by `seeds`"
        )


def _burn_in(table: dict[str, Any], start: dict[str, Any], study: Path) -> str:
    """The key of a run's burn-in: one that is there already if its training says the same of it, else a new row."""

    def recipe(training: str) -> list[Any]:
        content = _content("training", training, study)
        views = content.get("views")
        labeled = views.get("labeled") if isinstance(views, dict) else views
        return [labeled, content.get("burn_in")]  # what the stage depends on

    for key, row in table["burn_ins"].items():
        same = all(row[field] == start[field] for field in ("split_key", "detector", "seed"))
        if same and recipe(row["training"]) == recipe(start["training"]):
            return key
    key = f"{start['split_key']}-{start['detector']}-{start['training']}-s{start['seed']}"
    table["burn_ins"][key] = {**start, "backbone": _backbone(start["detector"], study)}
    return key


def _add_rounds(
    table: dict[str, Any], axes: dict[str, Any], run: dict[str, Any], stem: str, method: str, study: Path
) -> None:
    """The rounds of one run: each labels with the model of the one before, the first with the burn-in's."""
    corrections = axes["corrections"] or NO_CORRECTIONS
    rounds = 1 if run["module"] == "supervised" else axes["rounds"] or 1  # it learns from no pseudo label
    mode = _content("methods", method, study).get("teacher", "ema")
    if rounds > 1 and mode not in ("frozen", "cached"):
        raise ParamsError(
            f"{study}: `rounds` = {rounds}: {method} has `teacher: {mode}`, which follows the student by itself; "
            "use a method file with teacher frozen or cached"
        )
    if axes["round_start"] == "backbone" and mode == "ema" and run["module"] != "supervised":
        raise ParamsError(
            f"{study}: `round_start` = 'backbone': {method} has `teacher: {mode}`, which is the student's average and "
            "would begin as blind as it; use a method file with teacher frozen or cached"
        )
    if axes["corrections"] and not Path(corrections).is_file():
        raise ParamsError(
            f"{study}: `corrections` = {corrections!r}: there is no such file; name a COCO file or drop it"
        )
    foreign = None if run["module"] == "supervised" else axes["teacher"]
    if foreign and mode != "cached":
        raise ParamsError(
            f"{study}: `teacher` = {foreign!r}: {method} has `teacher: {mode}`, which labels by a network of its "
            "own; use a method file with teacher cached"
        )
    stemmed = f"{method}_from_{foreign}" if foreign else method
    after, weights = None, f"results/burn_in/{run['burn_in']}"
    for number in range(1, rounds + 1):
        name = stemmed if number == 1 else f"{stemmed}_round{number}"
        key = f"{stem}-{name}-s{run['seed']}"
        made_from = {field: run[field] for field in ("data", "split_key")}
        if foreign and not after:
            teacher = f"{run['split_key']}-{foreign}"
            table["foreign"].setdefault(teacher, {**made_from, **_foreign(foreign, study)})
        else:
            teacher = after or run["burn_in"]
            table["teachers"].setdefault(teacher, {**made_from, "weights": weights})
        start = weights if axes["round_start"] == "previous" else f"results/burn_in/{run['burn_in']}"
        table["runs"].setdefault(
            key,
            {
                **run,
                "method": name,
                "file": method,
                "teacher": teacher,
                "weights": weights,
                "start": start,
                **_begin(axes["round_start"], table["burn_ins"][run["burn_in"]]["backbone"]),
                "after": after,
                "before": after or key,
                "corrections": corrections,
            },
        )
        after, weights = key, f"results/retrain/{key}"


def _begin(round_start: str | None, backbone: str) -> dict[str, str]:
    """What of `start` a student begins with, and the file that this needs beside it; else the script, a dep anyway."""
    if round_start != "backbone":
        return {"begin": "weights", "backbone": "stages/retrain.py"}
    return {"begin": "backbone", "backbone": backbone if Path(backbone).suffix != ".py" else "stages/retrain.py"}


def _foreign(name: str, study: Path) -> dict[str, str]:
    """The files that a foreign teacher's parameters name; where one is not, the script, which is a dep anyway."""
    content = _content("teachers", name, study)
    row = {"teacher": name}
    for key in ("file", "categories", "map_classes"):
        path = content.get(key)
        if key == "file" or isinstance(path, str):
            if not isinstance(path, str) or not Path(path).is_file():
                raise ParamsError(f"params/teachers/{name}.yaml: `{key}` = {path!r}: there is no such file; correct it")
        row[key] = path if isinstance(path, str) else "stages/adopt.py"
    return row


def _add_data(table: dict[str, Any], data: str, study: Path) -> None:
    content = _content("data", data, study)
    root = content.get("root")
    if not isinstance(root, str):
        raise ParamsError(f"params/data/{data}.yaml: `root` = {root!r}: name the folder of the data set")
    if Path(f"params/generate/{data}.yaml").exists():
        made = f"data/generated/{data}"
        if root.rstrip("/") != made:
            raise ParamsError(
                f"params/data/{data}.yaml: `root` = {root!r}: generate writes to {made}; write root: {made}"
            )
        table["generated"].setdefault(data, {"root": made})
    row: dict[str, Any] = {"watch": str(content.get("watch") or root).rstrip("/")}
    if parts := _parts(content, study):
        row["parts"] = parts
    table["data"].setdefault(data, row)


def _parts(content: dict[str, Any], study: Path) -> dict[str, Any]:
    """What the files say that a combined data set is made of: prepare depends on its whole row in the table."""
    parts = [part for part in content.get("parts") or [] if isinstance(part, dict)]
    names = [part.get(key) for part in parts for key in ("data", "map_classes")]
    try:
        return {name: read(name) for name in names if isinstance(name, str)}
    except ParamsError as error:
        raise ParamsError(f"{study}: {error}") from None


def _module(method: str, study: Path) -> str:
    """The module a method's file names: the code its stages depend on."""
    module = _content("methods", method, study).get("method")
    if not Path(f"scantling/methods/{module}.py").is_file():
        there = ", ".join(sorted(p.stem for p in Path("scantling/methods").glob("[a-z]*.py")))
        raise ParamsError(
            f"params/methods/{method}.yaml: `method` = {module!r}: there is no such method; there are {there}"
        )
    return str(module)


def _backbone(detector: str, study: Path) -> str:
    """The file of backbone weights that a detector names; else the script, which is a dep anyway."""
    weights = (_content("detectors", detector, study).get("backbone") or {}).get("weights")
    return str(weights) if isinstance(weights, str) and weights != "package" else "stages/burn_in.py"


def base_of(module: str) -> str:
    """The method that a method's module builds on: the other code its stages depend on."""
    tree = ast.parse(Path(f"scantling/methods/{module}.py").read_text())
    imports = [
        node for node in ast.walk(tree) if isinstance(node, ast.ImportFrom) and node.module == "scantling.methods"
    ]
    names = [alias.name for node in imports for alias in node.names]
    others = [n for n in names if n != "supervised" and Path(f"scantling/methods/{n}.py").is_file()]
    return others[0] if others else "supervised"


def _content(folder: str, name: str, study: Path) -> dict[str, Any]:
    try:
        return read(f"params/{folder}/{name}.yaml")
    except ParamsError as error:
        raise ParamsError(f"{study}: `{name}`: {error}") from None


def text(path: Path) -> str:
    """params/experiments.yaml as it must read for the study in `path`."""
    table = yaml.safe_dump(expand(path), sort_keys=False, width=120)
    return HEADER.format(study=path.as_posix(), name=path.stem) + table


def write(path: Path) -> bool:
    """Make params/experiments.yaml say what the study says; True if it did not."""
    wanted = text(path)
    if EXPERIMENTS.exists() and EXPERIMENTS.read_text() == wanted:
        return False
    aside = EXPERIMENTS.with_suffix(".part")
    aside.write_text(wanted)
    os.replace(aside, EXPERIMENTS)
    return True


def refresh() -> bool:
    """Expand the current study again if its file, or a file it names, changed since; True if anything did."""
    current = read(EXPERIMENTS).get("study")
    return write(Path(current)) if current else False


def choose(path: Path) -> bool:
    """`write` for a person: not under a Snakemake at work, whose stages would no longer be in the table."""
    try:
        with alone.hold(LOCK, 0):
            return write(path)
    except alone.Busy as other:
        if EXPERIMENTS.exists() and EXPERIMENTS.read_text() == text(path):
            return False
        raise ParamsError(
            f"Snakemake ({other}) is at work in this checkout, and its stages are not all in {path}: "
            "wait for it, stop it, or use another checkout"
        ) from None


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("study", type=Path, help="params/studies/NAME.yaml")
    try:
        path = parser.parse_args().study
        changed = choose(path)
        settings.check()
    except ParamsError as error:
        sys.exit(f"study: {error}")
    runs = len(read(EXPERIMENTS)["runs"])
    print(f"{EXPERIMENTS}: {runs} runs of study {path.stem}{'' if changed else ', as before'}")


if __name__ == "__main__":
    main()
