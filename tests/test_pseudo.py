"""The pseudo-label table as files, and the stage that labels the split and the held-out images."""

import json
from pathlib import Path

import pandas as pd
import pytest

from scantling import checkpoint, pseudo, pseudo_files
from scantling.data import index as indexes
from scantling.data.index import BOX_COLUMNS, IMAGE_COLUMNS, Index, table
from scantling.stage import run as run_stage
from stages.pseudo_label import pseudo_label
from tests import tiny, toy


def rows(*scores: float) -> pd.DataFrame:
    one = {"image_id": 1, "label": 0, "x1": 0.0, "y1": 0.0, "x2": 9.0, "y2": 9.0, "spread": float("nan")}
    return table([one | {"score": s} for s in scores], pseudo.COLUMNS)


def test_what_is_saved_is_read_again(tmp_path: Path) -> None:
    pseudo_files.save(tmp_path, [rows(0.9)], 3, ("a",), [rows(0.8), rows(0.7)], "val", 5, {"more": 1})
    subset, found = pseudo_files.load_held_out(tmp_path)
    assert subset == "val" and found.equals(rows(0.8, 0.7))
    summary = json.loads((tmp_path / "summary.json").read_text())
    assert (summary["images"], summary["boxes"], summary["more"]) == (3, 1, 1)
    assert [t["threshold"] for t in summary["thresholds"]] == [0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9]


def test_images_without_any_box_are_an_answer_and_no_images_are_none(tmp_path: Path) -> None:
    pseudo_files.save(tmp_path, [rows()], 3, ("a",), [], "val", 5)
    assert len(pseudo_files.load_held_out(tmp_path)[1]) == 0
    pseudo_files.save(tmp_path, [rows()], 3, ("a",), [], "val", 0)
    assert pseudo_files.load_held_out(tmp_path) is None
    (tmp_path / "summary.json").unlink()
    assert pseudo_files.load_held_out(tmp_path) is None


@pytest.mark.parametrize("held_out", ["val", "null"])
def test_the_stage_labels_the_held_out_images_too(tmp_path: Path, monkeypatch, held_out: str) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("SCANTLING_DEVICE", "cpu")
    monkeypatch.setattr("scantling.detectors.pyramid.build_backbone", lambda params: tiny.Trunk())
    images, split = toy.tables(tmp_path, labeled=2, unlabeled=4)
    subset = ["train"] * 4 + ["val"] * 2
    images = table(images.assign(subset=subset, bytes=0, mtime_ns=0), IMAGE_COLUMNS)
    (tmp_path / "index").mkdir()
    indexes.save(Index("toy", tmp_path, tiny.CLASSES, (1, 2), images, table([], BOX_COLUMNS), {}), tmp_path / "index")
    split[split["image_id"] < 4].to_parquet("split.parquet")
    params = tiny.params("faster_rcnn")
    checkpoint.save_weights(Path("teacher.safetensors"), tiny.detector("faster_rcnn"), params, step=1, role="teacher")
    text = (toy.ROOT / "params/pseudo_label.yaml").read_text().replace("held_out: val", f"held_out: {held_out}")
    Path("p.yaml").write_text(text.replace("score_floor: 0.05", "score_floor: 0.0"))  # random weights score low

    run_stage(
        pseudo_label, ["--index", "index", "--split", ".", "--teacher", ".", "--params", "p.yaml", "--out", "out"]
    )
    found, seen = (pd.read_parquet(f"out/{name}.parquet") for name in ("pseudo", "held_out"))
    assert set(found["image_id"]) == {0, 1, 2, 3}
    assert set(seen["image_id"]) == ({4, 5} if held_out == "val" else set()) and seen["spread"].isna().all()
    assert list(found) == list(seen) == list(pseudo.COLUMNS)
    facts = json.loads(Path("out/summary.json").read_text())["held_out"]
    assert facts["images"] == (2 if held_out == "val" else 0)
    assert not list(Path("work").rglob("*.parquet"))
