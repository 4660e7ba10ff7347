"""The ONNX file gives what the model gives, on pictures of several sizes, with and without detections."""

from __future__ import annotations

import copy
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from scantling import checkpoint
from scantling.augment import geometry
from scantling.data.images import decode
from scantling.export import onnx as export
from scantling.export import onnx_graph
from scantling.stage import BadInput
from scantling.trained import TrainedDetector
from tests import tiny, toy, trained

onnx = pytest.importorskip("onnx", reason="the extra scantling[onnx] is not installed")
pytest.importorskip("onnxruntime", reason="the extra scantling[onnx] is not installed")
RULE = {"score_threshold": 0.4, "nms_iou": None, "limit": 20}


@pytest.fixture(scope="module", params=tiny.ARCHITECTURES)
def exported(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[TrainedDetector, Path]:
    detector = trained.detector(request.param)
    file = tmp_path_factory.mktemp("onnx") / "toy.onnx"
    export.write(detector, file, **RULE)
    return detector, file


def test_pictures_of_the_models_own_size_give_equal_numbers(
    exported: tuple[TrainedDetector, Path], tmp_path: Path
) -> None:
    detector, file = exported
    counts = []
    for picture, _ in trained.scenes(tmp_path)[:3]:
        pixels = decode(picture)
        found = detector.predict(pixels, **RULE)
        boxes, labels, scores = export.run(file, pixels.permute(1, 2, 0).numpy())
        np.testing.assert_allclose(boxes, found.boxes, atol=1e-3)
        np.testing.assert_allclose(scores, found.scores, atol=1e-5)
        assert labels.tolist() == found.labels.tolist() and boxes.dtype == np.float32 and labels.dtype == np.int64
        counts.append(len(found))
    assert min(counts) > 0


@pytest.mark.parametrize(
    ("factor", "size"), [(2.0, (160, 128)), (1.51, (121, 97)), (1.5, (122, 140)), (2.0, (200, 130))], ids=str
)
def test_pictures_of_other_sizes_agree(
    exported: tuple[TrainedDetector, Path], tmp_path: Path, factor: float, size: tuple[int, int]
) -> None:
    detector, file = exported
    scene = Image.open(trained.scenes(tmp_path)[0][0])
    larger = scene.resize((round(scene.width * factor), round(scene.height * factor)))
    picture = Image.new("RGB", size, (110, 110, 110))
    picture.paste(larger)
    picture.save(tmp_path / "other.png")
    count, far, off = export.compare(detector, file, tmp_path / "other.png", RULE)
    assert (count > 0 or factor < 2) and far < export.PIXELS and off < export.SCORE


def test_nothing_is_found_in_an_empty_picture(exported: tuple[TrainedDetector, Path]) -> None:
    detector, file = exported
    gray = np.full((70, 90, 3), 110, np.uint8)
    assert len(detector.predict(gray, **RULE)) == 0
    boxes, labels, scores = export.run(file, gray)
    assert boxes.shape == (0, 4) and labels.shape == scores.shape == (0,)


def test_the_file_says_what_it_is(exported: tuple[TrainedDetector, Path]) -> None:
    detector, file = exported
    model = onnx.load(file)
    about = {p.key: json.loads(p.value) for p in model.metadata_props}
    assert about["classes"] == ["square", "bar"] and about["canvas"] == [96, 96] and about["score_threshold"] == 0.4
    assert about["nms_iou"] == detector.params.detect.nms_iou and about["limit"] == 20
    assert [i.name for i in model.graph.input] == ["image"]
    assert [o.name for o in model.graph.output] == ["boxes", "labels", "scores"]


def test_a_smaller_canvas_gives_the_same_where_the_picture_fits(tmp_path: Path) -> None:
    detector, picture = trained.detector("retinanet"), trained.scenes(tmp_path)[0][0]
    export.write(detector, tmp_path / "small.onnx", canvas=(64, 96), **RULE)
    count, far, off = export.compare(detector, tmp_path / "small.onnx", picture, RULE)
    assert count > 0 and far < 1e-3 and off < 1e-5
    with pytest.raises(BadInput, match=r"--canvas 60x96: both sides must be multiples of 32"):
        export.write(detector, tmp_path / "other.onnx", canvas=(60, 96))


@pytest.mark.parametrize("changes", [{"antialias": False}, {"antialias": False, "exact_px": (64, 80)}], ids=str)
def test_pictures_are_resized_as_the_detector_says(tmp_path: Path, changes: dict) -> None:
    learned, scene = trained.detector("retinanet"), Image.open(trained.scenes(tmp_path)[0][0])
    params = learned.params.model_copy(update={"input": learned.params.input.model_copy(update=changes)})
    detector = TrainedDetector(copy.deepcopy(learned.network), params, "cpu")
    detector.network.params = params
    export.write(detector, tmp_path / "plain.onnx", **RULE)
    scene.resize((160, 150)).save(tmp_path / "other.png")
    count, far, off = export.compare(detector, tmp_path / "plain.onnx", tmp_path / "other.png", RULE)
    assert count > 0 and far < export.PIXELS and off < export.SCORE


def test_a_file_that_disagrees_is_refused(tmp_path: Path) -> None:
    picture = trained.scenes(tmp_path)[0][0]
    export.write(trained.detector("fcos"), tmp_path / "fcos.onnx", score_threshold=0.99)
    with pytest.raises(BadInput, match=r"fcos.onnx: does not give what the model gives for .*: (square|bar) "):
        export.compare(trained.detector("fcos"), tmp_path / "fcos.onnx", picture, RULE)


@pytest.mark.parametrize("antialias", [True, False])
@pytest.mark.parametrize(("source", "target"), [(80, 64), (64, 80), (64, 64), (300, 17), (7, 40)])
def test_resizing_is_that_of_the_views(source: int, target: int, antialias: bool) -> None:
    image = torch.randint(0, 256, (source, source + 3, 3), dtype=torch.uint8)
    sizes = torch.tensor([source, source + 3]), torch.tensor([target, target])
    ours = onnx_graph.resize(image, *sizes, (96, 128), antialias)
    theirs = geometry.resize(image.permute(2, 0, 1).contiguous(), (target, target), antialias)
    assert ours.shape == (3, 96, 128) and (ours[:, target:] == 0).all() and (ours[:, :, target:] == 0).all()
    assert (ours[:, :target, :target] - theirs.float()).abs().max() <= 1


def test_the_command(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    weights, picture = tmp_path / "teacher.safetensors", trained.scenes(tmp_path)[0][0]
    params = toy.detector_params("retinanet_lite")
    checkpoint.save_weights(weights, toy.detector("retinanet_lite"), params, step=1, role="teacher")
    words = ["--model", str(weights), "--out", str(tmp_path / "a" / "b.onnx"), "--check", str(picture)]
    export.main(words)
    said = capsys.readouterr().out
    assert "classes square, bar" in said and "boxes agree, within" in said
    assert [f.name for f in (tmp_path / "a").iterdir()] == ["b.onnx"]
    for wrong, text in [
        (["--score-threshold", "1"], "--score-threshold is 0 to 0.99"),
        (["--check", str(weights)], "unreadable or truncated image"),
        (["--model", str(picture)], "not a weights file of scantling"),
    ]:
        with pytest.raises(SystemExit, match=text):
            export.main([*words, *wrong])
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(SystemExit, match=r"onnx is not installed; pip install 'scantling\[onnx\]'"):
        export.main(words)
