"""The real dvc.yaml with made-up results: both engines see one graph; an edit makes stale what reads it, no more."""

from __future__ import annotations

import json
import re
import shutil
import sys
from pathlib import Path

import pytest

from tests.pipeline.imports import ROOT
from tests.pipeline.toy_project import Toy
from workflow import dag

OURS = (
    "Snakefile",
    "dvc.yaml",
    "workflow",
    "params",
    "profiles",
    "slurm",
    "scantling",
    "stages",
    ".dvcignore",
    ".gitignore",
    ".dvc/config",
)


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Toy:
    """A copy of this project with the demo's study, and made-up files that DVC was told are its results."""
    folder = tmp_path_factory.mktemp("graph") / "copy"
    for name in OURS:
        source, target = ROOT / name, folder / name
        target.parent.mkdir(parents=True, exist_ok=True)
        if source.is_dir():
            shutil.copytree(source, target, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(source, target)
    toy = Toy(folder)
    toy.git("init", "-q")
    toy.call(sys.executable, "-m", "workflow.study", "params/studies/demo.yaml")
    with pytest.MonkeyPatch.context() as here:
        here.chdir(folder)
        stages, stale = dag.resolve()
    assert stale == {s["name"] for s in stages}
    for path in (folder / out for stage in stages for out in stage["outs"]):
        file = path if path.suffix else path / "content.txt"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text("step\tloss\n0\t1\n" if path.suffix == ".tsv" else json.dumps({"AP": str(path)}))
    toy.dvc("commit", "-f", "-q")
    return toy


@pytest.fixture(scope="module")
def names(project: Toy) -> set[str]:
    with pytest.MonkeyPatch.context() as here:
        here.chdir(project.folder)
        return {stage["name"] for stage in dag.resolve()[0]}


def stale(project: Toy, monkeypatch: pytest.MonkeyPatch) -> set[str]:
    monkeypatch.chdir(project.folder)
    return dag.resolve()[1]


def test_rules_are_the_stages(project: Toy, names: set[str]) -> None:
    said = project.snakemake("--list-rules", "--quiet", "all").split()
    assert {word for word in said if "@" in word} == names


def test_edges_are_those_of_dvc(project: Toy, monkeypatch: pytest.MonkeyPatch) -> None:
    from dvc.repo import Repo

    monkeypatch.chdir(project.folder)
    with Repo(".") as repo:
        theirs = {(stage.addressing, upstream.addressing) for stage, upstream in repo.index.graph.edges}
    stages = dag.connect(dag.resolve()[0])
    assert {(s["name"], upstream) for s in stages for upstream in s["upstream"]} == theirs
    assert all((project.folder / source).exists() for s in stages for source in s["sources"])


def test_edges_through_folders() -> None:
    stages = [
        {"name": "makes a folder", "deps": ["code.py"], "outs": ["data/made"]},
        {"name": "reads in it", "deps": ["data/made/sub/file", "data/madeup"], "outs": ["results/a/x", "results/a/y"]},
        {"name": "writes beside", "deps": ["results/a/x"], "outs": ["results/b/x"]},
        {"name": "gathers", "deps": ["results", "data/made"], "outs": ["page"]},
        {"name": "alone", "deps": ["res", "results2"], "outs": ["other"]},
    ]
    found = {s["name"]: (s["upstream"], s["sources"]) for s in dag.connect(stages)}
    assert found == {
        "makes a folder": ([], ["code.py"]),
        "reads in it": (["makes a folder"], ["data/madeup"]),
        "writes beside": (["reads in it"], []),
        "gathers": (["makes a folder", "reads in it", "writes beside"], []),
        "alone": ([], ["res", "results2"]),
    }


def test_up_to_date_under_both(project: Toy) -> None:
    assert "Nothing to be done" in project.snakemake("-n")
    assert "up to date" in project.dvc("status")


# file, text replaced (None: a line is added), stages that become stale; "digits-drop" etc. are parts of stage names
EDITS = [
    ("params/evaluate.yaml", None, {"evaluate@"}),
    ("params/report.yaml", None, {"report@"}),
    ("params/pseudo_label.yaml", None, {"pseudo_label@"}),
    ("params/splits/images_10.yaml", None, {"split@digits-images_10"}),
    ("params/generate/digits.yaml", None, {"generate@"}),
    ("params/detectors/faster_rcnn_lite.yaml", None, {"burn_in@"}),
    ("params/training/digits.yaml", "views", {f"{s}@digits-images_10" for s in ("polish", "retrain")}),
    ("params/training/digits.yaml", "  labeled", {f"{s}@digits-images_10" for s in ("burn_in", "polish", "retrain")}),
    ("params/training/digits.yaml", "  strong", {f"{s}@digits-images_10" for s in ("polish", "retrain")}),
    ("params/training/digits.yaml", "burn_in", {"burn_in@digits-images_10"}),
    ("params/training/digits_sparse.yaml", "retrain", {"retrain@digits-drop_50"}),
    ("params/methods/co_mining.yaml", None, {"polish@%-co_mining-", "retrain@%-co_mining-"}),
    (
        "params/methods/soft_teacher_cached.yaml",
        None,
        {"polish@%-soft_teacher_cached-", "retrain@%-soft_teacher_cached-"},
    ),
    ("scantling/methods/co_mining.py", None, {"polish@%-co_mining-", "retrain@%-co_mining-"}),
    ("scantling/methods/soft_teacher.py", None, {"polish@%-soft_teacher", "retrain@%-soft_teacher"}),
    ("scantling/report/page.py", None, {"report@"}),
    ("scantling/evaluate/coco.py", None, {"evaluate@", "report@"}),
    ("scantling/ema.py", None, {"burn_in@", "polish@", "retrain@"}),
    ("scantling/data/digits.py", None, {"generate@"}),
]
NO_INPUTS = (
    "params/resources.yaml",
    "slurm/config.yaml",
    "params/data/bccd.yaml",
    "workflow/job.py",
    "workflow/launch.py",
    "Snakefile",
)


@pytest.mark.parametrize(("file", "section", "expected"), EDITS, ids=[f"{f}:{s}" if s else f for f, s, _ in EDITS])
def test_an_edit_makes_stale_what_reads_it(
    project: Toy, names: set[str], monkeypatch: pytest.MonkeyPatch, file: str, section: str | None, expected: set[str]
) -> None:
    path = project.folder / file
    before = path.read_text()
    if section:
        indent = " " * (len(section) - len(section.lstrip()) + 2)
        after = re.sub(rf"\n({section}: *(#[^\n]*)?\n)", rf"\n\1{indent}edited: 1\n", before)
    else:
        after = before + ("\nedited: 1\n" if path.suffix == ".yaml" else "\n# edited\n")
    assert after != before
    wanted = {n for n in names for e in expected if n.startswith(e.partition("%")[0]) and e.partition("%")[2] in n}
    assert wanted
    try:
        path.write_text(after)
        assert stale(project, monkeypatch) == wanted
    finally:
        path.write_text(before)


def test_edits_that_no_stage_reads_make_nothing_stale(project: Toy, monkeypatch: pytest.MonkeyPatch) -> None:
    before = {project.folder / file: (project.folder / file).read_text() for file in NO_INPUTS}
    try:
        for path, text in before.items():
            path.write_text(text + ("\nedited: 1\n" if path.suffix == ".yaml" else "\n# edited\n"))
        assert stale(project, monkeypatch) == set()
    finally:
        for path, text in before.items():
            path.write_text(text)


def test_a_new_study_is_taken_up_by_snakemake(project: Toy) -> None:
    study = project.folder / "params/studies/demo.yaml"
    before = study.read_text()
    study.write_text(before.replace("seeds: [0]", "seeds: [0, 1]"))
    rules = project.snakemake("--list-rules")
    assert "retrain@digits-drop_50-f1-faster_rcnn_lite-digits_sparse-co_mining-s1" in rules
    study.write_text(before)  # the next test asks whether it is as before


def test_a_study_that_cannot_be_ends_in_a_sentence(project: Toy) -> None:
    study = project.folder / "params/studies/demo.yaml"
    before = study.read_text()
    study.write_text(before.replace("co_mining", "co_minning"))
    said = project.snakemake("-n", fails=True)
    assert "did you mean params/methods/co_mining.yaml?" in said and "Traceback" not in said, said
    study.write_text(before)
    assert "Nothing to be done" in project.snakemake("-n")


def test_a_data_set_that_is_not_there_is_named_with_its_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "there").mkdir()
    stages = [{"name": "prepare@a", "sources": ["there"]}, {"name": "split@b", "sources": ["data/raw/mnie"]}]
    dag._refuse_missing(stages)
    with pytest.raises(SystemExit, match=r"params/data/b\.yaml: there is no data/raw/mnie: correct `root`"):
        dag._refuse_missing([*stages, {"name": "prepare@b", "sources": ["data/raw/mnie"]}])
