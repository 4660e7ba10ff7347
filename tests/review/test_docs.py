"""docs/review.md: every command it shows, in its order, on a small run."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

import pytest

from scantling.corrections import main as corrections
from scantling.export.__main__ import main as export
from scantling.review.__main__ import main as review
from tests import toy
from tests.review import made

COMMANDS = re.findall(r"^    python -m scantling\.(\w+) (.*)$", (toy.ROOT / "docs/review.md").read_text(), re.M)


def test_the_page_can_be_followed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made.run(tmp_path, weights=True)
    for name in ("review.yaml", "pseudo_label.yaml"):
        (tmp_path / "params").mkdir(exist_ok=True)
        shutil.copy(toy.ROOT / "params" / name, tmp_path / "params" / name)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("SCANTLING_DEVICE", "cpu")
    mains = {"review": review, "export": export, "corrections": corrections}
    assert {name for name, _ in COMMANDS} == set(mains) and len(COMMANDS) == 9
    for name, words in COMMANDS:
        mains[name](words.split())
        if "--format cvat" in words:  # a person works on it
            text = Path("exported/cvat/annotations.xml").read_text()
            Path("annotations.xml").write_text(text.replace('name="proposed">true', 'name="proposed">false', 1))
        if "--format coco" in words:
            shutil.copy("exported/coco/annotations/instances_review.json", "more.json")
    assert Path("results/review", made.KEY, "index.html").is_file() and Path("looked/index.html").is_file()
    final = json.loads(Path("params/corrections/mine.json").read_text())
    assert len(final["images"]) and len(final["annotations"])
