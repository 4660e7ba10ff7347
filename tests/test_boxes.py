"""Geometry of boxes against the published functions and against its own invariants."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from scantling import boxes
from scantling.augment import geometry

GOLDEN = Path(__file__).parent / "golden" / "soft_teacher"


def load(name: str) -> dict[str, torch.Tensor]:
    with np.load(GOLDEN / name) as file:
        return {k: torch.from_numpy(np.asarray(file[k])) for k in file.files}


def composed(operations: list[list]) -> torch.Tensor:
    build = {
        "scale": lambda sx, sy: geometry.scale(sx, sy),
        "hflip": lambda h, w: geometry.flip_horizontal(w),
        "shift": lambda dx, dy: geometry.translate(dx, dy),
        "rot": lambda degrees, h, w: geometry.rotate(degrees, (h, w)),
    }
    matrix = geometry.identity()
    for name, *values in operations:
        matrix = build[name](*values) @ matrix
    return matrix


@pytest.mark.parametrize("name", ["views_scale_flip", "views_rotate", "views_translate"])
def test_published_view_matrices_and_box_transport(name: str) -> None:
    case, operations = load(f"{name}.npz"), json.loads((GOLDEN / f"{name}.json").read_text())
    teacher, student = composed(operations["teacher_ops"]), composed(operations["student_ops"])
    torch.testing.assert_close(teacher, case["T_teacher"], rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(student, case["T_student"], rtol=1e-4, atol=1e-4)
    move = student @ torch.linalg.inv(teacher)
    torch.testing.assert_close(move.float(), case["M_teacher_to_student"], rtol=1e-4, atol=1e-4)
    sizes = [tuple(case[k].tolist()) for k in ("student_shape_hw", "teacher_shape_hw")]
    there = boxes.transform(case["boxes_teacher"][:, :4], move, sizes[0])
    torch.testing.assert_close(there, case["boxes_student"][:, :4], rtol=1e-4, atol=1e-2)
    back = boxes.transform(there, torch.linalg.inv(move), sizes[1])
    torch.testing.assert_close(back, case["boxes_back_in_teacher"][:, :4], rtol=1e-4, atol=1e-2)


def test_published_jitter() -> None:
    case = load("jitter.npz")
    made = boxes.jitter(case["boxes"][:, :4], case["noise"], float(case["frac"]))
    torch.testing.assert_close(made, case["jittered"][..., :4], rtol=1e-4, atol=1e-2)


def test_published_spread_of_refined_boxes() -> None:
    case = load("reg_variance.npz")
    n = len(case["labels"])
    own = case["refined"].reshape(10, n, -1, 4)[:, torch.arange(n), case["labels"]]
    found = boxes.spread(own)
    torch.testing.assert_close(found, case["normalised_std"], rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(found.mean(1), case["mean_normalised_std"], rtol=1e-4, atol=1e-4)
    assert torch.equal(found.mean(1) < float(case["threshold"]), case["keep"])


def test_published_filter_by_score_and_size() -> None:
    case = load("filter_score_size.npz")
    kept = (case["scores"] > float(case["thr"])) & boxes.has_area(case["boxes"], float(case["min_size"]))
    assert torch.equal(kept.nonzero().flatten(), case["kept"])


def test_empty_is_legal_everywhere() -> None:
    none = torch.zeros((0, 4))
    assert boxes.transform(none, geometry.identity(), (10, 10)).shape == (0, 4)
    assert boxes.iou(none, torch.ones((3, 4))).shape == (0, 3)
    assert boxes.jitter(none, torch.zeros((5, 0, 4)), 0.1).shape == (5, 0, 4)
    assert boxes.spread(torch.zeros((5, 0, 4))).shape == (0, 4)


coordinate = st.floats(-50, 250, width=32)


@given(st.lists(st.tuples(coordinate, coordinate, coordinate, coordinate), max_size=8))
def test_clipped_boxes_lie_inside(rows: list[tuple[float, ...]]) -> None:
    clipped = boxes.clip(torch.tensor(rows).reshape(-1, 4), (60, 100))
    assert ((clipped >= 0) & (clipped <= torch.tensor([100, 60, 100, 60]))).all()


@given(st.floats(0.2, 5), st.floats(-40, 40), st.floats(-40, 40), st.booleans())
def test_boxes_come_back_when_nothing_rotates(factor: float, dx: float, dy: float, flip: bool) -> None:
    matrix = geometry.translate(dx, dy) @ geometry.scale(factor, factor)
    if flip:
        matrix = geometry.flip_horizontal(80) @ matrix
    there = torch.tensor([[3.0, 4.0, 30.0, 20.0], [0.0, 0.0, 1.0, 1.0]])
    back = boxes.transform(boxes.transform(there, matrix), torch.linalg.inv(matrix))
    torch.testing.assert_close(back, there, rtol=1e-4, atol=1e-2)
