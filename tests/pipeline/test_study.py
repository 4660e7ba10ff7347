"""A study becomes the table of stages: complete, without repetition, and with a sentence for what cannot be."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from scantling.params import ParamsError
from scantling.report.study import Run
from tests.pipeline.imports import ROOT
from workflow import study

STUDY = """\
name: s
title: A title
data: digits
detectors: [d1]
training: t
folds: [1, 2]
seeds: [0]
grid:
  - {splits: [few], methods: [supervised, soft]}
  - {splits: [few, half], methods: [supervised], folds: [1], detectors: [d1, d2]}
"""


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Parameter files by name only, and one study."""
    monkeypatch.chdir(tmp_path)
    files = {
        "params/data/digits": "root: data/generated/digits",
        "params/generate/digits": "seed: 0",
        "params/data/cells": "root: ../cells\nwatch: ../cells/annotations/",
        "params/splits/few": "images: 10",
        "params/splits/half": "percent: 50",
        "params/detectors/d1": "a: 1",
        "params/detectors/d2": "a: 2",
        "params/training/t": "burn_in: {}",
        "params/methods/supervised": "method: supervised",
        "params/methods/soft": "method: soft_teacher",
        "params/studies/s": STUDY,
    }
    for name, content in files.items():
        path = Path(f"{name}.yaml")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content)
    Path("scantling/methods").mkdir(parents=True)
    for module in ("supervised", "soft_teacher"):
        Path(f"scantling/methods/{module}.py").touch()
    return tmp_path


def expand(**changes: object) -> dict:
    path = Path("params/studies/s.yaml")
    path.write_text(yaml.safe_dump({**yaml.safe_load(STUDY), **changes}))
    return study.expand(path)


def test_shared_stages_appear_once(project: Path) -> None:
    table = expand()
    assert list(table["generated"]) == ["digits"]
    assert table["data"] == {"digits": {"watch": "data/generated/digits"}}
    assert list(table["splits"]) == ["digits-few-f1", "digits-few-f2", "digits-half-f1"]
    assert list(table["burn_ins"]) == [
        "digits-few-f1-d1-t-s0",
        "digits-few-f2-d1-t-s0",
        "digits-few-f1-d2-t-s0",
        "digits-half-f1-d1-t-s0",
        "digits-half-f1-d2-t-s0",
    ]
    assert len(table["runs"]) == 2 * 2 + 1 + 2  # the first block's folds and methods; d2 on few; both on half
    run = table["runs"]["digits-few-f2-d1-t-soft-s0"]
    assert run["burn_in"] == "digits-few-f2-d1-t-s0" and run["module"] == "soft_teacher" and run["fold"] == 2
    assert list(table["report"]["runs"]) == list(table["runs"])


def test_each_round_labels_with_the_model_of_the_one_before(project: Path) -> None:
    Path("params/methods/soft.yaml").write_text("method: soft_teacher\nteacher: cached")
    table = expand(rounds=3)
    first, second, third = (table["runs"][f"digits-few-f1-d1-t-soft{r}-s0"] for r in ("", "_round2", "_round3"))
    assert (first["weights"], first["teacher"], first["after"]) == (
        "results/burn_in/digits-few-f1-d1-t-s0",
        "digits-few-f1-d1-t-s0",
        None,
    )
    assert third["teacher"] == third["after"] == "digits-few-f1-d1-t-soft_round2-s0"
    assert table["teachers"][third["teacher"]]["weights"] == third["weights"] == f"results/retrain/{third['after']}"
    assert second["start"] == third["start"] == first["weights"] and second["file"] == "soft"
    assert "digits-few-f1-d1-t-supervised_round2-s0" not in table["runs"]  # it learns from no label of the machine
    assert expand(rounds=2, round_start="previous")["runs"]["digits-few-f1-d1-t-soft_round2-s0"]["start"] == (
        "results/retrain/digits-few-f1-d1-t-soft-s0"
    )


def test_backbone_weights_are_watched(project: Path) -> None:
    Path("params/detectors/d1.yaml").write_text("backbone: {weights: data/weights/R-50.pkl}")
    found = {row["detector"]: row["backbone"] for row in expand()["burn_ins"].values()}
    assert found == {"d1": "data/weights/R-50.pkl", "d2": "stages/burn_in.py"}


