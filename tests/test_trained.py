"""Three lines of Python: a weights file, a picture, boxes in its pixels."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors import safe_open
from safetensors.torch import load_file, save_file

import scantling
from scantling import checkpoint, load_detector, predict
from scantling.data.images import decode
from scantling.stage import BadInput
from tests import toy, trained


def test_files_images_arrays_and_tensors_give_the_same(tmp_path: Path) -> None:
    detector, (picture, truth) = trained.detector("retinanet"), trained.scenes(tmp_path)[0]
    found = detector.predict(str(picture))
    pixels = decode(picture)
    for other in (picture, Image.open(picture), pixels, pixels.permute(1, 2, 0).numpy()):
        again = detector.predict(other)
        assert torch.equal(again.boxes, found.boxes) and again.names == found.names
    assert found.boxes.dtype == torch.float32 and found.labels.dtype == torch.int64
    assert found.names == [detector.classes[label] for label in found.labels] and found.scores.diff().le(0).all()
    best = {name: found.boxes[found.names.index(name)] for name in ("square", "bar")}
    assert (best["square"] - truth.boxes[0]).abs().max() < 6 and (best["bar"] - truth.boxes[1]).abs().max() < 6


def test_nothing_found_is_empty_and_the_arguments_count(tmp_path: Path) -> None:
    detector, (picture, _) = trained.detector("retinanet"), trained.scenes(tmp_path)[0]
    nothing = detector.predict(np.full((40, 50, 3), 110, np.uint8))
    assert nothing.boxes.shape == (0, 4) and nothing.names == [] and len(nothing) == 0
    assert len(detector.predict(picture, score_threshold=0.01, limit=1)) == 1
    assert detector.predict_all([]) == []
    assert [len(f) for f in detector.predict_all([picture, np.full((40, 50, 3), 110, np.uint8)])][1] == 0


def test_boxes_are_in_the_pixels_of_the_picture_turned_upright(tmp_path: Path) -> None:
    detector, (picture, _) = trained.detector("retinanet"), trained.scenes(tmp_path)[0]
    upright = Image.open(picture)
    exif = Image.Exif()
    exif[0x0112] = 6  # stored lying on its side
    upright.transpose(Image.Transpose.ROTATE_90).save(tmp_path / "turned.PNG", exif=exif)
    found, turned = detector.predict(picture), detector.predict(tmp_path / "turned.PNG")
    assert torch.allclose(found.boxes, turned.boxes, atol=1e-3) and len(found) > 0
    assert torch.equal(detector.predict(Image.open(tmp_path / "turned.PNG")).boxes, turned.boxes)


def test_a_weights_file_is_all_that_is_needed(tmp_path: Path) -> None:
    file, picture = tmp_path / "teacher.safetensors", trained.scenes(tmp_path)[0][0]
    network = toy.detector("fcos_lite", classes=("ace of spades", "Dame"))
    checkpoint.save_weights(file, network, toy.detector_params("fcos_lite"), step=3, role="teacher")
    detector = load_detector(file, "cpu")
    assert detector.classes == ("ace of spades", "Dame") and detector.params.architecture == "fcos"
    found = detector.predict(picture, score_threshold=0.0, limit=5)
    assert len(found) == 5 and set(found.names) <= set(detector.classes)
    assert (found.boxes[:, 2] <= 80).all() and (found.boxes[:, 3] <= 64).all() and (found.boxes >= 0).all()


@pytest.mark.parametrize("changes", [{}, {"antialias": False}, {"antialias": False, "exact_px": (40, 70)}], ids=str)
def test_a_picture_is_seen_as_in_test_and_labeling(tmp_path: Path, changes: dict) -> None:
    images, _ = toy.tables(tmp_path, labeled=2, unlabeled=0)
    params = toy.detector_params("fcos_lite")
    small = params.input.model_copy(update={"short_px": 32, **changes})
    file = tmp_path / "teacher.safetensors"
    checkpoint.save_weights(
        file, toy.detector("fcos_lite"), params.model_copy(update={"input": small}), step=3, role="teacher"
    )
    detector = load_detector(file, "cpu")
    (batch,) = predict.batches(images, tmp_path, small, batch_size=2, workers=0)
    for i, name in enumerate(images["file_name"]):
        view = detector.view(tmp_path / name)
        assert torch.equal(view.pixels, batch.images[i]) and torch.equal(view.matrix, batch.matrices[i])


def test_weights_from_before_a_parameter_have_its_default(tmp_path: Path) -> None:
    file = tmp_path / "teacher.safetensors"
    checkpoint.save_weights(file, toy.detector("fcos_lite"), toy.detector_params("fcos_lite"), step=3, role="teacher")
    with safe_open(file, framework="pt") as content:
        header = content.metadata()
    params = json.loads(header["detector"])
    assert params["input"].pop("antialias") is True
    save_file(load_file(file), file, metadata=header | {"detector": json.dumps(params)})
    assert load_detector(file, "cpu").params.input.antialias


def test_what_cannot_be_used_is_said(tmp_path: Path) -> None:
    (tmp_path / "other.safetensors").write_bytes(b"x" * 100)
    with pytest.raises(BadInput, match=r"other.safetensors: not a weights file of scantling"):
        load_detector(tmp_path / "other.safetensors", "cpu")
    with pytest.raises(BadInput, match="there is no such weights file"):
        load_detector(tmp_path / "none.safetensors", "cpu")
    detector = trained.detector("retinanet")
    with pytest.raises(BadInput, match="none.jpg: cannot be read"):
        detector.predict(tmp_path / "none.jpg")
    for wrong in (np.zeros((40, 50), np.uint8), np.zeros((40, 50, 3)), torch.zeros(1, 3, 4, 4, dtype=torch.uint8)):
        with pytest.raises(ValueError, match="a picture is a file name"):
            detector.predict(wrong)


def test_the_package_alone_loads_no_torch() -> None:
    text = "import scantling, sys; print('torch' in sys.modules, scantling.__version__)"
    done = subprocess.run([sys.executable, "-c", text], cwd=toy.ROOT, capture_output=True, text=True)
    assert done.stdout.split() == ["False", scantling.__version__]
    with pytest.raises(AttributeError, match="no attribute 'load_detectors'"):
        _ = scantling.load_detectors  # type: ignore[attr-defined]
