"""Own data hide nothing: the page says what held-out images tell, and shows where the teacher doubts."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from scantling.data.index import save
from scantling.report.build import build
from scantling.report.disagreement import doubt
from tests.evaluate.made import measure
from tests.report import synthetic
from tests.report.conftest import PARAMS


@pytest.fixture
def results(tmp_path: Path) -> Path:
    """A study whose images without labels are a pool of which no box is known; its labels are measured anew."""
    plan = synthetic.study(folds=(1,), splits=("percent_10",))
    results = synthetic.write(tmp_path, plan)
    index = synthetic.read_index(results)
    assert index.boxes is not None
    (file,) = results.glob("split/*/split.parquet")
    split = pd.read_parquet(file)
    pool = index.images["image_id"].isin(split["image_id"][~split["labeled"]])
    images = index.images.assign(subset=index.images["subset"].mask(pool, "unlabeled"))
    index = replace(index, images=images, boxes=index.boxes[~index.boxes["image_id"].isin(images["image_id"][pool])])
    save(index, results / "prepare" / "shapes")
    held_out = synthetic._found(index, "test", 0.75, np.random.default_rng(5))
    for run in plan.runs.values():
        pseudo = pd.read_parquet(results / "pseudo_label" / run.pseudo_key / "pseudo.parquet")
        refined = pd.read_parquet(results / "polish" / run.key / "refined.parquet")
        quality = measure(index, split, pseudo, refined, synthetic.QUALITY, on_held_out=("test", held_out))
        (results / "evaluate" / run.key / "label_quality.json").write_text(json.dumps(quality))
    return results


def page_of(results: Path, out: Path) -> tuple[str, dict]:
    out.mkdir()
    build(synthetic.study(folds=(1,), splits=("percent_10",)), results, PARAMS, out)
    return (out / "index.html").read_text(), json.loads((out / "summary.json").read_text())["groups"][0]["labels"]


def test_the_estimate_takes_the_place_of_the_hidden_truth(results: Path, tmp_path: Path) -> None:
    page, labels = page_of(results, tmp_path / "out")
    quality = json.loads(next(results.glob("evaluate/*/label_quality.json")).read_text())
    at = quality["thresholds"].index(quality["headline_threshold"])
    assert (labels["source"], labels["images"], labels["unknown"]) == ("estimate", 0, 9)
    assert labels["all"]["precision"] == quality["estimate"]["all"]["precision"][at] is not None
    assert labels["classes"]["ring"]["hidden"] == quality["estimate"]["classes"]["ring"]["hidden"] > 0
    assert labels["all"]["suggested"] == quality["estimate"]["suggested"]["all"]["threshold"] is not None
    text = " ".join(page.split())
    assert "labeled 9 images of which nobody knows the truth" in text and "tried on the 8 labeled images" in text
    for said in ("hidden boxes", "that the split hid", "targets of the"):
        assert said not in page, said
    assert "<th>true boxes</th>" in page and "small objects" in page and "right, by score" in page


def test_images_are_those_of_most_doubt(results: Path, tmp_path: Path) -> None:
    page, _ = page_of(results, tmp_path / "out")
    (sheet,) = page.split('<div class="sheet" data-by="doubt">')[1:]
    shown = re.findall(r'data-image="(\d+)".*?<b>(\d+) unsure</b>', sheet.split("</div>")[0], re.S)
    refined = pd.read_parquet(next(results.glob("polish/*-soft-s0/refined.parquet")))
    unsure = refined[(refined["score"] >= PARAMS.sheet.score_floor) & ~refined["for_class"]].groupby("image_id").size()
    assert [int(n) for _, n in shown] == [unsure.get(int(image), 0) for image, _ in shown]
    assert len(shown) == 9 and [int(n) for _, n in shown] == sorted((int(n) for _, n in shown), reverse=True)
    assert int(shown[0][1]) > int(shown[-1][1]) and "python -m scantling.review" in page and "wrong ·" not in page


def test_without_held_out_images_nothing_is_claimed(results: Path, tmp_path: Path) -> None:
    for file in results.glob("evaluate/*/label_quality.json"):
        file.write_text(json.dumps(json.loads(file.read_text()) | {"estimate": None}))
    page, labels = page_of(results, tmp_path / "out")
    text = " ".join(page.split())
    assert labels["source"] is None and "Nothing says how good the burn-in teacher's labels are: nobody knows" in text
    assert "over the score threshold" not in page and "<th>precision</th>" not in page.split("Training</h3>")[0]
    assert "as dense as people at" in page  # needs no truth


def test_doubt_counts_what_was_seen_and_not_used() -> None:
    rows = pd.DataFrame({"image_id": [1, 1, 1, 2, 9], "score": [0.9, 0.5, 0.2, 0.4, 0.5], "source": "teacher"})
    flags = dict.fromkeys(("for_objectness", "for_class", "for_box"), rows["score"] > 0.8)
    table = rows.assign(weight=1.0, ignore=False, **flags)
    assert doubt(np.array([1, 2, 3]), table, 0.7, 0.3)["unsure"].tolist() == [1, 1, 0]
    unused = table.assign(for_objectness=False, for_class=False, for_box=False)  # a method that labels while it trains
    assert doubt(np.array([1, 2, 3]), unused, 0.45, 0.3)["unsure"].tolist() == [0, 1, 0]
