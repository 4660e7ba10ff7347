"""Every committed study can be run as it stands: each file it names is there and valid, and DVC takes the graph."""

from __future__ import annotations

import shutil
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import yaml

from scantling import methods, recipe
from scantling.augment.settings import ViewParams
from scantling.data.formats import DataParams
from scantling.data.protocols import SplitParams
from scantling.detectors import DetectorParams
from scantling.methods import MethodParams
from scantling.recipe import TrainingParams
from tests.pipeline.imports import ROOT
from workflow import dag, study

STUDIES = sorted((ROOT / "params/studies").glob("*.yaml"))
SMALL = {
    "bccd_long",
    "bccd_parts",
    "bccd_semi",
    "bccd_single_stage",
    "bccd_sparse",
    "cards_hundreds",
    "cards_own",
    "cards_semi",
    "cards_sparse",
    "demo",
    "digits_imbalanced",
    "digits_semi",
    "digits_sparse",
    "own_data",
}  # of one process; what the others publish was trained on 8 GPUs
# what a reader fetches, told in docs/data.md, docs/weights.md and params/splits/files/README.md
FETCHED = ("data/raw/", "data/weights/", "data/generated/", "../shared/", "results/")


@pytest.fixture(autouse=True)
def at_the_root(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)


@cache
def table(path: Path) -> dict[str, Any]:
    return study.expand(path.relative_to(ROOT))


@pytest.mark.parametrize("path", STUDIES, ids=lambda p: p.stem)
def test_every_file_of_a_study_is_there_and_valid(path: Path) -> None:
    rows = table(path)
    for data, row in rows["data"].items():
        params = DataParams.load(f"params/data/{data}.yaml")
        assert f"{params.root}/".startswith(FETCHED), data
        assert all(Path(part).is_file() for part in row.get("parts", ()))
    for split in {row["split"] for row in rows["splits"].values()}:
        file = getattr(SplitParams.load(f"params/splits/{split}.yaml"), "file", None)
        assert file is None or Path(file).name in Path("params/splits/files/README.md").read_text()
    for weights in {row["backbone"] for row in rows["burn_ins"].values()}:
        assert Path(weights).is_file() or Path(weights).name in Path("docs/weights.md").read_text(), weights
    kinds = {tuple(run[k] for k in ("detector", "training", "file")) for run in rows["runs"].values()}
    for detector, training, method in kinds:
        views = ViewParams.load(f"params/training/{training}.yaml:views")
        maker = methods.create(MethodParams.load(f"params/methods/{method}.yaml"), ("a", "b"), None)
        wanted = {*maker.labeled_views, *maker.unlabeled_views}
        assert all(getattr(views, view) is not None for view in wanted), (training, method)
        tested = DetectorParams.load(f"params/detectors/{detector}.yaml").input
        assert tested.antialias == views.labeled.antialias, (training, detector, "is tested as it is trained")


@pytest.mark.parametrize("path", [p for p in STUDIES if p.stem not in SMALL], ids=lambda p: p.stem)
def test_a_published_recipe_is_dealt_to_eight_gpus(path: Path) -> None:
    for training in {run["training"] for run in table(path)["runs"].values()}:
        for section in ("burn_in", "retrain"):
            params = TrainingParams.load(f"params/training/{training}.yaml:{section}")
            recipe.check_parts(params, 8, unlabeled=True)
            assert params.scaled() == params, "it is given for its own batch"


def test_every_published_setting_is_in_a_study() -> None:
    """A file that no study names is one that nobody can run as documented."""
    used = {key: set() for key in ("training", "file", "detector")}
    for path in STUDIES:
        for run in table(path)["runs"].values():
            for key, names in used.items():
                names.add(run[key])
    published = {p.stem for p in Path("params/training").glob("*.yaml") if p.stem.startswith(("coco", "voc", "lvis"))}
    assert published <= used["training"]
    ends = ("_coco", "_voc", "_full", "_lvis", "_objects365")
    assert {p.stem for p in Path("params/methods").glob("*.yaml") if p.stem.endswith(ends)} <= used["file"]
    assert {p.stem for p in Path("params/detectors").glob("*_caffe.yaml")} <= used["detector"]


def test_dvc_takes_all_studies_as_one_graph(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One index for all of them, of each study the last run with what it needs: reading all runs takes long."""
    from dvc.dependency import ParamsDependency
    from dvc.repo import Repo

    kinds = [kind for kind, rows in table(STUDIES[0]).items() if isinstance(rows, dict) and kind != "report"]
    merged: dict[str, Any] = {kind: {} for kind in kinds}
    for path in STUDIES:
        rows = table(path)
        key, run = list(rows["runs"].items())[-1]
        needs = {"generated": run["data"], "data": run["data"], "splits": run["split_key"], "runs": key}
        for kind, name in (needs | {"burn_ins": run["burn_in"], "teachers": run["teacher"]}).items():
            merged[kind] |= {name: rows[kind][name]} if name in rows[kind] else {}
    merged["report"] = {"name": "all", "title": "All", "runs": {k: {"data": "coco"} for k in merged["runs"]}}
    for part in ("dvc.yaml", "params/corrections"):
        copy = shutil.copytree if (ROOT / part).is_dir() else shutil.copy
        (tmp_path / part).parent.mkdir(parents=True, exist_ok=True)
        copy(ROOT / part, tmp_path / part)
    (tmp_path / study.EXPERIMENTS).write_text(yaml.safe_dump(merged, sort_keys=False))
    Repo.init(str(tmp_path), no_scm=True).close()
    monkeypatch.chdir(tmp_path)
    with Repo(".") as repo:
        stages = [
            {
                "name": stage.addressing,
                "deps": [d.def_path for d in stage.deps if not isinstance(d, ParamsDependency)],
                "outs": [out.def_path for out in stage.outs],
            }
            for stage in repo.index.stages
            if getattr(stage, "name", None)
        ]
    made = {s["name"].partition("@")[0] for s in stages}
    assert made == {p.stem for p in (ROOT / "stages").glob("*.py")} - {"adopt"}, "no study has a foreign teacher"
    for stage in dag.connect(stages):
        own = [path for path in stage["sources"] if not path.startswith(FETCHED)]
        assert [path for path in own if not (ROOT / path).exists()] == [], stage["name"]
