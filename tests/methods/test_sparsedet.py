"""SparseDet's step: which regions leave the supervised loss, what joins the strong view's targets."""

from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest
import torch

from scantling import methods
from scantling.data.loader import TrainingStep
from scantling.methods import MethodParams
from scantling.pseudo import COLUMNS
from scantling.target import Batch, Target
from tests import tiny, toy
from tests.methods.recording import view

FILE = toy.ROOT / "params/methods/sparsedet.yaml"
CLASSES = ("a", "b")


def method(**changes: object):
    published = {"mine_score": 0.8, "add_score": 0.9}
    return methods.create(MethodParams.load(FILE).model_copy(update=published | changes), CLASSES, None)


def boxes_at(*xs: float) -> torch.Tensor:
    return torch.tensor([[x, 2.0, x + 20, 22.0] for x in xs]).reshape(-1, 4)


def test_object_like_regions_without_a_label_leave_the_supervised_loss() -> None:
    offered = [(boxes_at(0, 30, 31, 60), torch.tensor([0.95, 0.95, 0.9, 0.5]))]
    truth = [Target.of(boxes_at(0), torch.tensor([0]))]
    regions, rest = method()._mined(offered, truth, 0, [1])
    assert regions[0].tolist() == boxes_at(30).tolist()  # 31 is suppressed by it, but gone from the loss as well
    assert rest[0].tolist() == boxes_at(0, 60).tolist()
    regions, rest = method(mine_from_step=5)._mined(offered, truth, 4, [1])
    assert len(regions[0]) == 0 and len(rest[0]) == 4
    assert len(method(mine=False)._mined(offered, truth, 9, [1])[0][0]) == 0


@pytest.mark.parametrize("architecture", tiny.ARCHITECTURES)
def test_equal_views_agree_and_sides_are_apart(architecture: str) -> None:
    student = tiny.detector(architecture, CLASSES).train()
    labeled = {"weak": view([1, 2], boxes=1), "strong": view([1, 2], boxes=1)}
    one = method(mine_score=0.0, candidate_floor=0.0, unlabeled=True)
    losses, logged = one.step(student, None, TrainingStep(labeled, {"weak": view([3]), "strong": view([3])}))
    assert losses["labeled/agreement"].item() == pytest.approx(0, abs=1e-8)
    assert logged["mined_regions"] > 0
    assert {name.partition("/")[0] for name in losses} == {"labeled", "unlabeled"}
    torch.stack(list(losses.values())).sum().backward()
    assert all(p.grad is not None and torch.isfinite(p.grad).all() for p in student.parameters() if p.requires_grad)


def test_without_any_label_only_confident_boxes_teach() -> None:
    student = tiny.detector("faster_rcnn", CLASSES).train()
    views = {"weak": view([1]), "strong": view([1])}
    losses, logged = method(add_score=0.999).step(student, None, TrainingStep(views, {}))
    assert losses["labeled/class"].item() == losses["labeled/box"].item() == losses["labeled/rpn_class"].item() == 0
    assert logged["pseudo_boxes"] == 0
    losses, logged = method(add_score=0.0, mine=False).step(student, None, TrainingStep(views, {}))
    assert logged["pseudo_boxes"] > 0 and losses["labeled/class"].item() > 0


def test_an_image_without_a_label_does_not_dilute_the_proposal_loss() -> None:
    student = tiny.detector("faster_rcnn", CLASSES).train()
    losses = []
    for boxes in ([1], [1, 0]):
        parts = [view([k + 1], boxes=n) for k, n in enumerate(boxes)]
        views = {name: Batch.joined(parts) for name in ("weak", "strong")}
        for one in views.values():
            one.targets = [replace(t, seed=k) for k, t in enumerate(one.targets)]
        losses.append(method(mine=False).step(student, None, TrainingStep(views, {}))[0])
    for name in ("labeled/rpn_class", "labeled/rpn_box"):
        torch.testing.assert_close(losses[0][name], losses[1][name], rtol=1e-4, atol=1e-6)


def test_each_view_draws_its_regions_by_its_own_seed() -> None:
    student = tiny.detector("faster_rcnn", CLASSES).train()
    seeds, original = [], student.region_losses
    student.region_losses = lambda f, p, t, s: seeds.append([one.seed for one in t]) or original(f, p, t, s)
    views = {"weak": view([1], boxes=1), "strong": view([1], boxes=1)}
    for seed, one in enumerate(views.values()):
        one.targets = [replace(t, seed=seed) for t in one.targets]
    method().step(student, None, TrainingStep(views, {}))
    assert seeds == [[0], [1]]


@pytest.mark.parametrize("architecture", [a for a in tiny.ARCHITECTURES if a != "faster_rcnn"])
def test_confident_boxes_join_the_strong_view_on_one_stage_as_well(architecture: str) -> None:
    student = tiny.detector(architecture, CLASSES).train()
    views = {"weak": view([1], boxes=1), "strong": view([1], boxes=1)}
    added = [
        method(add_score=score, candidate_floor=0.0, mine=False).step(student, None, TrainingStep(views, {}))[1]
        for score in (0.0, 1.0)
    ]
    assert added[0]["pseudo_boxes"] > 0 and added[1]["pseudo_boxes"] == 0


def test_refine_shows_what_would_be_mined(tmp_path: Path) -> None:
    rows = [
        {"image_id": 1, "label": 0, "score": score, "x1": x, "y1": 2.0, "x2": x + 20, "y2": 22.0, "spread": 0.1}
        for x, score in ((0.0, 0.85), (30.0, 0.85), (60.0, 0.5), (90.0, 0.95), (2.0, 0.95))
    ]
    pseudo = pd.DataFrame(rows, columns=list(COLUMNS)).astype(COLUMNS)
    corners = {"x1": [0.0], "y1": [2.0], "x2": [20.0], "y2": [22.0]}
    truth = {"image_id": [1], "labeled": [True], "box_id": [3], "label": [0], **corners}
    refined, aids = method().refine(pseudo, pd.DataFrame(truth))
    # a label is there; object-like and ignored; unsure; sure enough to be a label; sure, but the label is there
    assert refined["ignore"].tolist() == [False, True, False, False, False]
    assert refined["for_class"].tolist() == [False, False, False, True, False]
    assert refined["source"].tolist() == ["teacher", "mined", "teacher", "mined", "teacher"]
    assert aids == {"rows": 5, "mined": 1, "ignored": 1}
    nothing, _ = method(mine=False, add_score=1.0).refine(pseudo, pd.DataFrame(truth))
    assert not nothing[["ignore", "for_class", "for_box", "for_objectness"]].any(axis=None)
