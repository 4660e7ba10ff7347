"""Co-Student's targets against the published ones, through the method's own step."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from scantling import methods
from scantling.data.loader import TrainingStep
from scantling.methods import MethodParams
from scantling.pseudo import COLUMNS
from scantling.target import Batch, Target
from tests import toy
from tests.methods.recording import Recorder, view

GOLDEN = Path(__file__).parents[1] / "golden" / "co_student"
FILE = toy.ROOT / "params/methods/co_student_coco.yaml"
RAW, WEAK, STRONG = 1, 2, 3


def method(refined: pd.DataFrame | None = None, **changes: object):
    params = MethodParams.load(FILE).model_copy(update=changes)
    return methods.create(params, Recorder.classes, refined)


@pytest.mark.parametrize("file", sorted(GOLDEN.glob("exchange_*.npz")), ids=lambda f: f.stem)
def test_published_exchange(file: Path) -> None:
    with np.load(file) as loaded:
        case = {k: torch.from_numpy(loaded[k]) for k in loaded.files}
    size = int(case["in_size_hw"][0]), int(case["in_size_hw"][1])

    def one(name: str, number: int, boxes: torch.Tensor, labels: torch.Tensor) -> Batch:
        batch = view([number], size=size)
        batch.matrices = case[f"in_matrix_{name}"][None]
        batch.targets = [Target.of(boxes, labels)]
        return batch

    labels = case["in_gt_classes"]
    views = {
        "raw": one("raw", RAW, torch.zeros((0, 4)), labels[:0]),
        "weak": one("weak", WEAK, case["in_gt_boxes_weak"], labels),
        "strong": one("strong", STRONG, case["in_gt_boxes_strong"], labels),
    }
    found = {
        number: tuple(case[f"in_{who}_{k}"] for k in (f"boxes{frame}", "classes", "scores"))
        for who, number, frame in (("teacher", RAW, "_raw"), ("weak", WEAK, ""), ("strong", STRONG, ""))
    }
    # the case starts from the boxes that passed the thresholds
    targets, _, _ = method(student_score=0.0, teacher_score=0.0)._targets(Recorder(found), Recorder(found), views)
    for name in ("weak", "strong"):
        torch.testing.assert_close(targets[name][0].boxes, case[f"out_{name}_gt_boxes"], rtol=1e-4, atol=1e-3)
        assert torch.equal(targets[name][0].labels, case[f"out_{name}_gt_classes"])


def test_an_image_without_any_target_teaches_no_background() -> None:
    views = {"raw": view([1]), "weak": view([2]), "strong": view([3])}
    box = torch.tensor([[2.0, 2, 30, 30]]), torch.tensor([1]), torch.tensor([0.95])
    targets, _, mined = method()._targets(Recorder(), Recorder(), views)
    assert [t.background for t in (*targets["weak"], *targets["strong"])] == [False, False] and mined == 0
    targets, _, mined = method()._targets(Recorder({2: box}), Recorder(), views)
    assert not targets["weak"][0].background and len(targets["strong"][0]) == 1 and mined == 0.5


def test_who_sees_which_view() -> None:
    assert method().labeled_views == ("raw", "weak", "strong") and method().unlabeled_views == ()
    assert method(revise=False).labeled_views == ("weak", "strong")  # nobody looks at the plain image
    assert method(unlabeled=True).unlabeled_views == ("raw", "weak", "strong")
    student, teacher = Recorder(), Recorder()
    step = TrainingStep({"raw": view([1], 1), "weak": view([2], 1), "strong": view([3], 1)}, {})
    method().step(student, teacher, step)
    assert [c[:2] for c in teacher.calls] == [("detect", [1])]
    assert [c[:2] for c in student.calls] == [("detect", [2]), ("detect", [3]), ("losses", [2]), ("losses", [3])]


def test_cached_boxes_of_the_refined_table_correct_both_views() -> None:
    rows = [{"image_id": 7, "label": 1, "score": s, "x1": x, "y1": 2.0, "x2": x + 20, "y2": 30.0, "spread": 0.1} for s, x in ((0.95, 2.0), (0.55, 40.0))]  # fmt: skip # noqa: E501
    pseudo = pd.DataFrame(rows, columns=list(COLUMNS)).astype(COLUMNS)
    split = pd.DataFrame({"image_id": [7], "labeled": [True], "box_id": [3]})
    refined, aids = method().refine(pseudo, split)
    assert aids == {"rows": 2, "sure": 1} and set(refined["source"]) == {"mined", "teacher"}
    known = pseudo.assign(class_probability=[0.1, 0.95])  # FCOS: another than the score; it decides
    assert method().refine(known, split)[0]["for_class"].tolist() == [False, True]
    cached = method(refined, teacher="cached")
    targets, _, mined = cached._targets(Recorder(), None, {"weak": view([7]), "strong": view([7])})
    assert mined == 1 and [len(targets[n][0]) for n in targets] == [1, 1]


def test_a_cached_box_that_a_sheared_view_does_not_show_teaches_nothing_in_the_other_one() -> None:
    """Cut down to a line at the border, it would be warped back into a box where nothing is."""
    row = {"image_id": 7, "label": 1, "score": 0.95, "x1": 10.0, "y1": 250.0, "x2": 60.0, "y2": 390.0, "spread": 0.1}
    pseudo = pd.DataFrame([row], columns=list(COLUMNS)).astype(COLUMNS)
    refined, _ = method().refine(pseudo, pd.DataFrame({"image_id": [7], "labeled": [True], "box_id": [-1]}))
    views = {name: view([7], size=(400, 400)) for name in ("weak", "strong")}
    views["strong"].matrices = torch.tensor([[[1.0, -1, 0], [0, 1, 0], [0, 0, 1]]], dtype=torch.float64)
    targets, _, _ = method(refined, teacher="cached")._targets(Recorder(), None, views)
    assert len(targets["weak"][0]) == 0 and len(targets["strong"][0]) == 0
