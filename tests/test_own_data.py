"""docs/own-data.md, walked word for word with photographs of playing cards: every command, snippet and named file."""

from __future__ import annotations

import csv
import json
import re
import shlex
import sys
from pathlib import Path

import pytest
from PIL import Image

from tests.pipeline.small_project import ROOT, Project, files

DOC = (ROOT / "docs" / "own-data.md").read_text()
COMMANDS = re.findall(r"^    ((?:python|make|snakemake) .*)", DOC, re.M)
LABELED, UNLABELED, NEW = 14, 5, 3


@pytest.fixture
def project(tmp_path: Path, shared_data: Path) -> Project:
    """The project without data, and what the first section asks for: a folder of images and boxes.csv."""
    cards = shared_data / "playing_cards"
    pytest.importorskip("onnx", reason="the extra scantling[onnx] is not installed")
    if not cards.is_dir():
        pytest.skip("../shared/data/playing_cards is not here: the document is walked with its photographs")
    folder = tmp_path / "project"
    files(folder)
    _data(cards, folder / "data/raw/own_data", folder / "data/raw/new")
    made = Project(folder)
    for command in ("git init -q", "git config user.email a@b.c", "git config user.name n", "git add -A"):
        made.run(*command.split())
    made.run("git", "commit", "-qm", "start")
    return made


def _data(cards: Path, folder: Path, new: Path) -> None:
    """Every class among the labeled images; half of the size, to be read faster. One class is called with a space."""
    truth = json.loads((cards / "annotations/instances_train.json").read_text())
    names = {c["id"]: c["name"] for c in truth["categories"]} | {1: "the nine"}
    boxes: dict[int, list[dict]] = {}
    for box in truth["annotations"]:
        boxes.setdefault(box["image_id"], []).append(box)
    by_class = sorted(truth["images"], key=lambda i: (boxes[i["id"]][0]["category_id"], i["file_name"]))
    step = len(by_class) // (LABELED + UNLABELED)
    chosen = by_class[::step][: LABELED + UNLABELED]
    unlabeled = {image["id"] for image in chosen[2 :: len(chosen) // UNLABELED][:UNLABELED]}
    folder.mkdir(parents=True)
    new.mkdir(parents=True)
    header = re.search(r"^    (file_name,class,.*)", DOC, re.M)
    assert header, "the document no longer shows boxes.csv"
    with (folder / "boxes.csv").open("w", newline="") as stream:
        rows = csv.writer(stream)
        rows.writerow(header[1].split(","))
        for image in chosen:
            _half(cards / "images" / image["file_name"], folder / image["file_name"])
            for box in boxes[image["id"]] if image["id"] not in unlabeled else ():
                x, y, w, h = (side / 2 for side in box["bbox"])
                rows.writerow([image["file_name"], names[box["category_id"]], x, y, x + w, y + h])
    held_out = json.loads((cards / "annotations/instances_test.json").read_text())["images"]
    for image, name in zip(held_out, ("a.jpg", *(i["file_name"] for i in held_out[1:NEW])), strict=False):
        _half(cards / "images" / image["file_name"], new / name)


def _half(source: Path, target: Path) -> None:
    with Image.open(source) as picture:
        picture.resize((picture.width // 2, picture.height // 2)).save(target)


def test_the_document_is_walked(project: Project) -> None:
    edit = re.search(r"set both `steps:` of\s+`(\S+)` to (\d+)", DOC)
    assert edit, "the document no longer says how to cut the training down"
    recipe = project.folder / edit[1]
    text, edits = re.subn(r"^  steps: \d+", f"  steps: {edit[2]}", recipe.read_text(), flags=re.M)
    assert edits == 2
    recipe.write_text(text)

    said = {command: project.run(*_words(command)) for command in COMMANDS}

    def of(beginning: str) -> str:
        (found,) = (text for command, text in said.items() if command.startswith(beginning))
        return found

    results = project.folder / "results"
    assert f"unlabeled: {UNLABELED} images" in of("python stages/prepare.py")
    facts = json.loads((results / "prepare/own_data/data.json").read_text())
    assert "the nine" in facts["classes"] and all(facts["counts"][s]["images"] for s in ("train", "val", "test"))
    assert "own_data-full-f1-faster_rcnn_lite_192-tens-soft_teacher_places-s0" in of("python -m scantling.report")
    for named in re.findall(r"`(results/\S+\.html)`", DOC):
        assert (project.folder / named).stat().st_size > 10_000, named

    assert re.search(rf"labeled/new: {NEW} images, \d+ boxes \(", of("python -m scantling.label"))
    written = json.loads((project.folder / "labeled/new/coco.json").read_text())
    assert len(written["images"]) == NEW and {c["name"] for c in written["categories"]} == set(facts["classes"])
    assert len(list((project.folder / "labeled/new/drawn").iterdir())) == NEW

    (snippet,) = re.findall(r"```python\n(.*?)```", DOC, re.S)
    shown = "\nprint(found.boxes.shape, found.labels.shape, found.scores.shape, found.names)"
    assert re.search(r"torch.Size\(\[\d+, 4\]\)", project.run(sys.executable, "-c", snippet + shown))
    assert "boxes agree" in of("python -m scantling.export.onnx")


def _words(command: str) -> list[str]:
    """The command as it is run here: the tests' own Python and environment in place of the project's .venv."""
    words = shlex.split(command)
    if words[0] == "python":
        return [sys.executable, *words[1:]]
    if words[0] == "make":
        (study,) = (word.removeprefix("STUDY=") for word in words if word.startswith("STUDY="))
        assert "-m workflow.study params/studies/$(STUDY).yaml" in (ROOT / "Makefile").read_text()
        return [sys.executable, "-m", "workflow.study", f"params/studies/{study}.yaml"]
    return words


def test_the_document_is_short_and_has_all_steps() -> None:
    assert len(DOC.splitlines()) < 90
    kinds = (
        "python stages/prepare.py",
        "make study",
        "snakemake",
        "python -m scantling.report",
        "python -m scantling.label",
    )
    for beginning in (*kinds, "python -m scantling.export.onnx"):
        assert sum(command.startswith(beginning) for command in COMMANDS) == 1, beginning
