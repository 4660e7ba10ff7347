"""Ablation files leave out the part in their name, or add it, and nothing else."""

import re
from pathlib import Path

import pytest

from scantling import methods
from scantling.data.loader import TrainingStep
from scantling.methods import MethodParams
from tests import tiny, toy
from tests.methods.recording import Recorder, view

FOLDER = toy.ROOT / "params/methods"
LEFT_OUT = {
    "co_mining_no_strong_view": {"second_view": "labeled"},
    "co_student_no_revision": {"revise": False},
    "co_student_no_strong_view": {"second_view": "labeled"},
    "polishing_teacher_no_box_polishing": {"polish_boxes": False},
    "polishing_teacher_no_class_polishing": {"polish_classes": False},
    "polishing_teacher_no_polishing": {"polish_boxes": False, "polish_classes": False},
    "sparsedet_no_masking": {"mine": False},
    "sparsedet_no_merging": {"add_score": 1.0},
    "sparsedet_with_distillation": {"agreement_weight": 1.0},
}


@pytest.mark.parametrize("name", LEFT_OUT)
def test_an_ablation_differs_in_its_part_alone(name: str) -> None:
    whole = MethodParams.load(FOLDER / f"{re.split('_(?:no|with)_', name)[0]}.yaml").model_dump()
    part = MethodParams.load(FOLDER / f"{name}.yaml").model_dump()
    assert {k: v for k, v in part.items() if v != whole[k]} == LEFT_OUT[name]


def file_of(name: str) -> Path:
    return FOLDER / f"{name}.yaml"


@pytest.mark.parametrize("name", ["co_mining_no_strong_view", "co_student_no_strong_view"])
def test_without_the_strong_view_another_plain_one_takes_its_place(name: str) -> None:
    method = methods.create(MethodParams.load(file_of(name)), Recorder.classes, None)
    assert "labeled" in method.labeled_views and "strong" not in method.labeled_views
    student = Recorder()
    views = {n: view([i], 1) for i, n in enumerate(method.labeled_views, 1)}
    method.step(student, Recorder(), TrainingStep(views, {}))
    trained = [call[1][0] for call in student.calls if call[0] == "losses"]
    assert trained == [i for i, n in enumerate(method.labeled_views, 1) if n != "raw"]


def test_without_polishing_there_is_no_network_and_the_teachers_boxes_teach() -> None:
    method = methods.create(MethodParams.load(file_of("polishing_teacher_no_polishing")), tiny.CLASSES, None)
    student, teacher = tiny.detector("faster_rcnn").train(), tiny.detector("faster_rcnn", seed=1).eval()
    assert method.modules(student) == {}
    labeled, unlabeled = {"labeled": view([1], 1)}, {"weak": view([2]), "strong": view([2])}
    losses, logged = method.step(student, teacher, TrainingStep(labeled, unlabeled))
    assert not [name for name in losses if "polish" in name] and "iou_after" not in logged
