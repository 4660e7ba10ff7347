"""Soft Teacher's three subsets and its background trust."""

import json
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import torch

from scantling import methods
from scantling.candidates import Candidates
from scantling.data.loader import TrainingStep
from scantling.methods import MethodParams
from scantling.mining import background
from scantling.params import ParamsError, check, read
from scantling.stage import BadInput
from scantling.target import Target
from tests import tiny, toy
from tests.methods.recording import Recorder, view
from tests.methods.test_battery import batch_of

GOLDEN = Path(__file__).parents[1] / "golden" / "soft_teacher"
FILE = toy.ROOT / "params/methods/soft_teacher_coco.yaml"
BOXES = torch.tensor([[0, 0, 10, 10], [20, 0, 30, 10], [40, 0, 50, 10], [60, 0, 60, 10.0]])


def method(**changes: Any) -> Any:
    return methods.create(MethodParams.load(FILE).model_copy(update=changes), ("a", "b"), None)


def checked(name: str, **changes: Any) -> MethodParams:
    """A method's file with changes, as it would be read."""
    file = toy.ROOT / f"params/methods/{name}.yaml"
    return check(type(MethodParams.load(file)), read(file) | changes, file)


def candidates(scores: list[float], spread: list[float], labels: list[int] | None = None) -> Candidates:
    return Candidates(BOXES, torch.tensor(labels or [0] * 4), torch.tensor(scores), torch.tensor(spread))


def test_score_decides_for_class_and_spread_for_regression() -> None:
    target = method()._target(candidates([0.95, 0.6, 0.95, 0.99], [0.5, 0.01, 0.01, 0.01]))
    assert torch.equal(target.boxes, BOXES[:3])  # the fourth has no area
    assert target.for_class.tolist() == target.for_objectness.tolist() == [True, False, True]
    assert target.for_box.tolist() == [False, True, True]
    assert len(target.ignore) == 0


def test_thresholds_are_strict() -> None:
    target = method()._target(candidates([0.9, 0.5, 0.91, 0.1], [0.01, 0.01, 0.02, 0.01]))
    assert torch.equal(target.boxes, BOXES[[0, 2]])
    assert target.for_class.tolist() == [False, True] and target.for_box.tolist() == [True, False]


def test_a_class_may_have_its_own_threshold() -> None:
    target = method(class_score_of={"b": 0.3})._target(candidates([0.6, 0.6, 0.2, 0.1], [0.5] * 4, [0, 1, 1, 1]))
    assert torch.equal(target.boxes, BOXES[[1]]) and target.for_objectness.all() and target.for_class.all()
    with pytest.raises(ParamsError, match="class_score_of.*platelet"):
        method(class_score_of={"platelet": 0.3})
    with pytest.raises(ParamsError, match="class_score_of.b"):
        checked("soft_teacher", class_score_of={"b": 5})


def test_the_score_that_decides_what_passes_is_the_one_to_be_changed() -> None:
    assert method().threshold == "class_score" and method(class_score=1.0).threshold == "objectness_score"


def test_uncertain_boxes_are_ignored_when_asked() -> None:
    target = method(ignore_above=0.1)._target(candidates([0.95, 0.6, 0.05, 0.99], [0.5] * 4))
    assert torch.equal(target.ignore, BOXES[[1]])


def test_background_trust_is_one_minus_the_best_overlapping_candidate() -> None:
    boxes = torch.tensor([[0, 0, 10, 10], [100, 100, 120, 120], [21, 0, 31, 10.0]])
    weigh = background.guessed([candidates([0.8, 0.3, 0.0, 0.0], [0.0] * 4)], 0.5)
    found = weigh(0, boxes)
    torch.testing.assert_close(found, torch.tensor([0.2, 1.0, 0.7]))
    assert weigh(0, boxes[:0]).shape == (0,)


