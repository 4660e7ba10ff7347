"""Weights that come back as they were, and weights that are refused."""

from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from scantling import checkpoint
from scantling.stage import BadInput
from tests import toy


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    path = tmp_path / "teacher.safetensors"
    params = toy.detector_params("faster_rcnn_lite")
    checkpoint.save_weights(path, toy.detector("faster_rcnn_lite"), params, step=7, role="teacher")
    return path


def test_round_trip(saved: Path) -> None:
    loaded, header = checkpoint.load_weights(saved, classes=("square", "bar"))
    assert header["step"] == 7 and header["role"] == "teacher" and header["detector"].input.short_px == 64
    for name, tensor in toy.detector("faster_rcnn_lite").state_dict().items():
        assert torch.equal(loaded.state_dict()[name], tensor), name
    assert not loaded.training


def test_equal_weights_are_equal_files(saved: Path, tmp_path: Path) -> None:
    params, model = toy.detector_params("faster_rcnn_lite"), toy.detector("faster_rcnn_lite")
    for number in range(6):
        again = tmp_path / f"{number}.safetensors"
        checkpoint.save_weights(again, model, params, step=7, role="teacher")
        assert again.read_bytes() == saved.read_bytes()


def test_other_classes_are_refused(saved: Path) -> None:
    with pytest.raises(BadInput, match=r"teacher.safetensors: trained on classes \['square', 'bar'\].*\['dot'\]"):
        checkpoint.load_weights(saved, classes=("dot",))


def test_weights_of_another_detector_are_refused(saved: Path) -> None:
    with pytest.raises(BadInput, match="weights of another detector"):
        checkpoint.load_into(toy.detector("retinanet_lite"), saved)


def test_a_file_that_is_not_ours_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.safetensors").write_bytes(b"no weights")
    save_file({"x": torch.zeros(1)}, tmp_path / "b.safetensors")
    for name in ("a", "b"):
        with pytest.raises(BadInput, match="not a weights file of scantling"):
            checkpoint.read_header(tmp_path / f"{name}.safetensors")
    with pytest.raises(BadInput, match="there is no such weights file"):
        checkpoint.read_header(tmp_path / "c.safetensors")


def test_rolling_state_is_read_as_data_only(tmp_path: Path) -> None:
    path = tmp_path / "w" / "last.pt"
    assert checkpoint.load_state(path, "cpu") is None
    checkpoint.save_state(path, {"step": 3, "rows": [{"loss": 1.5}], "w": torch.ones(2)})
    state = checkpoint.load_state(path, "cpu")
    assert state is not None and state["step"] == 3 and torch.equal(state["w"], torch.ones(2))
    assert [p.name for p in path.parent.iterdir()] == ["last.pt"]
