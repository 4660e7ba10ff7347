"""A foreign teacher under both engines: its labels come in, are polished, and an edit of its file makes them stale."""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path

import pandas as pd
import pytest
import yaml

from scantling.data import index as indexes
from scantling.data.index import BOX_COLUMNS, IMAGE_COLUMNS, Index, table
from scantling.data.split import SPLIT_COLUMNS
from scantling.stage import run as run_stage
from stages.adopt import adopt
from tests.pipeline.imports import ROOT
from tests.pipeline.test_graph import OURS
from tests.pipeline.toy_project import Toy
from workflow import dag

SPLIT, RUN = "digits-full-f1", "digits-full-f1-faster_rcnn_lite-digits-soft_teacher_cached_from_another-s0"
BURN_IN = "digits-full-f1-faster_rcnn_lite-digits-s0"  # the student's start
ADOPT, POLISH = f"adopt@{SPLIT}-another", f"polish@{RUN}"
STUDY = {
    "name": "foreign",
    "title": "Another teacher",
    "data": "digits",
    "detectors": ["faster_rcnn_lite"],
    "training": "digits",
    "folds": [1],
    "seeds": [0],
    "grid": [{"splits": ["full"], "methods": ["soft_teacher_cached"], "teacher": "another"}],
}


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Toy:
    """A copy of this project, an index and a split that DVC was told are up to date, and a file of detections."""
    folder = tmp_path_factory.mktemp("foreign") / "copy"
    for name in OURS:
        source, target = ROOT / name, folder / name
        target.parent.mkdir(parents=True, exist_ok=True)
        if source.is_dir():
            shutil.copytree(source, target, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(source, target)
    found = [
        {"image_id": f"{i}.png", "category_id": f"digit {i}", "bbox": [1, 2, 20, 20], "score": score}
        for i, score in ((2, 0.95), (3, 0.4), (4, 0.9))
    ]
    (folder / "data/raw").mkdir(parents=True)
    (folder / "data/raw/another.json").write_text(json.dumps(found))
    (folder / "params/studies/foreign.yaml").write_text(yaml.safe_dump(STUDY))
    _results(folder)
    toy = Toy(folder)
    toy.git("init", "-q")
    toy.call(sys.executable, "-m", "workflow.study", "params/studies/foreign.yaml")
    toy.dvc("commit", "-f", "-q", "generate@digits", "prepare@digits", f"split@{SPLIT}", f"burn_in@{BURN_IN}")
    return toy


def _results(folder: Path) -> None:
    """Image 1 is labeled, 2 and 3 are not, 4 is of subset val."""
    subsets = {1: "train", 2: "unlabeled", 3: "unlabeled", 4: "val"}
    rows = [
        {"image_id": i, "subset": s, "file_name": f"{i}.png", "width": 96, "height": 96} for i, s in subsets.items()
    ]
    images = table([row | {"bytes": 0, "mtime_ns": 0} for row in rows], IMAGE_COLUMNS)
    classes, place = tuple(f"digit {n}" for n in range(10)), folder / "results/prepare/digits"
    place.mkdir(parents=True)
    indexes.save(Index("digits", Path("data"), classes, tuple(range(10)), images, table([], BOX_COLUMNS), {}), place)
    (place / "check.html").touch()
    split = folder / f"results/split/{SPLIT}"
    split.mkdir(parents=True)
    bare = [{"image_id": i, "labeled": i == 1, "box_id": -1, "label": -1} for i in (1, 2, 3)]
    table(bare, SPLIT_COLUMNS).to_parquet(split / "split.parquet")
    (split / "split.json").write_text("{}")
    (split / "split.html").touch()
    burned = folder / f"results/burn_in/{BURN_IN}"
    burned.mkdir(parents=True)
    for name in ("student.safetensors", "teacher.safetensors", "history.tsv"):
        (burned / name).touch()
    for made in (place, split, burned):
        (made / "provenance.json").write_text("{}")
    (folder / "data/generated/digits").mkdir(parents=True)
    (folder / "data/generated/digits/any.txt").touch()


def test_from_a_file_of_detections_to_labels_to_learn_from(project: Toy, monkeypatch: pytest.MonkeyPatch) -> None:
    project.dvc("repro", "-q", "--single-item", ADOPT, POLISH)
    said = project.snakemake("-n", f".pipeline/done/{POLISH}")
    assert "Nothing to be done" in said, said
    labels = project.folder / f"results/pseudo_label/{SPLIT}-another"
    pseudo = pd.read_parquet(labels / "pseudo.parquet")
    assert pseudo[["image_id", "label"]].to_numpy().tolist() == [[2, 2], [3, 3]] and pseudo["spread"].isna().all()
    assert pd.read_parquet(labels / "held_out.parquet")["image_id"].tolist() == [4]
    summary = json.loads((labels / "summary.json").read_text())
    assert summary["held_out"] == {"subset": "val", "images": 1, "boxes": 1}
    assert summary["foreign"]["detections"] == 3 and summary["foreign"]["file"] == "data/raw/another.json"
    refined = pd.read_parquet(project.folder / f"results/polish/{RUN}/refined.parquet")
    # without box spread the box loss sees what the class loss sees
    assert refined["for_class"].tolist() == refined["for_box"].tolist() == [True, False]

    monkeypatch.chdir(project.folder)
    stages, stale = dag.resolve()
    assert not {ADOPT, POLISH} & stale
    upstream = {s["name"]: s["upstream"] for s in dag.connect(stages)}
    assert ADOPT in upstream[POLISH] and {"prepare@digits", f"split@{SPLIT}"} <= set(upstream[ADOPT])
    file = project.folder / "data/raw/another.json"
    file.write_text(file.read_text().replace("0.4", "0.99"))
    assert {ADOPT} == {name for name in dag.resolve()[1] if name.startswith(("adopt", "polish"))}


def test_what_does_not_fit_ends_in_a_sentence(project: Toy, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(project.folder)
    file = project.folder / "data/raw/another.json"
    file.write_text(file.read_text().replace("2.png", "22.png"))
    words = ["--index", "results/prepare/digits", "--split", f"results/split/{SPLIT}", "--out", "out"]
    words += ["--foreign", "params/teachers/another.yaml", "--params", "params/pseudo_label.yaml"]
    with pytest.raises(SystemExit, match=r"adopt: data/raw/another\.json: image '22\.png' is none of digits"):
        run_stage(adopt, words)
    assert not Path("out").exists()
