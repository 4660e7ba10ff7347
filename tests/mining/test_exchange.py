"""Moving, correcting and fusing boxes, against the published code of Co-Student and SparseDet."""

from pathlib import Path

import numpy as np
import pytest
import torch

from scantling import boxes as box_ops
from scantling.candidates import Candidates
from scantling.mining import exchange

GOLDEN = Path(__file__).parents[1] / "golden"


def load(file: Path) -> dict[str, torch.Tensor]:
    with np.load(file) as case:
        return {k: torch.from_numpy(case[k]) for k in case.files}


def found(case: dict[str, torch.Tensor], prefix: str, frame: str = "") -> Candidates:
    boxes, labels, scores = (case[f"{prefix}_{k}"] for k in (f"boxes{frame}", "classes", "scores"))
    return Candidates(boxes, labels, scores, torch.full_like(scores, float("nan")))


def assert_found(got: Candidates, case: dict[str, torch.Tensor], prefix: str) -> None:
    torch.testing.assert_close(got.boxes, case[f"{prefix}_boxes"], rtol=1e-4, atol=1e-3)
    assert torch.equal(got.labels, case[f"{prefix}_classes"])
    if f"{prefix}_scores" in case:
        torch.testing.assert_close(got.scores, case[f"{prefix}_scores"], rtol=1e-4, atol=1e-5)


def some(boxes: list[list[float]], labels: list[int], scores: list[float]) -> Candidates:
    corners = torch.tensor(boxes, dtype=torch.float32).reshape(-1, 4)
    return Candidates(corners, torch.tensor(labels, dtype=torch.int64), torch.tensor(scores), torch.zeros(len(boxes)))


def size(case: dict[str, torch.Tensor], key: str) -> tuple[int, int]:
    return int(case[key][0]), int(case[key][1])


@pytest.mark.parametrize("file", sorted((GOLDEN / "co_student").glob("revise_*.npz")), ids=lambda f: f.stem)
def test_published_revision(file: Path) -> None:
    case = load(file)
    assert_found(exchange.revised(found(case, "in_teacher"), found(case, "in_student"), 0.5), case, "out")


@pytest.mark.parametrize("file", sorted((GOLDEN / "co_student").glob("warp_*.npz")), ids=lambda f: f.stem)
def test_published_warp(file: Path) -> None:
    case = load(file)
    matrix = case["in_target_matrix"] @ torch.linalg.inv(case["in_source_matrix"])
    assert_found(exchange.moved(found(case, "in"), matrix, size(case, "in_target_size_hw")), case, "out")


@pytest.mark.parametrize("file", sorted((GOLDEN / "co_student").glob("exchange_*.npz")), ids=lambda f: f.stem)
def test_published_exchange(file: Path) -> None:
    case = load(file)
    frame = size(case, "in_size_hw")
    matrices = {view: case[f"in_matrix_{view}"] for view in ("raw", "weak", "strong")}
    teacher = found(case, "in_teacher", "_raw")
    sets = {}
    for view in ("weak", "strong"):
        there = exchange.moved(teacher, matrices[view] @ torch.linalg.inv(matrices["raw"]), frame)
        sets[view] = exchange.revised(there, found(case, f"in_{view}"), 0.5)
        assert_found(sets[view], case, f"mid_{view}")
    for view, other in (("weak", "strong"), ("strong", "weak")):
        truth, labels = case[f"in_gt_boxes_{view}"], case["in_gt_classes"]
        got = exchange.moved(sets[other], matrices[view] @ torch.linalg.inv(matrices[other]), frame)
        got = got.keep(exchange.is_new(truth, labels, got.boxes, got.labels, 0.4))
        boxes = torch.cat([truth, got.boxes])
        torch.testing.assert_close(boxes, case[f"out_{view}_gt_boxes"], rtol=1e-4, atol=1e-3)
        assert torch.equal(torch.cat([labels, got.labels]), case[f"out_{view}_gt_classes"])