def test_students_can_begin_with_the_backbone_alone(project: Path) -> None:
    plain = expand()["runs"]["digits-few-f1-d1-t-supervised-s0"]
    assert (plain["begin"], plain["backbone"]) == ("weights", "stages/retrain.py")
    Path("params/detectors/d1.yaml").write_text("backbone: {weights: data/weights/R-50.pkl}")
    Path("params/methods/soft.yaml").write_text("method: soft_teacher\nteacher: cached")
    runs = expand(rounds=2, round_start="backbone")["runs"]
    for name in ("supervised", "soft", "soft_round2"):
        run = runs[f"digits-few-f1-d1-t-{name}-s0"]
        assert (run["begin"], run["backbone"]) == ("backbone", "data/weights/R-50.pkl")
        assert run["start"] == "results/burn_in/digits-few-f1-d1-t-s0", "which says what detector it is"
    Path("params/methods/soft.yaml").write_text("method: soft_teacher\nteacher: ema")
    with pytest.raises(ParamsError, match="blind as it"):
        expand(round_start="backbone")


def test_trainings_with_the_same_burn_in_share_it(project: Path) -> None:
    Path("params/training/longer.yaml").write_text("burn_in: {}\nretrain: {steps: 9}")
    Path("params/training/other.yaml").write_text("burn_in: {steps: 5}")
    blocks = [
        {"splits": ["few"], "methods": ["supervised"], "training": training} for training in ("t", "longer", "other")
    ]
    table = expand(grid=blocks, folds=[1])
    own, other = (f"digits-few-f1-d1-{training}-s0" for training in ("t", "other"))
    assert list(table["burn_ins"]) == [own, other]
    longer = table["runs"]["digits-few-f1-d1-longer-supervised-s0"]
    assert longer["burn_in"] == longer["teacher"] == own and longer["start"] == f"results/burn_in/{own}"
    reported = table["report"]["runs"]
    found = {run["training"]: Run(**run).burn_in_key for run in reported.values()}
    assert found == {"t": own, "longer": own, "other": other}
    assert all(("burn_in" in run) == (run["training"] == "longer") for run in reported.values())


def test_a_burn_in_is_shared_whatever_other_views_there_are(project: Path) -> None:
    """It sees labeled images in their own view alone."""
    views = {"t": "labeled: {}", "blurred": "labeled: {}, strong: {blur: 1}", "flipped": "labeled: {flip: 1}"}
    for name, told in views.items():
        Path(f"params/training/{name}.yaml").write_text(f"views: {{{told}}}\nburn_in: {{steps: 5}}")
    blocks = [{"splits": ["few"], "methods": ["supervised"], "training": name} for name in views]
    table = expand(grid=blocks, folds=[1])
    assert list(table["burn_ins"]) == [f"digits-few-f1-d1-{name}-s0" for name in ("t", "flipped")]


def test_corrections_reach_every_round(project: Path) -> None:
    Path("fixed.json").write_text("{}")
    assert {run["corrections"] for run in expand(corrections="fixed.json")["runs"].values()} == {"fixed.json"}
    assert {run["corrections"] for run in expand()["runs"].values()} == {"params/corrections/none.json"}


@pytest.fixture
def foreign(project: Path) -> Path:
    """A foreign teacher's file of parameters and its detections; `soft` reads labels from the table."""
    Path("params/methods/soft.yaml").write_text("method: soft_teacher\nteacher: cached")
    Path("params/teachers").mkdir()
    Path("found.json").write_text("[]")
    Path("params/teachers/dino.yaml").write_text("file: found.json")
    return project


