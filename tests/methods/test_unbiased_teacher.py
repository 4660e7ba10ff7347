"""Unbiased Teacher's step against the published one: who sees what, and what each term weighs."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from scantling import methods
from scantling.candidates import Candidates
from scantling.data.loader import TrainingStep
from scantling.methods import MethodParams
from scantling.pseudo import COLUMNS
from tests import toy
from tests.methods.recording import Recorder, view

GOLDEN = Path(__file__).parents[1] / "golden" / "soft_teacher"
FILE = toy.ROOT / "params/methods/unbiased_teacher_coco.yaml"
NAMES = {"class": "loss_cls", "box": "loss_box_reg", "rpn_class": "loss_rpn_cls", "rpn_box": "loss_rpn_loc"}


def method(**changes: object):
    params = MethodParams.load(FILE).model_copy(update=changes)
    return methods.create(params, Recorder.classes, None)


def numbers(names: list[str]) -> list[int]:
    """Ls0 -> 10, Lw0 -> 20, Us0 -> 30, Uw0 -> 40, ..."""
    return [{"Ls": 10, "Lw": 20, "Us": 30, "Uw": 40}[n[:2]] + int(n[2:]) for n in names]


def test_published_step_after_burn_in() -> None:
    case = json.loads((GOLDEN / "ut_training_step.json").read_text())["cases"][1]
    asked = {("teacher" if c["model"] == "teacher" else "student", tuple(numbers(c["ids"]))) for c in case["calls"]}
    labeled = {"strong": view([10, 11], boxes=1), "weak": view([20, 21], boxes=1)}
    unlabeled = {"weak": view([40, 41, 42]), "strong": view([30, 31, 32])}
    box = torch.tensor([[2.0, 2, 30, 30]]), torch.tensor([1]), torch.tensor([0.95])
    student, teacher = Recorder(), Recorder({i: box for i in (40, 41, 42)})
    losses, logged = method().step(student, teacher, TrainingStep(labeled, unlabeled))
    calls = {("student", tuple(c[1])) for c in student.calls} | {("teacher", tuple(c[1])) for c in teacher.calls}
    assert calls == asked
    assert logged["pseudo_boxes"] == 1 and student.calls[-1][2] == [1, 1, 1]
    torch.stack(list(losses.values())).sum().backward()
    passes = [p for name, p in sorted(case["effective_loss_weights"].items()) if name.startswith("student")]
    for terms, weights in zip(student.terms, passes, strict=True):
        for name, term in terms.items():
            assert term.grad is not None and term.grad.item() == pytest.approx(weights[NAMES[name]])


def test_the_baseline_is_its_labeled_half() -> None:
    labeled = {"strong": view([10, 11], boxes=1), "weak": view([20, 21], boxes=1)}
    file = toy.ROOT / "params/methods/supervised_unbiased_teacher.yaml"
    baseline = methods.create(MethodParams.load(file), Recorder.classes, None)
    theirs, ours = Recorder(), Recorder()
    losses, _ = baseline.step(theirs, None, TrainingStep(labeled, {}))
    labeled_half, _ = method().step(ours, Recorder(), TrainingStep(labeled, {}))
    assert theirs.calls == ours.calls == [("losses", [10, 11, 20, 21], [1, 1, 1, 1])]
    assert losses == labeled_half and baseline.labeled_views == ("strong", "weak")


def test_published_threshold() -> None:
    with np.load(GOLDEN / "ut_threshold.npz") as case:
        boxes, labels, scores = (torch.from_numpy(case[k]) for k in ("boxes", "classes", "scores"))
        wanted = [torch.from_numpy(case[f"out_{k}"]) for k in ("boxes", "classes", "scores")]
        one = method(pseudo_score=float(case["thr"]))
    kept = one._target(Candidates(boxes, labels, scores, scores))
    for got, expected in zip((kept.boxes, kept.labels, kept.scores), wanted, strict=True):
        torch.testing.assert_close(got, expected.to(got.dtype))


def test_an_image_without_pseudo_box_is_background_and_cached_equals_frozen() -> None:
    rows = [{"image_id": 40, "label": 1, "score": s, "x1": 2.0, "y1": 2.0, "x2": 30.0, "y2": 30.0, "spread": 0.1} for s in (0.95, 0.6)]  # fmt: skip # noqa: E501
    pseudo = pd.DataFrame(rows, columns=list(COLUMNS)).astype(COLUMNS)
    split = pd.DataFrame({"image_id": [40, 10], "labeled": [False, True], "box_id": [-1, 3]})
    refined, aids = method().refine(pseudo, split)
    assert aids == {"rows": 2, "kept": 1} and not refined["for_box"].any()
    params = MethodParams.load(FILE).model_copy(update={"teacher": "cached"})
    cached = methods.create(params, Recorder.classes, refined)
    student = Recorder()
    unlabeled = {"weak": view([40, 41]), "strong": view([40, 41])}
    cached.step(student, None, TrainingStep({}, unlabeled))
    assert student.calls == [("losses", [40, 41], [1, 0])]
