"""The learning rate, step by step, against the published schedules."""

import json

import pytest
from pydantic import ValidationError

from scantling.schedule import Schedule, learning_rate_factor
from tests import toy

GOLDEN = toy.ROOT / "tests/golden/soft_teacher/ut_lr_two_stage.json"


def test_warm_up_and_milestones() -> None:
    schedule = Schedule(warm_up_steps=10, warm_up_factor=0.1, milestones=(20, 30), factor=0.1)
    found = [learning_rate_factor(step, schedule) for step in (0, 5, 10, 19, 20, 30)]
    assert found == pytest.approx([0.1, 0.55, 1, 1, 0.1, 0.01])


def test_published_two_stage_schedule() -> None:
    case = json.loads(GOLDEN.read_text())
    schedule = Schedule(
        warm_up_steps=case["warmup_iters"],
        warm_up_factor=case["warmup_factor"],
        milestones=case["milestones"],
        factors=case["factors"],
    )
    found = [case["base_lr"] * learning_rate_factor(step, schedule) for step in case["iters"]]
    assert found == pytest.approx(case["lr"])


def test_factors_of_stretches_do_not_multiply_each_other() -> None:
    schedule = Schedule(milestones=(10, 20), factors=(1.0, 0.5, 0.2))
    assert [learning_rate_factor(step, schedule) for step in (9, 10, 19, 20)] == [1.0, 0.5, 0.5, 0.2]


@pytest.mark.parametrize(
    ("values", "sentence"),
    [
        ({"milestones": (20, 10)}, "must rise"),
        ({"milestones": (10,), "factors": (1.0,)}, "1 values for 2 stretches"),
        ({"milestones": (10,), "factors": (1.0, -0.1)}, "not be negative"),
    ],
)
def test_what_does_not_fit_is_refused(values: dict, sentence: str) -> None:
    with pytest.raises(ValidationError, match=sentence):
        Schedule(**values)
