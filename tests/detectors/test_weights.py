import pickle

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from scantling.detectors import weights
from scantling.stage import BadInput

EXPECTED = "the weights of a small layer"


@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
def test_both_forms_are_read(tmp_path, suffix):
    path, state = tmp_path / f"w{suffix}", {"weight": torch.arange(6.0).reshape(2, 3), "bias": torch.ones(2)}
    save_file(state, path) if suffix == ".safetensors" else torch.save(state, path)
    layer = nn.Linear(3, 2)
    weights.fill(layer, weights.read(path, EXPECTED), path, EXPECTED, spare=("fc.",))
    assert torch.equal(layer.weight, state["weight"])


def test_a_missing_file_is_named_with_what_belongs_there(tmp_path):
    with pytest.raises(BadInput, match=f"none.pth: there is no such weights file; expected {EXPECTED}"):
        weights.read(tmp_path / "none.pth", EXPECTED)


class Bomb:
    def __reduce__(self):
        return (pytest.fail, ("the file was executed",))


@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
def test_files_that_are_no_weights_are_refused(tmp_path, suffix):
    for content in (b"", b"not weights at all", pickle.dumps(Bomb())):
        path = tmp_path / f"odd{suffix}"
        path.write_bytes(content)
        with pytest.raises(BadInput, match=f"odd{suffix}: not a readable weights file .*; expected {EXPECTED}"):
            weights.read(path, EXPECTED)


def test_code_inside_a_checkpoint_is_not_run(tmp_path):
    torch.save({"weight": Bomb()}, tmp_path / "bomb.pth")
    with pytest.raises(BadInput, match="bomb.pth: not a readable weights file"):
        weights.read(tmp_path / "bomb.pth", EXPECTED)


def test_nested_checkpoints_are_refused(tmp_path):
    torch.save({"model": {"weight": torch.ones(1)}}, tmp_path / "nested.pth")
    with pytest.raises(BadInput, match="something else than named tensors"):
        weights.read(tmp_path / "nested.pth", EXPECTED)


@pytest.mark.parametrize(
    ("state", "reason"),
    [
        ({"weight": torch.ones(2, 3)}, "has no tensor `bias`"),
        ({"weight": torch.ones(2, 4), "bias": torch.ones(2)}, "`weight` has shape .2, 4. instead of .2, 3."),
        ({"weight": torch.ones(2, 3), "bias": torch.ones(2), "more": torch.ones(1)}, "`more` that does not belong"),
    ],
)
def test_what_does_not_fit_is_named(state, reason):
    with pytest.raises(BadInput, match=reason):
        weights.fill(nn.Linear(3, 2), state, "w.pth", EXPECTED, spare=("fc.",))


def test_a_classifier_may_be_left_over():
    state = {"weight": torch.ones(2, 3), "bias": torch.ones(2), "fc.weight": torch.ones(1)}
    weights.fill(nn.Linear(3, 2), state, "w.pth", EXPECTED, spare=("fc.",))