@pytest.mark.parametrize("architecture", ["retinanet", "fcos"])
def test_a_place_of_a_single_stage_detector_is_trusted_as_far_as_its_teacher_calls_it_background(
    architecture: str,
) -> None:
    teacher, batch = tiny.detector(architecture).eval(), view([40, 90])
    with torch.no_grad():
        features = teacher.features(batch.images, batch.sizes)
        factors = background.read_off(teacher, features, batch)
        best = teacher.predict(features, batch.sizes).logits.sigmoid().amax(2)
        torch.testing.assert_close(factors, 1 - best)
        student, targets = tiny.detector(architecture, seed=1).eval(), [Target.empty(), Target.empty()]
        seen = student.features(batch.images, batch.sizes)
        whole, half, none = (
            student.losses(seen, targets, batch.sizes, background_weight=w * torch.ones_like(factors))["class"]
            for w in (1.0, 0.5, 0.0)
        )
    torch.testing.assert_close(half, whole / 2)
    assert whole > 0 and none == 0
    torch.testing.assert_close(whole, student.losses(seen, targets, batch.sizes)["class"])


def test_only_views_of_the_same_geometry_share_places() -> None:
    weak, strong = view([1]), view([1])
    assert background.share_places(weak, strong)
    strong.matrices[0, 0, 2] = 1.0
    assert not background.share_places(weak, strong) and not background.share_places(weak, view([1], size=(64, 96)))


