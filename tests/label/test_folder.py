"""A folder is labeled whole, in any of the forms, goes on after a kill, and says what it cannot use."""

from __future__ import annotations

import json
import re
import resource
import shutil
from pathlib import Path
from typing import Any
from unittest import mock

import pytest
import torch
from PIL import Image

from scantling import checkpoint
from scantling.data.coco import CocoParams
from scantling.data.coco import read as read_coco
from scantling.data.problems import Findings
from scantling.label import __main__ as command
from scantling.label import folder
from scantling.label.folder import Settings
from scantling.stage import BadInput
from scantling.trained import TrainedDetector
from tests import toy, trained

ALL = Settings(write=("coco", "yolo", "drawn"))


@pytest.fixture(autouse=True)
def model(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """A weights file that is loaded as the small detector which finds squares and bars."""
    monkeypatch.setattr(folder, "load_detector", lambda path: trained.detector("retinanet"))
    file = tmp_path / "teacher.safetensors"
    file.write_bytes(b"stands for weights")
    return file


@pytest.fixture
def images(tmp_path: Path) -> Path:
    """Six pictures in two folders, of several kinds; two of them are empty."""
    root = tmp_path / "images"
    (root / "more of it").mkdir(parents=True)
    scenes = trained.scenes(_made(tmp_path / "scenes"))
    first, second = Image.open(scenes[0][0]), Image.open(scenes[1][0])
    first.save(root / "UPPER.PNG")
    first.resize((160, 128)).save(root / "more of it" / "large one.JPG", quality=98)
    exif = Image.Exif()
    exif[0x0112] = 8
    second.transpose(Image.Transpose.ROTATE_270).save(root / "turned.jpeg", exif=exif, quality=98)
    alpha = second.convert("RGBA")
    alpha.putalpha(200)
    alpha.save(root / "alpha.png")
    Image.new("L", (50, 40), 110).save(root / "gray.png")
    Image.new("RGB", (90, 30), (110, 110, 110)).save(root / "wide.bmp")
    (root / "notes.txt").write_text("no image")
    return root


def _made(path: Path) -> Path:
    path.mkdir(parents=True)
    return path


def coco(out: Path) -> dict[str, Any]:
    return json.loads((out / "coco.json").read_text())


def test_every_form_says_the_same(model: Path, images: Path, tmp_path: Path) -> None:
    out = tmp_path / "labeled" / "new"
    folder.label(model, images, out, ALL)
    made = coco(out)
    sizes = {i["file_name"]: (i["width"], i["height"]) for i in made["images"]}
    assert sizes == {
        "UPPER.PNG": (80, 64), "alpha.png": (80, 64), "gray.png": (50, 40), "more of it/large one.JPG": (160, 128),
        "turned.jpeg": (80, 64), "wide.bmp": (90, 30),
    }  # fmt: skip
    assert [c["name"] for c in made["categories"]] == ["square", "bar"]
    names = {i["id"]: i["file_name"] for i in made["images"]}
    by_name: dict[str, list[dict[str, Any]]] = {}
    for box in made["annotations"]:
        by_name.setdefault(names[box["image_id"]], []).append(box)
    assert set(by_name) == {"UPPER.PNG", "alpha.png", "more of it/large one.JPG", "turned.jpeg"}
    found = trained.detector("retinanet").predict(images / "UPPER.PNG")
    assert [b["score"] for b in by_name["UPPER.PNG"]] == pytest.approx(found.scores.tolist())
    x1, y1, x2, y2 = found.boxes[0].tolist()
    assert by_name["UPPER.PNG"][0]["bbox"] == pytest.approx([x1, y1, x2 - x1, y2 - y1], abs=1e-4)
    # the same scene upright, turned by EXIF and with an alpha channel
    for one, other in zip(by_name["alpha.png"][:2], by_name["turned.jpeg"][:2], strict=True):
        assert one["category_id"] == other["category_id"] and one["bbox"] == pytest.approx(other["bbox"], abs=3)

    texts = {f.relative_to(out / "labels").as_posix() for f in out.glob("labels/**/*.txt")}
    assert texts == {"UPPER.txt", "alpha.txt", "more of it/large one.txt", "turned.txt"}
    words = (out / "labels/more of it/large one.txt").read_text().split("\n")[0].split()
    box = by_name["more of it/large one.JPG"][0]
    assert int(words[0]) == box["category_id"] - 1 and len(words) == 5
    assert float(words[1]) * 160 == pytest.approx(box["bbox"][0] + box["bbox"][2] / 2, abs=1e-4)
    assert "0: square" in (out / "data.yaml").read_text()

    drawn = {f.relative_to(out / "drawn").as_posix() for f in out.glob("drawn/**/*.*")}
    assert drawn == {
        "UPPER.PNG.jpg", "alpha.png.jpg", "gray.png.jpg", "more of it/large one.JPG", "turned.jpeg", "wide.bmp.jpg"
    }  # fmt: skip
    with Image.open(out / "drawn/turned.jpeg") as picture:
        assert picture.size == (80, 64)
    assert not (out / "parts").exists() and not list(out.parent.glob(".*"))


def test_the_coco_file_is_read_by_our_reader_and_by_pycocotools(model: Path, images: Path, tmp_path: Path) -> None:
    from pycocotools.coco import COCO

    folder.label(model, images, tmp_path / "out", Settings())
    boxes = len(coco(tmp_path / "out")["annotations"])
    assert len(COCO(str(tmp_path / "out/coco.json")).getAnnIds()) == boxes > 0
    shutil.copy(tmp_path / "out/coco.json", images / "coco.json")
    params = CocoParams(name="x", root=str(images), subsets={"train": "coco.json"}, images=".")
    source = read_coco(params, Findings(params.problems))
    assert len(source.boxes) == boxes and len(source.images) == 6


def test_a_killed_run_goes_on_and_ends_in_the_same_bytes(
    model: Path, images: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with mock.patch.object(folder, "PART", 2):
        folder.label(model, images, tmp_path / "whole", ALL, batch_size=2)
        calls = []
        whole = TrainedDetector.predict_views

        def killed(self: TrainedDetector, seen: Any, **rest: Any) -> Any:
            calls.append(len(seen))
            if len(calls) == 3:
                raise KeyboardInterrupt
            return whole(self, seen, **rest)

        with mock.patch.object(TrainedDetector, "predict_views", killed), pytest.raises(KeyboardInterrupt):
            folder.label(model, images, tmp_path / "out", ALL, batch_size=2)
        assert not (tmp_path / "out").exists()
        capsys.readouterr()
        folder.label(model, images, tmp_path / "out", ALL, batch_size=2)
        assert "goes on: 4 of 6 images are labeled" in capsys.readouterr().out
    for name in ("coco.json", "labels/UPPER.txt", "drawn/turned.jpeg"):
        assert (tmp_path / "out" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()
    folder.label(model, images, tmp_path / "out", ALL, batch_size=2)
    assert "holds these labels already" in capsys.readouterr().out
    folder.label(model, images, tmp_path / "out", Settings(score_threshold=0.9))  # its own folder is replaced
    assert not (tmp_path / "out/labels").exists()


def test_batches_and_workers_change_nothing(model: Path, images: Path, tmp_path: Path) -> None:
    folder.label(model, images, tmp_path / "one", Settings(), batch_size=1)
    folder.label(model, images, tmp_path / "two", Settings(), batch_size=4, workers=2)
    one, two = coco(tmp_path / "one"), coco(tmp_path / "two")
    assert one["images"] == two["images"] and len(one["annotations"]) == len(two["annotations"])
    for a, b in zip(one["annotations"], two["annotations"], strict=True):
        assert a["bbox"] == pytest.approx(b["bbox"], abs=0.05) and a["category_id"] == b["category_id"]


def test_unreadable_images_end_it_or_are_left_out(model: Path, images: Path, tmp_path: Path) -> None:
    (images / "broken.jpg").write_bytes(b"\xff\xd8\xff no picture")
    with pytest.raises(BadInput, match=r"broken.jpg: unreadable or truncated image .*leave it out: --skip-unreadable"):
        folder.label(model, images, tmp_path / "out", Settings())
    folder.label(model, images, tmp_path / "out", Settings(skip_unreadable=True))
    assert "broken.jpg" in (tmp_path / "out/unreadable.txt").read_text()
    assert len(coco(tmp_path / "out")["images"]) == 6


def test_what_cannot_be_used_is_one_sentence(model: Path, images: Path, tmp_path: Path) -> None:
    empty = _made(tmp_path / "empty")
    other = _made(tmp_path / "other")
    (other / "keep.txt").write_text("mine")
    for root, out, settings, text in [
        (tmp_path / "none", "out", ALL, r"--images .*none: there is no such folder; name the folder of the images"),
        (empty, "out", ALL, r"empty: holds no image \(\.jpg"),
        (images, "images/out", ALL, "lies in the folder of the images"),
        (images, "other", ALL, "other: is there and was not written by this command"),
        (images, "out", Settings(score_threshold=1.5), "--score-threshold 1.5: is a probability"),
    ]:
        with pytest.raises(BadInput, match=text):
            folder.label(model, root, tmp_path / out, settings)
    assert (other / "keep.txt").is_file()
    shutil.copy(images / "alpha.png", images / "alpha.jpg")
    with pytest.raises(BadInput, match=r"--write yolo: alpha.jpg and alpha.png would have the same file"):
        folder.label(model, images, tmp_path / "out", ALL)
    (images / "alpha.jpg").rename(images / "alpha.png.jpg")
    with pytest.raises(BadInput, match=r"--write drawn: alpha.png and alpha.png.jpg would have the same file"):
        folder.label(model, images, tmp_path / "out", ALL)


def test_the_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.undo()
    pictures = _made(tmp_path / "pictures")
    toy.tables(pictures, labeled=2, unlabeled=0)
    weights = tmp_path / "weights.safetensors"
    network = toy.detector("fcos_lite")
    checkpoint.save_weights(weights, network, toy.detector_params("fcos_lite"), step=1, role="teacher")
    words = ["--images", str(pictures), "--out", str(tmp_path / "out"), "--score-threshold", "0", "--limit", "2"]
    command.main(["--model", str(weights), *words, "--write", "yolo", "--scores"])
    assert re.search(r"2 images, 4 boxes \(square \d, bar \d\), 0 images without any", capsys.readouterr().out)
    assert not (tmp_path / "out/coco.json").exists()
    assert len((tmp_path / "out/labels/0.txt").read_text().splitlines()[0].split()) == 6
    with pytest.raises(SystemExit, match="label: .*pictures.* not a weights file of scantling"):
        command.main(["--model", str(pictures), *words])


def test_memory_does_not_grow_with_the_folder(model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """What is kept of an image after it is labeled is a line on disk."""
    root = _made(tmp_path / "many")
    Image.new("RGB", (40, 40), (110, 110, 110)).save(root / "0000.png")
    for number in range(1, 300):
        (root / f"{number:04}.png").hardlink_to(root / "0000.png")
    detector = trained.detector("retinanet")
    folder.label(model, root, tmp_path / "first", Settings())
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    folder.label(model, root, tmp_path / "out", Settings(score_threshold=0.31))
    grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * 1024
    assert grown < 300 * 40 * 40 * 3 + 2**22 and isinstance(detector.network, torch.nn.Module)
    assert len(coco(tmp_path / "out")["images"]) == 300
    assert "nothing was surer than 0.31; a lower --score-threshold" in capsys.readouterr().out
