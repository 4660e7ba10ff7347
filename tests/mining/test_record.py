"""What a training notes of the labels it found."""

import torch

from scantling.mining.record import COLUMNS, MOST, VIEW, Record
from scantling.target import Batch, Target


def view(scale: float = 2.0, image_id: int = 7) -> Batch:
    """A view of 40 x 60 pixels that shows its image enlarged, from its upper left corner on."""
    matrix = torch.diag(torch.tensor([scale, scale, 1.0], dtype=torch.float64))[None]
    return Batch(torch.zeros((1, 3, 40, 60), dtype=torch.uint8), [(40, 60)], [Target.empty()], matrix, [image_id])


def target(*corners: tuple[float, float, float, float], label: int = 1, score: float = 0.75) -> Target:
    boxes = torch.tensor(corners).reshape(-1, 4)
    n = len(boxes)
    return Target.of(boxes, torch.full((n,), label), scores=torch.full((n,), score))


def noting(steps: int = 10, views: int = 2) -> Record:
    record = Record()
    record.of(steps, views)
    record.at(1)
    return record


def test_boxes_come_back_to_the_image_with_the_part_that_the_view_shows() -> None:
    record = noting()
    record.see(view(), [target((10, 20, 30, 40))])
    rows = record.table()
    assert list(rows.columns) == COLUMNS
    assert (
        rows["label"].tolist() == [VIEW, 1] and rows["image_id"].tolist() == [7, 7] and rows["step"].tolist() == [1, 1]
    )
    assert rows[["x1", "y1", "x2", "y2"]].to_numpy().tolist() == [[0, 0, 30, 20], [5, 10, 15, 20]]
    assert rows["score"].tolist() == [1.0, 0.75]


def test_labels_that_were_there_are_not_found_ones() -> None:
    record, known = noting(), target((0, 0, 5, 5))
    record.see(view(), [target((0, 0, 5, 5), (10, 20, 30, 40))], [len(known)])
    assert record.table()["x1"].tolist() == [0.0, 5.0]


def test_a_box_that_teaches_no_class_is_left_out() -> None:
    record, found = noting(), target((0, 0, 5, 5), (10, 20, 30, 40))
    found.for_class = torch.tensor([False, True])
    record.see(view(), [found])
    assert record.table()["label"].tolist() == [VIEW, 1]


def test_a_view_in_which_nothing_was_found_is_noted_too() -> None:
    record = noting()
    record.see(view(image_id=3), [target()])
    record.see(view(image_id=4), [target()])
    assert record.table()["view"].tolist() == [0, 1] and record.table()["image_id"].tolist() == [3, 4]


def test_nothing_before_the_loop_begins() -> None:
    record = Record()
    record.see(view(), [target((0, 0, 5, 5))])
    assert len(record.table()) == 0 and list(record.table().columns) == COLUMNS


def test_of_a_long_training_steps_at_even_distances() -> None:
    record = Record()
    record.of(90_000, 8)
    for step in range(1, 1001):
        record.at(step)
        record.see(view(), [target()])
    steps = record.table()["step"].tolist()
    assert steps == list(range(180, 1001, 180)) and 90_000 * 8 / 180 <= MOST


def test_what_was_noted_survives_a_stop() -> None:
    record, other = noting(), noting()
    record.see(view(), [target((10, 20, 30, 40))])
    other.load_state_dict(record.state_dict())
    for one in (record, other):
        one.at(2)
        one.see(view(image_id=9), [target((2, 2, 4, 4), score=0.5)])
    assert other.table().equals(record.table()) and len(record.table()) == 4