@pytest.mark.parametrize("file", sorted((GOLDEN / "sparsedet").glob("merge_*.npz")), ids=lambda f: f.stem)
def test_published_confident_boxes(file: Path) -> None:
    case = load(file)
    frame = size(case, "in_size_hw")
    both, drawn = exchange.confident_added(
        box_ops.clip(case["in_gt_boxes"], frame),
        case["in_gt_classes"],
        found({**case, "in_pred_boxes": box_ops.clip(case["in_pred_boxes"], frame)}, "in_pred"),
        score=float(case["in_score_threshold"]),
        nms_iou=float(case["in_nms_threshold"]),
        truth_protected=False,
    )
    torch.testing.assert_close(both.boxes, case["out_boxes"], rtol=1e-4, atol=1e-3)
    assert torch.equal(both.labels, case["out_classes"])
    assert (both.scores[:drawn] == 1).all() and (both.scores[drawn:] > case["in_score_threshold"]).all()


def test_truth_is_never_suppressed_and_suppresses_what_repeats_it() -> None:
    truth = torch.tensor([[0.0, 0, 10, 10], [1, 1, 11, 11]])
    repeats = some([[1, 1, 11, 11], [30, 30, 40, 40]], [0, 0], [0.95, 0.95])
    both, drawn = exchange.confident_added(
        truth, torch.tensor([0, 0]), repeats, score=0.9, nms_iou=0.5, truth_protected=True
    )
    assert both.boxes.tolist() == [[0, 0, 10, 10], [1, 1, 11, 11], [30, 30, 40, 40]] and both.labels.tolist() == [0] * 3
    assert drawn == 2 and both.scores.tolist() == pytest.approx([1, 1, 0.95])


def test_a_label_that_another_one_suppresses_does_not_hide_what_was_found() -> None:
    truth = torch.tensor([[0.0, 0, 10, 10], [0, 0, 10, 9]])
    both, drawn = exchange.confident_added(
        truth,
        torch.tensor([0, 0]),
        some([[30, 30, 40, 40]], [0], [0.95]),
        score=0.9,
        nms_iou=0.5,
        truth_protected=False,
    )
    assert drawn == 1 and both.scores.tolist() == pytest.approx([1, 0.95])


def test_a_students_box_is_cut_at_0_where_there_are_boxes_of_both() -> None:
    beyond = some([[-5.0, -3, 20, 20]], [0], [0.7])
    assert exchange.revised(some([[50.0, 50, 60, 60]], [0], [0.9]), beyond, 0.5).boxes.tolist()[-1] == [0, 0, 20, 20]


def test_equality_is_on_the_side_of_the_teacher_and_half_overlap_neither_replaces_nor_adds() -> None:
    tie = exchange.revised(some([[0.0, 0, 10, 10]], [1], [0.7]), some([[0.0, 0, 10, 9]], [0], [0.7]), 0.5)
    assert tie.labels.tolist() == [1] and tie.boxes.tolist() == [[0, 0, 10, 10]]
    half = exchange.revised(some([[0.0, 0, 10, 10]], [1], [0.9]), some([[0.0, 0, 10, 5]], [0], [0.1]), 0.5)
    assert half.labels.tolist() == [0]


def test_copies_are_removed_and_empty_sets_are_legal() -> None:
    empty = some([], [], [])
    three = some([[0, 0, 5, 5]] * 3, [0, 1, 0], [0.5, 0.6, 0.7])
    assert exchange.without_copies(three).scores.tolist() == pytest.approx([0.5, 0.6])
    for teacher, student, count in ((empty, empty, 0), (three, empty, 3), (empty, three, 3)):
        assert len(exchange.revised(teacher, student, 0.5)) == count
    assert len(exchange.without_copies(empty)) == 0 and len(exchange.moved(empty, torch.eye(3).double(), (9, 9))) == 0
