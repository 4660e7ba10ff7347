"""The fusion of Co-mining against the published code."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from scantling import methods
from scantling.candidates import Candidates
from scantling.data.loader import TrainingStep
from scantling.methods import MethodParams
from scantling.methods.co_mining import Method
from scantling.mining.exchange import is_new
from scantling.target import Target
from tests import toy
from tests.methods.recording import Recorder, view

GOLDEN = sorted((Path(__file__).parents[1] / "golden" / "co_mining").glob("merge_*.npz"))
FILE = toy.ROOT / "params/methods/co_mining.yaml"


@pytest.mark.parametrize("file", GOLDEN, ids=lambda f: f.stem)
def test_published_fusion(file: Path) -> None:
    with np.load(file) as case:
        truth, labels, boxes, classes, scores = (
            torch.from_numpy(case[k])
            for k in ("in_gt_boxes", "in_gt_classes", "in_pseudo_boxes", "in_pseudo_classes", "in_pseudo_scores")
        )
        threshold, expected = float(case["in_iou_threshold"]), torch.from_numpy(case["out_boxes"])
        expected_labels = torch.from_numpy(case["out_classes"])
    fresh = is_new(truth, labels, boxes, classes, threshold)
    torch.testing.assert_close(torch.cat([truth, boxes[fresh]]), expected, rtol=1e-4, atol=1e-3)
    assert torch.equal(torch.cat([labels, classes[fresh]]), expected_labels)
    # the method's own fusion is the same function with its threshold, whatever the scores above the mining one
    params = MethodParams.load(FILE).model_copy(update={"merge_iou": threshold, "mine_score": -1.0})
    method = Method(params, ("a", "b", "c", "d", "e", "f"), None)
    made = method._target(Target.of(truth, labels), Candidates(boxes, classes, scores, scores))
    torch.testing.assert_close(made.boxes, expected, rtol=1e-4, atol=1e-3)


def test_uncertain_boxes_are_ignored_when_asked_and_never_known_ones() -> None:
    params = MethodParams.load(FILE).model_copy(update={"mine_score": 0.8, "ignore_above": 0.3})
    boxes = torch.tensor([[0, 0, 10, 10], [20, 20, 30, 30], [40, 40, 50, 50], [60, 60, 70, 70.0]])
    found = Candidates(boxes, torch.zeros(4, dtype=torch.long), torch.tensor([0.5, 0.5, 0.9, 0.2]), torch.zeros(4))
    made = Method(params, ("a",), None)._target(Target.of(boxes[:1], torch.tensor([0])), found)
    assert torch.equal(made.boxes, boxes[[0, 2]]) and torch.equal(made.ignore, boxes[[1]])


def test_the_class_probability_decides_where_a_detectors_score_is_another() -> None:
    boxes = torch.tensor([[0, 0, 10, 10], [20, 20, 30, 30.0]])
    found = Candidates(
        boxes, torch.zeros(2, dtype=torch.long), torch.full((2,), 0.4), torch.zeros(2),
        class_probabilities=torch.tensor([0.9, 0.5]),
    )  # fmt: skip
    for low, ignored in ((None, 0), (0.2, 1)):
        params = MethodParams.load(FILE).model_copy(update={"mine_score": 0.8, "ignore_above": low})
        made = Method(params, ("a",), None)._target(Target.empty(), found)
        assert torch.equal(made.boxes, boxes[:1]) and len(made.ignore) == ignored


def test_a_label_of_another_class_drops_a_box_when_asked() -> None:
    boxes = torch.tensor([[0, 0, 10, 10], [20, 20, 30, 30.0]])
    found = Candidates(boxes, torch.tensor([1, 1]), torch.tensor([0.9, 0.9]), torch.zeros(2))
    for asked, left in ((False, [0, 1, 1]), (True, [0, 1])):
        params = MethodParams.load(FILE).model_copy(update={"merge_any_class": asked})
        made = Method(params, ("a", "b"), None)._target(Target.of(boxes[:1], torch.tensor([0])), found)
        assert made.labels.tolist() == left


def test_refined_table_marks_what_would_be_mined() -> None:
    method = methods.create(MethodParams.load(FILE), ("a", "b"), None)
    row = {"label": 0, "x1": 0.0, "y1": 0.0, "x2": 10.0, "y2": 10.0, "spread": np.nan}
    split = pd.DataFrame(
        [
            {"image_id": 1, "labeled": True, "box_id": 7, **row},
            {"image_id": 2, "labeled": True, "box_id": -1, **row, "label": -1},
            {"image_id": 3, "labeled": False, "box_id": -1, **row, "label": -1},
        ]
    )
    pseudo = pd.DataFrame([{"image_id": i, "score": s, **row} for i, s in ((1, 0.99), (2, 0.99), (2, 0.5), (3, 0.99))])
    refined, aids = method.refine(pseudo, split)
    assert refined["for_class"].tolist() == [False, True, False, False]
    assert refined["source"].tolist() == ["teacher", "mined", "teacher", "teacher"] and aids["mined"] == 1
    known = pseudo.assign(class_probability=[0.99, 0.1, 0.99, 0.99])  # FCOS: another than the score; it decides
    assert method.refine(known, split)[0]["for_class"].tolist() == [False, False, True, False]


def test_boxes_of_a_table_are_whole_in_a_view_whatever_the_other_one_shows() -> None:
    """The strong view shows the left half, twice as large: it cuts the box that the weak one shows whole."""
    row = {"image_id": 7, "label": 1, "score": 0.9, "x1": 20.0, "y1": 10.0, "x2": 44.0, "y2": 30.0, "spread": 0.0}
    flags = {
        "class_probability": 0.9,
        "weight": 1.0,
        "for_objectness": True,
        "for_class": True,
        "for_box": True,
        "ignore": False,
    }
    params = MethodParams.load(toy.ROOT / "params/methods/co_mining_cached.yaml")
    method = methods.create(params, ("a", "b"), pd.DataFrame([{**row, **flags, "source": "mined"}]))
    weak = view([7])
    strong = replace(weak, matrices=torch.diag(torch.tensor([2.0, 2.0, 1.0], dtype=torch.float64))[None])
    student = Targets()
    method.step(student, None, TrainingStep({"weak": weak, "strong": strong}, {}))
    assert student.boxes == [[[20, 10, 44, 30]], [[40, 20, 64, 60]]]


class Targets(Recorder):
    """Notes the boxes that it is taught."""

    def __init__(self) -> None:
        super().__init__()
        self.boxes: list[list[list[float]]] = []

    def losses(self, features: list[torch.Tensor], targets: list[Target], sizes: object, **options: object):
        self.boxes.append(targets[0].boxes.tolist())
        return super().losses(features, targets, sizes, **options)
