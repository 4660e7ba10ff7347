"""torch.compile: the same numbers, and a sentence where its tools are missing."""

import copy
import shutil
from pathlib import Path

import pytest
import torch
from torch import nn

from scantling import compiling, train
from scantling.methods import supervised
from scantling.stage import BadInput
from tests import tiny, toy


def test_without_a_compiler_one_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    monkeypatch.delenv("CXX", raising=False)
    with pytest.raises(BadInput, match=r"compile = true needs a C\+\+ compiler .* set compile: false"):
        compiling.compile_parts(tiny.detector("retinanet"), "cpu")
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(BadInput, match="needs the package triton"):
        compiling.compile_parts(tiny.detector("retinanet"), "cuda:0")


@pytest.mark.skipif(not shutil.which("g++"), reason="needs a C++ compiler, and g++ is not here")
def test_a_compiled_training_learns_the_same(tmp_path: Path) -> None:
    def trained(**changes: object) -> nn.Module:
        student = tiny.detector("retinanet")
        return train.run(
            student=student, average=copy.deepcopy(student), labeler=None,
            method=supervised.Method(supervised.Params(), tiny.CLASSES, None), pool=toy.pool(tmp_path), views=toy.VIEWS,
            params=toy.training(2, optimizer={"name": "sgd", "learning_rate": 0.02}, **changes), seed=1, device="cpu",
            work=tmp_path / "w", what="toy",
        ).student  # fmt: skip

    plain, quick = trained(), trained(compile=True)
    assert list(quick.state_dict()) == list(plain.state_dict())
    for (name, one), other in zip(plain.named_parameters(), quick.parameters(), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-3, atol=1e-5, msg=name)
