"""The command: from a run to a folder that tells what to look at."""

from __future__ import annotations

import json
from pathlib import Path

import pandas as pd
import pytest
from PIL import Image

from scantling.data.index import XYXY
from scantling.review import folder
from scantling.review.__main__ import main
from tests import toy
from tests.review import made

PARAMS = ["--params", str(toy.ROOT / "params/review.yaml"), "--labeling", str(toy.ROOT / "params/pseudo_label.yaml")]


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    made.run(tmp_path)
    monkeypatch.chdir(tmp_path)
    made.table_of(tmp_path / "found.parquet", tmp_path)
    return tmp_path


def review(project: Path, *more: str) -> Path:
    main(["--run", f"results/retrain/{made.KEY}", "--detections", "found.parquet", *PARAMS, *more])
    return project / "results/review" / made.KEY


def test_a_run_is_enough(project: Path) -> None:
    out = review(project)
    table = pd.read_parquet(out / "review.parquet")
    assert {"image_id", "reason", *XYXY, "score"} <= set(table)
    found = {(row.image_id, row.reason, row.file_name) for row in table.itertuples()}
    assert {(1, "missing_label", "images/1.png"), (0, "wrong_class", "images/0.png")} <= found
    assert {(4, "wide_spread", "images/4.png"), (5, "near_threshold", "images/5.png")} <= found
    assert table["score"].is_monotonic_decreasing or table["rank"].is_monotonic_increasing
    images = pd.read_parquet(out / "images.parquet")
    assert images["rank"].tolist() == list(range(1, len(images) + 1)) and images["score"].is_monotonic_decreasing
    assert pd.read_csv(out / "images.csv").shape == images.shape
    wrong = table[table["reason"] == "wrong_class"].iloc[0]
    assert (wrong["class"], wrong["said"]) == made.CLASSES and wrong["source"] == "label"
    assert len(pd.read_csv(out / "review.csv")) == len(table)
    page = (out / "index.html").read_text()
    assert all(name in page for name in ("pictures/0001.jpg", "missing label"))
    assert page.count("</script>") == 2 and "<b>bar" not in page


def test_files_named_one_by_one(project: Path) -> None:
    main(
        ["--index", "results/prepare/mine", "--split", "results/split/mine-full-f1"]
        + ["--pseudo", f"results/pseudo_label/{made.TEACHER}", "--out", "looked", *PARAMS]
    )
    pd.testing.assert_frame_equal(
        pd.read_parquet("looked/review.parquet"), pd.read_parquet(review(project) / "review.parquet")
    )


def test_only_the_first_have_pictures_and_these_are_small(project: Path) -> None:
    text = (toy.ROOT / "params/review.yaml").read_text()
    Path("few.yaml").write_text(
        text.replace("images: 200 ", "images: 2 ").replace("long_side_px: 1024", "long_side_px: 64")
    )
    out = review(project, "--params", "few.yaml")
    pictures = sorted((out / "pictures").iterdir())
    assert [p.name for p in pictures] == ["0001.jpg", "0002.jpg"]
    assert all(max(Image.open(p).size) == 64 for p in pictures)
    assert len(pd.read_csv(out / "images.csv")) == 2 < len(pd.read_parquet(out / "images.parquet"))


def test_an_image_that_is_gone_has_no_picture(project: Path) -> None:
    Path("data/raw/mine/images/1.png").unlink()
    out = review(project)
    first = json.loads((out / "index.html").read_text().split('id="data">')[1].split("</script>")[0])["images"]
    assert {image["picture"] is None for image in first if image["id"] == 1} == {True}
    assert sum(image["picture"] is None for image in first) == 1


def test_what_was_corrected_counts_as_labeled(project: Path) -> None:
    assert 5 in set(pd.read_parquet(review(project) / "images.parquet")["image_id"])
    file = project / "results/polish" / made.KEY / "refined.parquet"
    refined = pd.read_parquet(file)
    row = refined[refined["image_id"] == 5].assign(source="corrected", label=0)
    pd.concat([refined[refined["image_id"] != 5], row]).to_parquet(file)
    assert 5 not in set(pd.read_parquet(review(project) / "images.parquet")["image_id"])  # its label is no doubt


def test_the_model_labels_the_images_once_and_goes_on_after_a_kill(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made.run(tmp_path, weights=True)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("SCANTLING_DEVICE", "cpu")
    text = (toy.ROOT / "params/pseudo_label.yaml").read_text()
    Path("all.yaml").write_text(text.replace("score_floor: 0.05", "score_floor: 0.0"))  # it has not learned anything
    command = ["--run", f"results/retrain/{made.KEY}", *PARAMS, "--labeling", "all.yaml", "--score-threshold", "0.05"]

    def killed(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(folder, "write", killed)
        with pytest.raises(KeyboardInterrupt):
            main(command)
    assert list(tmp_path.glob("work/review/*/rows_*.parquet")) and not Path("results/review", made.KEY).exists()

    from scantling.detectors.fcos import Fcos

    monkeypatch.setattr(Fcos, "features", killed)  # from here on the network must not run again
    main(command)
    out = tmp_path / "results/review" / made.KEY
    first = pd.read_parquet(out / "detections.parquet")
    assert len(first) and set(first["image_id"]) <= set(range(8)) and not list(tmp_path.glob("work/review/*"))
    main([*command[:-1], "0.3"])
    pd.testing.assert_frame_equal(pd.read_parquet(out / "detections.parquet"), first)
    assert json.loads((out / "review.json").read_text())["params"]["score_threshold"] == 0.3


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--run", "results/retrain/none"], "provenance.json: there is no such file; name a folder of results/retrain"),
        (["--out", "x"], "name a run with --run, or at least --index, --split and --pseudo"),
        ([], "name the folder to write with --out"),
        (["--index", "results", "--split", "results", "--out", "x"], "--index results: holds no data.json"),
        (["--run", "{run}", "--detections", "none.parquet"], "--detections none.parquet: cannot be read"),
        (["--run", "{run}", "--detections", "strange.parquet"], "has images or classes that mine does not have"),
        (["--run", "{run}", "--detections", "wild.parquet"], "has scores outside 0..1 or boxes that are no numbers"),
        (["--run", "{run}", "--out", "data"], "--out data: is there and was not written by this command"),
        (["--run", "{run}", "--score-threshold", "2"], "--score-threshold: `score_threshold` = 2"),
        (["--run", "{run}"], "teacher.safetensors: there is no such weights file"),
    ],
)
def test_what_cannot_be_done_is_said(
    project: Path, capsys: pytest.CaptureFixture[str], words: list[str], message: str
) -> None:
    rows = pd.read_parquet("found.parquet")
    rows.assign(label=7).to_parquet("strange.parquet")
    rows.assign(score=1.5).to_parquet("wild.parquet")
    with pytest.raises(SystemExit) as stopped:
        main([word.format(run=f"results/retrain/{made.KEY}") for word in words] + PARAMS)
    assert str(stopped.value).startswith("review: ") and message in str(stopped.value)