def test_a_foreign_teacher_takes_the_place_of_the_first(foreign: Path) -> None:
    table = expand(teacher="dino", rounds=2, folds=[1], grid=[{"splits": ["few"], "methods": ["supervised", "soft"]}])
    script = "stages/adopt.py"
    assert table["foreign"] == {
        "digits-few-f1-dino": {
            "data": "digits", "split_key": "digits-few-f1", "teacher": "dino",
            "file": "found.json", "categories": script, "map_classes": script,
        }
    }  # fmt: skip
    runs = table["runs"]
    assert list(runs) == [
        "digits-few-f1-d1-t-supervised-s0",  # learns from no pseudo label: the same run with any teacher
        "digits-few-f1-d1-t-soft_from_dino-s0",
        "digits-few-f1-d1-t-soft_from_dino_round2-s0",
    ]
    _, first, second = runs.values()
    assert (first["teacher"], first["file"]) == ("digits-few-f1-dino", "soft")
    assert first["start"] == first["weights"] == "results/burn_in/digits-few-f1-d1-t-s0"
    assert second["teacher"] == second["after"] == second["before"] == "digits-few-f1-d1-t-soft_from_dino-s0"
    assert list(table["teachers"]) == ["digits-few-f1-d1-t-s0", second["teacher"]]
    reported = table["report"]["runs"]
    assert reported["digits-few-f1-d1-t-soft_from_dino-s0"]["teacher"] == "digits-few-f1-dino"
    assert "teacher" not in reported["digits-few-f1-d1-t-supervised-s0"]


def test_own_and_foreign_teacher_side_by_side(foreign: Path) -> None:
    block = {"splits": ["few"], "methods": ["soft"], "folds": [1]}
    table = expand(grid=[block, block | {"teacher": "dino"}])
    keys = [f"digits-few-f1-d1-t-{name}-s0" for name in ("soft", "soft_from_dino")]
    assert list(table["runs"]) == keys and len(table["burn_ins"]) == 1
    assert [table["runs"][key]["teacher"] for key in keys] == ["digits-few-f1-d1-t-s0", "digits-few-f1-dino"]


def test_a_foreign_teacher_that_cannot_be(foreign: Path) -> None:
    file = Path("params/teachers/dino.yaml")
    file.write_text("file: found.json\nmap_classes: map.yaml")
    with pytest.raises(ParamsError, match=r"params/teachers/dino.yaml: `map_classes` = 'map.yaml': there is no such"):
        expand(teacher="dino")
    file.write_text("file: fuond.json")
    with pytest.raises(ParamsError, match="`file` = 'fuond.json': there is no such file"):
        expand(teacher="dino")
    with pytest.raises(ParamsError, match="did you mean params/teachers/dino.yaml"):
        expand(teacher="dnio")
    file.write_text("file: found.json")
    Path("params/methods/soft.yaml").write_text("method: soft_teacher\nteacher: frozen")
    with pytest.raises(ParamsError, match=r"soft has `teacher: frozen`, which labels by .* with teacher cached"):
        expand(teacher="dino")


def test_data_of_others_are_watched_not_generated(project: Path) -> None:
    table = expand(data="cells")
    assert table["generated"] == {}
    assert table["data"] == {"cells": {"watch": "../cells/annotations"}}


def test_a_combined_data_set_has_its_parts_in_the_table(project: Path) -> None:
    more = "format: combined\nroot: ..\nparts:\n"
    more += "  - {data: params/data/cells.yaml, map_classes: map.yaml}\n  - {data: %s}\n"
    Path("params/data/both.yaml").write_text(more % "params/data/digits.yaml")
    Path("map.yaml").write_text("cell: null")
    row = expand(data="both")["data"]["both"]
    assert row["watch"] == ".." and list(row["parts"]) == [
        "params/data/cells.yaml", "map.yaml", "params/data/digits.yaml"
    ]  # fmt: skip
    Path("map.yaml").write_text("cell: Cell")
    assert expand(data="both")["data"]["both"] != row  # prepare depends on its row
    Path("params/data/both.yaml").write_text(more % "params/data/digit.yaml")
    with pytest.raises(ParamsError, match=r"did you mean params/data/digits\.yaml\?"):
        expand(data="both")


