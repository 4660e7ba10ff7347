"""A loss that is no number is found, named and left behind with its batch, however rarely one looks."""

import json
from pathlib import Path

import pytest
import torch

from scantling.data.loader import TrainingStep
from scantling.finite import FiniteCheck, NotFinite
from scantling.target import Batch, Target


def batch(image_id: int) -> TrainingStep:
    target = Target.of(torch.tensor([[1.0, 2, 3, 4]]), torch.tensor([1]))
    one = Batch(torch.zeros((1, 3, 8, 9), dtype=torch.uint8), [(8, 9)], [target], torch.eye(3)[None], [image_id])
    return TrainingStep({"labeled": one}, {})


def losses(value: float) -> dict[str, torch.Tensor]:
    return {"labeled/class": torch.tensor(value), "labeled/box": torch.tensor(1.0)}


def test_looked_at_every_step(tmp_path: Path) -> None:
    check = FiniteCheck(tmp_path / "w", every=1, seed=3)
    check.see(0, losses(1.0), batch(5))
    with pytest.raises(NotFinite, match=r"loss labeled/class is not finite at step 1; .*not_finite_step_1.json"):
        check.see(1, losses(float("nan")), batch(6))
    record = json.loads((tmp_path / "w/not_finite_step_1.json").read_text())
    assert record["seed"] == 3 and record["losses"] == {"labeled/class": "nan", "labeled/box": "1.0"}
    assert record["batch"]["labeled/labeled"] == [
        {"image_id": 6, "size": [8, 9], "boxes": [[1.0, 2.0, 3.0, 4.0]], "labels": [1]}
    ]


def test_looked_at_rarely_the_first_bad_step_is_the_one_named(tmp_path: Path) -> None:
    check = FiniteCheck(tmp_path, every=4, seed=3)
    for step, value in enumerate((1.0, float("inf"), float("nan"))):
        check.see(step, losses(value), batch(step))  # no look yet
    with pytest.raises(NotFinite, match="at step 1"):
        check.look()  # as before the state is written
    assert json.loads((tmp_path / "not_finite_step_1.json").read_text())["batch"]["labeled/labeled"][0]["image_id"] == 1
    check.look()  # nothing noted, nothing found


def test_terms_that_are_fine_alone_may_not_be_together(tmp_path: Path) -> None:
    huge = {"labeled/class": torch.tensor(3e38), "labeled/box": torch.tensor(3e38)}
    with pytest.raises(NotFinite, match="sum of the losses"):
        FiniteCheck(tmp_path, every=1, seed=3).see(0, huge, batch(0))
