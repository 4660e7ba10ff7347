"""docs/data.md: every data set it writes down is made and read, every export it shows is run."""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from scantling.data import index, protocols
from scantling.data.formats import FORMATS, DataParams
from scantling.data.semi import FullParams
from scantling.export.__main__ import main
from tests.data.made import instances, photo
from tests.data.test_voc import two_years
from tests.export.made import prepare, small

DOC = Path("docs/data.md").read_text()
SNIPPETS = dict(re.findall(r"```yaml\n# params/data/(\w+)\.yaml\n(.*?)```", DOC, re.S))


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The parameter files of the page, and small data sets where they say."""
    for name, text in SNIPPETS.items():
        (tmp_path / "params/data").mkdir(parents=True, exist_ok=True)
        (tmp_path / f"params/data/{name}.yaml").write_text(text)
    raw = tmp_path / "data/raw"
    raw.mkdir(parents=True)
    made = small(tmp_path)
    for form in ("coco", "yolo"):
        where = ["--index", str(tmp_path / "index"), "--out", str(raw / f"a_{form}"), "--images", "copy"]
        main(["--format", form, *where])
    photo(raw / "a_coco/more/x.jpg")
    assert made.classes == ("a/b", "two words")
    data = raw / "a_yolo/data.yaml"
    data.write_text(data.read_text().replace("a/b", "human").replace("two words", "dog"))
    for name in ("a.jpg", "b.jpg", "c.jpg"):
        photo(raw / "a_folder" / name)
    (raw / "a_folder/boxes.csv").write_text("file_name,class,x1,y1,x2,y2\na.jpg,cat,1,2,3,4\nb.jpg,,,,,\n")
    two_years(raw / "VOCdevkit")
    lvis_and_objects365(raw)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def lvis_and_objects365(raw: Path) -> None:
    """The two images of instances(), as the two publishers write them down."""
    for name, where, file in (
        ("a_lvis", "images/train2017", "lvis_v1_train"), ("an_objects365", "train/patch8", "zhiyuan_objv2_train")
    ):  # fmt: skip
        content = instances()
        content["images"].append({"id": 3, "file_name": "3.jpg", "width": 40, "height": 30})
        for image in content["images"]:
            photo(raw / name / where / image["file_name"])
            image["coco_url"] = f"http://images.cocodataset.org/train2017/{image['file_name']}"
            image["file_name"] = f"images/v1/patch8/{image['file_name']}"
            image |= {"neg_category_ids": [], "not_exhaustive_category_ids": [7]}
        for category in content["categories"]:
            category["frequency"] = "c"
        (raw / name / "annotations").mkdir()
        (raw / name / "annotations" / f"{file}.json").write_text(json.dumps(content))


def test_every_form_has_its_example() -> None:
    formats = {re.search(r"^format: (\w+)", text, re.M)[1] for text in SNIPPETS.values()}
    assert set(FORMATS) <= formats


@pytest.mark.parametrize("name", SNIPPETS)
def test_every_example_is_read(project: Path, name: str) -> None:
    file = project / f"params/data/{name}.yaml"
    assert sum(not line.startswith("#") for line in file.read_text().splitlines()) < 10
    made = prepare(Path(f"params/data/{name}.yaml"), project / "results/prepare" / name)
    assert len(made.images) >= 3 and made.boxes is not None and len(made.boxes)
    assert DataParams.load(file).name == name


def test_every_export_runs(project: Path) -> None:
    (project / "own").mkdir()
    mine = small(project / "own")
    (project / "results/prepare/mine").mkdir(parents=True)
    index.save(mine, project / "results/prepare/mine")
    table, _ = protocols.make(mine, FullParams(protocol="full"), 1)
    (project / "results/split/mine-full-f1").mkdir(parents=True)
    table.to_parquet(project / "results/split/mine-full-f1/split.parquet")
    rows = pd.DataFrame({"image_id": [30], "label": [1], "score": np.float32(0.9)})
    rows.assign(x1=1.0, y1=1.0, x2=9.0, y2=8.0).to_parquet(project / "pseudo.parquet")
    commands = re.findall(r"^    python -m scantling\.export (.*)$", DOC, re.M)
    assert len(commands) == 3
    for command in commands:
        main(command.split())
    assert {p.name for p in (project / "exported").iterdir()} == {"mine", "few", "made"}
    assert (project / "exported/made/ImageSets/Main/pseudo.txt").read_text() == "more/u\n"
