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


def test_what_a_method_trained_is_kept_beside_the_detector(tmp_path: Path) -> None:
    params, model = toy.detector_params("faster_rcnn_lite"), toy.detector("faster_rcnn_lite")
    networks = torch.nn.ModuleDict({"polish": torch.nn.Linear(2, 3)})
    path = tmp_path / "s.safetensors"
    training = {"steps": 9, "batch": 4}
    checkpoint.save_weights(path, model, params, step=7, role="student", training=training, networks=networks)
    loaded, header = checkpoint.load_weights(path)
    assert header["training"] == training and set(loaded.state_dict()) == set(model.state_dict())
    found = checkpoint.load_networks(path)
    assert found.keys() == networks.state_dict().keys()
    assert torch.equal(found["polish.weight"], networks["polish"].weight)
    checkpoint.save_weights(path, model, params, step=7, role="student")
    assert checkpoint.load_networks(path) == {}


def state(step: int) -> dict[str, object]:
    return {"step": step, "rows": [{"loss": 1.5}], "w": torch.full((2,), float(step))}


def latest(folder: Path) -> int | None:
    found = checkpoint.load_state(folder, "cpu")
    return None if found is None else found["step"]


def test_rolling_state_is_read_as_data_only_and_the_last_two_stay(tmp_path: Path) -> None:
    folder = tmp_path / "w"
    assert latest(folder) is None
    for step in (3, 20, 100):
        checkpoint.save_state(folder, step, state(step))
    found = checkpoint.load_state(folder, "cpu")
    assert found is not None and found["rows"] == [{"loss": 1.5}] and torch.equal(found["w"], torch.full((2,), 100.0))
    assert [int(p.name.split("_")[1]) for p in sorted(folder.iterdir())] == [20, 100]


@pytest.mark.parametrize("damage", ["cut", "changed", "empty"])
def test_a_damaged_state_is_found_out_and_the_one_before_is_used(
    tmp_path: Path, damage: str, capsys: pytest.CaptureFixture[str]
) -> None:
    for step in (3, 20):
        checkpoint.save_state(tmp_path, step, state(step))
    last = sorted(tmp_path.iterdir())[-1]
    content = bytearray(last.read_bytes())
    content[len(content) // 2] ^= 1
    last.write_bytes({"cut": bytes(content[:-7]), "changed": bytes(content), "empty": b""}[damage])
    assert latest(tmp_path) == 3
    assert "damaged" in capsys.readouterr().out
    sorted(tmp_path.iterdir())[0].write_bytes(b"nothing")
    assert latest(tmp_path) is None


def test_a_state_half_written_when_killed_is_no_state(tmp_path: Path) -> None:
    checkpoint.save_state(tmp_path, 3, state(3))
    (tmp_path / "state.part").write_bytes(b"half")
    assert latest(tmp_path) == 3
    checkpoint.save_state(tmp_path, 4, state(4))
    assert latest(tmp_path) == 4 and not (tmp_path / "state.part").exists()
