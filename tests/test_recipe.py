"""Another batch, the same training: the scaling rule, and what cannot be dealt to processes."""

import pytest
from pydantic import ValidationError

from scantling.recipe import TrainingParams, check_parts
from scantling.stage import BadInput
from tests import toy

# the published settings of Soft Teacher for part of COCO (section 3.1), and of Unbiased Teacher's average
PUBLISHED = {
    "labeled_per_step": 8,
    "unlabeled_per_step": 32,
    "reference_batch": 40,
    "optimizer": {"name": "sgd", "learning_rate": 0.01},
    "schedule": {"warm_up_steps": 500, "milestones": [120000, 160000]},
    "ema": {"decay": 0.999, "warm_up": 100, "changes": [[120001, 0.9996]]},
}


def test_at_the_reference_batch_nothing_changes() -> None:
    params = toy.training(180000, **PUBLISHED)
    assert params.scaled() is params and "for" not in params.sentence()
    free = toy.training(10)
    assert free.scaled() is free


def test_half_the_batch_half_the_rate_twice_the_steps_and_an_average_over_as_many_images() -> None:
    given = toy.training(180000, **PUBLISHED | {"labeled_per_step": 4, "unlabeled_per_step": 16})
    params = given.scaled()
    assert params.steps == 360000 and params.optimizer.learning_rate == pytest.approx(0.005)
    assert params.schedule.warm_up_steps == 1000 and params.schedule.milestones == (240000, 320000)
    assert params.ema.decay**2 == pytest.approx(0.999) and params.ema.warm_up == 200
    assert params.ema.changes[0][0] == 240002 and params.ema.changes[0][1] ** 2 == pytest.approx(0.9996)
    assert params.scaled() is params, "applied once"
    assert (params.labeled_per_step, params.unlabeled_per_step) == (4, 16)
    assert "learning rate 0.005" in given.sentence() and "(for 40 images: 180000 steps, 0.01" in given.sentence()


@pytest.mark.parametrize("images", [4, 32, 64, 256])
def test_the_average_begins_as_a_copy_of_the_student_with_every_batch(images: int) -> None:
    ema = {"decay": 0.9996, "start": "copy", "changes": [[1, 0.9996]]}
    given = toy.training(100, labeled_per_step=images, unlabeled_per_step=images, reference_batch=64, ema=ema)
    scaled = given.scaled().ema
    assert scaled.at(0) == 0 and scaled.at(1) == scaled.at(50) == pytest.approx(0.9996 ** (images / 32))


def test_the_losses_of_unlabeled_images_come_and_go_along_a_line() -> None:
    params = toy.training(100, unlabeled_factors=[[0, 0.0], [10, 1.0], [90, 1.0], [100, 0.0]])
    assert [params.unlabeled_factor(s) for s in (0, 5, 10, 50, 95, 200)] == [0, 0.5, 1, 1, 0.5, 0]
    assert toy.training(100).unlabeled_factor(7) == 1
    half = params.model_copy(update={"reference_batch": 2 * params.batch}).scaled()
    assert half.unlabeled_factor(10) == 0.5, "the line is as long in images"
    with pytest.raises(ValueError, match="rising steps"):
        toy.training(100, unlabeled_factors=[[5, 1.0], [5, 0.0]])


def test_the_summary_is_what_was_done_whether_asked_before_or_after() -> None:
    given = toy.training(100, **PUBLISHED | {"labeled_per_step": 16, "unlabeled_per_step": 64})
    assert given.summary() == given.scaled().summary()
    assert given.summary()["steps"] == 50 and given.summary()["batch"] == 80


def test_each_process_needs_an_image_of_each_kind_in_each_part() -> None:
    params = toy.training(1, labeled_per_step=4, unlabeled_per_step=8, accumulate=2)
    check_parts(params, 2, unlabeled=True)
    with pytest.raises(BadInput, match=r"labeled_per_step = 4, but a step is dealt to 3 processes in 2 parts.*to 6"):
        check_parts(params, 3, unlabeled=True)
    few = params.model_copy(update={"unlabeled_per_step": 2})
    with pytest.raises(BadInput, match="unlabeled_per_step = 2"):
        check_parts(few, 2, unlabeled=True)
    check_parts(few, 2, unlabeled=False)
    drawn = params.model_copy(update={"sampling": "by_probability", "sampling_groups": 3})
    with pytest.raises(BadInput, match="sampling_groups = 3"):
        check_parts(drawn, 2, unlabeled=True)


def test_a_group_needs_two_images() -> None:
    with pytest.raises(ValidationError, match="each group needs a labeled and an unlabeled image"):
        toy.training(1, sampling="by_probability", sampling_groups=3)
    assert TrainingParams.model_validate(toy.training(1, sampling_groups=3).model_dump()).sampling == "fixed"