def test_the_table_is_written_once_and_again_when_a_named_file_changes(project: Path) -> None:
    assert study.write(Path("params/studies/s.yaml")) and not study.refresh()
    Path("params/methods/soft.yaml").write_text("method: supervised")
    assert study.refresh()
    assert yaml.safe_load(study.EXPERIMENTS.read_text())["runs"]["digits-few-f1-d1-t-soft-s0"]["module"] == "supervised"


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"grid": [{"splits": ["fwe"], "methods": ["soft"]}]}, "params/splits/few.yaml?"),
        ({"grid": [{"splits": ["few"], "methods": ["sof"]}]}, "params/methods/soft.yaml?"),
        ({"grid": [{"split": ["few"], "methods": ["soft"]}]}, "did you mean `splits`?"),
        ({"detector": ["d1"]}, "did you mean `detectors`?"),
        ({"folds": None}, "has no `folds`"),
        ({"seeds": [-1]}, "greater than or equal to 0"),
        ({"name": "other"}, "write name: s"),
        ({"data": "digits-a"}, "`data` = 'digits-a'"),
        ({"grid": []}, "`grid`"),
        ({"rounds": 2}, "follows the student by itself"),
        ({"corrections": "fxied.json"}, "`corrections` = 'fxied.json'"),
    ],
)
def test_what_cannot_be_is_said_in_a_sentence(project: Path, changes: dict, sentence: str) -> None:
    with pytest.raises(ParamsError) as error:
        expand(**changes)
    assert "params/studies/s.yaml" in str(error.value) and sentence in str(error.value)


@pytest.mark.parametrize("content", ["protocol: full", "protocol: external\nfile: a.json", "protocol: keep1"])
def test_folds_of_a_split_that_draws_nothing_are_refused(project: Path, content: str) -> None:
    Path("params/splits/few.yaml").write_text(content)
    grid = [{"splits": ["few"], "methods": ["soft"]}]
    with pytest.raises(ParamsError, match=r"s.yaml: split `few` \(protocol \w+\) draws nothing.* repeat by `seeds`"):
        expand(grid=grid)
    assert len(expand(grid=grid, folds=[1], seeds=[0, 1])["runs"]) == 2
    Path("params/splits/few.yaml").write_text("protocol: keep1\nselect: random")
    assert len(expand(grid=grid)["runs"]) == 2


def test_generated_data_must_be_read_where_they_are_written(project: Path) -> None:
    Path("params/data/digits.yaml").write_text("root: data/digits")
    with pytest.raises(ParamsError, match="write root: data/generated/digits"):
        expand()


def test_a_method_that_no_module_has_is_named(project: Path) -> None:
    Path("params/methods/soft.yaml").write_text("method: softer")
    with pytest.raises(ParamsError, match="there are soft_teacher, supervised"):
        expand()


def test_the_committed_table_is_that_of_its_study(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    path = Path(yaml.safe_load(study.EXPERIMENTS.read_text())["study"])
    assert study.EXPERIMENTS.read_text() == study.text(path), f"run: python -m workflow.study {path}"


@pytest.mark.parametrize("path", sorted((ROOT / "params/studies").glob("*.yaml")), ids=lambda p: p.stem)
def test_every_committed_study_expands(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    table = study.expand(path.relative_to(ROOT))
    assert table["runs"] and set(table["report"]["runs"]) == set(table["runs"])


def test_the_report_accepts_the_table(monkeypatch: pytest.MonkeyPatch) -> None:
    from scantling.report.study import StudyParams

    monkeypatch.chdir(ROOT)
    runs = StudyParams.load(f"{study.EXPERIMENTS}:report").runs
    assert all(run.key == key for key, run in runs.items())


def test_main_needs_an_existing_study(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    shutil.copy("params/studies/s.yaml", "params/studies/demo.yaml")
    with pytest.raises(ParamsError, match="did you mean params/studies/demo.yaml"):
        study.write(Path("params/studies/dmo.yaml"))


def test_no_other_study_under_a_snakemake_at_work(project: Path) -> None:
    study.write(Path("params/studies/s.yaml"))
    Path("params/studies/other.yaml").write_text(STUDY.replace("name: s", "name: other").replace("[1, 2]", "[3]"))
    hold = f"from scantling import alone\nwith alone.hold({study.LOCK!r}, 0): print(1, flush=True); input()"
    code = f"from pathlib import Path, PosixPath\nimport sys\nsys.path.insert(0, {str(ROOT)!r})\n{hold}"
    with subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as snakemake:
        assert snakemake.stdout is not None and snakemake.stdout.readline() == b"1\n"
        with pytest.raises(ParamsError, match=f"Snakemake .process {snakemake.pid} .* is at work .*other.yaml: wait"):
            study.choose(Path("params/studies/other.yaml"))
        assert not study.choose(Path("params/studies/s.yaml")), "the study that it is at work on"
        snakemake.communicate(b"\n")
    assert study.choose(Path("params/studies/other.yaml"))