def test_live_background_of_a_single_stage_teacher_asks_each_place(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[Any] = []
    soft = method(candidate_floor=0.0)
    student, teacher = tiny.detector("retinanet"), tiny.detector("retinanet", seed=1).eval()
    monkeypatch.setattr(
        student, "losses", lambda f, t, s, background_weight=None: asked.append(background_weight) or {}
    )
    for strong in (view([3, 4]), view([3, 4], size=(64, 96))):
        soft.step(student, teacher, TrainingStep({}, {"weak": view([3, 4]), "strong": strong}, step=0))
    assert isinstance(asked[0], torch.Tensor) and asked[0].shape[0] == 2 and callable(asked[1])


def test_a_spread_that_was_measured_as_none_teaches_no_box() -> None:
    target = method()._target(candidates([0.95, 0.95, 0.95, 0.1], [float("inf"), float("nan"), 0.01, 0.01]))
    assert target.for_class.tolist() == [True] * 3 and target.for_box.tolist() == [False, True, True]
    with pytest.raises(ParamsError, match="tta"):
        checked("soft_teacher", teacher="cached", background="off", box_filter="tta")


def test_unlabeled_losses_carry_their_weight(tmp_path: Any) -> None:
    file = toy.ROOT / "params/methods/soft_teacher.yaml"
    found = []
    for weight in (1.0, 3.0):
        changes = {"unlabeled_weight": weight, "class_score": 0.0, "objectness_score": 0.0, "candidate_score": 0.0}
        soft = methods.create(MethodParams.load(file).model_copy(update=changes), ("a", "b"), None)
        batch = batch_of(toy.pool(tmp_path), soft)
        student, teacher = toy.detector("faster_rcnn_lite"), toy.detector("faster_rcnn_lite", seed=1).eval()
        torch.manual_seed(0)
        losses, logged = soft.step(student, teacher, batch)
        assert logged["pseudo_boxes"] > 0
        found.append({k: v.item() for k, v in losses.items()})
    for name, value in found[0].items():
        assert found[1][name] == pytest.approx(value * (3 if name.startswith("unlabeled/") else 1), rel=1e-4), name


def test_published_weight_of_each_unlabeled_loss() -> None:
    case = json.loads((GOLDEN / "unsup_loss_weighting.json").read_text())
    sums = {name: torch.tensor(case["inp"][f"loss_{name}"]).sum() for name in ("rpn_cls", "rpn_bbox", "cls", "bbox")}

    class Student(Recorder):
        def losses(self, *given: object, **options: object) -> dict[str, torch.Tensor]:
            return dict(sums)

    soft = method(unlabeled_weight=case["weight"], box_filter="score", background="off")
    batch = TrainingStep({"labeled": view([1], 1)}, {"weak": view([2]), "strong": view([3])})
    losses, _ = soft.step(Student(), Recorder(), batch)
    for name, value in sums.items():
        weighted = torch.tensor(case["out"][f"loss_{name}"]).sum()
        assert losses[f"labeled/{name}"] == value and losses[f"unlabeled/{name}"].item() == pytest.approx(
            weighted.item()
        )


def test_refined_flags_are_those_of_the_loop() -> None:
    table = pd.DataFrame(
        {
            "image_id": [1, 1, 2], "label": 0, "score": [0.95, 0.6, 0.95], "spread": [0.5, 0.01, 0.01],
            "x1": 0.0, "y1": 0.0, "x2": 10.0, "y2": 10.0,
        }
    )  # fmt: skip
    split = pd.DataFrame({"image_id": [1, 2], "labeled": [False, True], "box_id": [-1, 3]})
    refined, aids = method().refine(table, split)
    assert refined["for_class"].tolist() == [True, False, False]  # image 2 is labeled: nothing of it is used
    assert refined["for_box"].tolist() == [False, True, False]
    assert aids["for_class"] == 1


def test_live_background_needs_a_live_teacher() -> None:
    with pytest.raises(ParamsError, match="background: live"):
        checked("soft_teacher", teacher="cached")


@pytest.mark.parametrize(
    "changes, message",
    [
        ({"scores_by_density": (0.9, 0.3)}, "lowest score first"),
        ({"scores_by_density": (0.3, 1.5)}, "from 0 to 1"),
        ({"teacher": "ema"}, "needs `teacher: cached`"),
        ({"mine_labeled": True}, "needs `mine_labeled: false`"),
    ],
)
def test_density_where_it_cannot_be_counted(changes, message):
    with pytest.raises(ParamsError, match=message):
        checked("soft_teacher_by_density", **changes)


@pytest.mark.parametrize(
    "changes, message",
    [
        ({"scores_by_precision": (0.8, 0.9, 0.3)}, "lowest score first"),
        ({"scores_by_precision": (80.0, 0.3, 0.9)}, "a share of 80.0 right boxes: write one from 0 to 1"),
        ({"scores_by_density": (0.3, 0.9)}, "set the same thresholds"),
        ({"teacher": "ema"}, "needs `teacher: cached`"),
    ],
)
def test_precision_where_it_cannot_be_counted(changes, message):
    with pytest.raises(ParamsError, match=message):
        checked("soft_teacher_by_precision", **changes)


def test_thresholds_by_precision_need_held_out_images_and_follow_them():
    file = toy.ROOT / "params/methods/soft_teacher_by_precision.yaml"
    one = methods.create(MethodParams.load(file), ("a", "b"), None)
    corners = {"x1": 0.0, "y1": 0.0, "x2": 9.0, "y2": 9.0}
    table = pd.DataFrame({"image_id": 1, "label": 0, "score": [0.85, 0.45], "spread": 0.1, **corners})
    split = pd.DataFrame({"image_id": [1], "labeled": [False], "box_id": [-1]})
    with pytest.raises(BadInput, match="no labeled image is in `val`"):
        one.refine(table, split)
    for right, used, placed in ((True, [True, True], [True, True]), (False, [False, False], [True, False])):
        one.held_out = pd.DataFrame({"label": 0, "score": [0.4 + k / 50 for k in range(25)], "right": right})
        refined, aids = one.refine(table, split)
        assert refined["for_class"].tolist() == used and refined["for_objectness"].tolist() == placed
        assert aids["class_scores"] == [0.3 if right else 0.9] * 2


def test_places_teach_objectness_and_boxes_and_no_class() -> None:
    params = MethodParams.load(toy.ROOT / "params/methods/soft_teacher_places.yaml")
    flags = methods.create(params, ("a", "b"), None)._flags(candidates([1.0, 0.8, 0.6, 0.9], [0.01] * 4))
    assert flags["for_objectness"].tolist() == [True, True, False, False]  # the fourth has no area
    assert flags["for_box"].tolist() == [True, True, True, False]
    assert not flags["for_class"].any() and flags["ignore"][:3].all(), "of no class, and no background either"
