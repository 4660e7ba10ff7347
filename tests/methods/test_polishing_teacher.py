"""Polishing Teacher's two sets, and networks that learn without touching the detector."""

import copy

import pytest
import torch
from torch import nn

from scantling import methods
from scantling.candidates import Candidates
from scantling.data.loader import TrainingStep
from scantling.methods import MethodParams
from tests import tiny, toy
from tests.methods.recording import view

FILE = toy.ROOT / "params/methods/polishing_teacher.yaml"
CLASSES = ("a", "b")


def method(student: nn.Module | None = None, **changes: object):
    one = methods.create(MethodParams.load(FILE).model_copy(update={"width": 16, **changes}), CLASSES, None)
    if student is not None:
        torch.manual_seed(0)
        one.networks = nn.ModuleDict(one.modules(student))
        one.averages = copy.deepcopy(one.networks)
    return one


def candidates() -> Candidates:
    boxes = torch.tensor([[0.0, 0, 10, 10], [20, 0, 30, 10], [40, 0, 50, 10]])
    return Candidates(boxes, torch.tensor([0, 0, 1]), torch.tensor([0.95, 0.6, 0.6]), torch.zeros(3))


def test_the_class_set_has_the_teachers_boxes_and_the_box_set_the_polished_ones() -> None:
    one, polished = method(trust_polished=0.9, trust_teacher=0.9), candidates().boxes + 1
    probabilities = torch.tensor([[0.0, 0.0, 1.0], [0.05, 0.95, 0.0], [0.3, 0.3, 0.4]])
    for_class, for_box = one._sets(candidates(), polished, probabilities)
    assert torch.equal(for_class.boxes, candidates().boxes[:2]) and for_class.labels.tolist() == [0, 1]
    assert torch.equal(for_box.boxes, polished) and for_box.labels.tolist() == [0, 0, 1]
    for_class, _ = method(trust_teacher=0.9)._sets(candidates(), polished, None)  # polish_classes: false
    assert for_class.scores.tolist() == pytest.approx([0.95])
    for_class, _ = method(class_boxes="polished", trust_polished=0.9, trust_teacher=0.9)._sets(
        candidates(), polished, probabilities
    )
    assert torch.equal(for_class.boxes, polished[:2])


@pytest.mark.parametrize("architecture", tiny.ARCHITECTURES)
def test_the_networks_learn_and_the_detector_does_not_feel_it(architecture: str) -> None:
    student, teacher = tiny.detector(architecture, CLASSES).train(), tiny.detector(architecture, CLASSES).eval()
    one = method(student)
    optimizer = torch.optim.Adam(one.networks.parameters(), 3e-3)
    first = last = 0.0
    for step in range(25):
        losses, logged = one.polishing_losses(teacher, TrainingStep({"labeled": view([1, 2], boxes=2)}, {}))
        total = torch.stack(list(losses.values())).sum()
        optimizer.zero_grad()
        total.backward()
        optimizer.step()
        first, last = (total.item(), total.item()) if step == 0 else (first, total.item())
    assert last < first and 0 < logged["iou_before"] < 1
    assert all(p.grad is None for p in teacher.parameters())


def test_a_step_without_labeled_or_without_found_boxes() -> None:
    student, teacher = tiny.detector("faster_rcnn", CLASSES).train(), tiny.detector("faster_rcnn", CLASSES).eval()
    one = method(student, initial_score=1.0)
    unlabeled = {"weak": view([3]), "strong": view([3])}
    losses, logged = one.step(student, teacher, TrainingStep({}, unlabeled))
    assert logged["pseudo_boxes"] == logged["pseudo_boxes_for_box"] == 0
    losses, _ = one.step(student, teacher, TrainingStep({"labeled": view([1])}, {}))  # a labeled image without boxes
    assert all(torch.isfinite(v) for v in losses.values()) and losses["labeled/polish_box"].item() == 0


@pytest.mark.parametrize("architecture", tiny.ARCHITECTURES)
def test_the_background_is_weighed_on_every_detector(architecture: str, monkeypatch: pytest.MonkeyPatch) -> None:
    student, teacher = tiny.detector(architecture, CLASSES).train(), tiny.detector(architecture, CLASSES).eval()
    weights = []
    for mode in ("live", "off"):
        one = method(student, background=mode)
        monkeypatch.setattr(
            one, "view_losses", lambda *_, **options: weights.append(options["background_weight"]) or {}
        )
        one.step(student, teacher, TrainingStep({}, {"weak": view([3]), "strong": view([3])}))
    live, off = weights
    assert live is not None and off is None
