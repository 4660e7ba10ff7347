from dataclasses import replace

import torch

from scantling.detectors.assign import BACKGROUND, UNUSED, Rule, assign, assign_images, draw
from scantling.target import Target

RULE = Rule(positive_iou=0.5, negative_iou=0.4, low_quality_iou=0.0, ignore_iou=0.3)
NONE = torch.zeros(0, 4)


def boxes(*rows):
    return torch.tensor(rows, dtype=torch.float32).reshape(-1, 4)


def test_thresholds_split_candidates_in_three():
    truth = boxes([0, 0, 10, 10])
    candidates = boxes([0, 0, 10, 10], [0, 0, 10, 4.5], [0, 0, 10, 3], [50, 50, 60, 60])
    assert assign(candidates, truth, NONE, RULE).tolist() == [0, UNUSED, BACKGROUND, BACKGROUND]


def test_the_best_candidate_of_a_box_is_positive_but_keeps_the_box_it_overlaps_most():
    truth = boxes([0, 0, 10, 10], [0, 0, 30, 30])  # the only candidate is best for both, closer to the second
    assert assign(boxes([0, 0, 20, 22]), truth, NONE, RULE).tolist() == [1]
    without = replace(RULE, low_quality_iou=None)
    assert assign(boxes([0, 0, 20, 20]), truth, NONE, without).tolist() == [UNUSED]
    assert assign(boxes([0, 0, 10, 3]), boxes([0, 0, 10, 10]), NONE, replace(RULE, low_quality_iou=0.35)).tolist() == [
        BACKGROUND
    ]


def test_or_it_learns_the_box_whose_best_candidate_it_is():
    own = replace(RULE, own_box=True)
    truth = boxes([0, 0, 30, 30], [0, 0, 10, 10])  # the first candidate is best for both, closer to the first
    candidates = boxes([0, 0, 20, 22], [60, 60, 70, 70])
    assert assign(candidates, truth, NONE, RULE).tolist() == [0, BACKGROUND]
    assert assign(candidates, truth, NONE, own).tolist() == [1, BACKGROUND], "the last box that claims it"
    assert assign(candidates, truth, NONE, replace(own, low_quality_iou=0.3)).tolist() == [0, BACKGROUND]
    exact = boxes([0, 0, 30, 30], [0, 0, 10, 10])  # each box has its own
    assert assign(exact, truth, NONE, own).tolist() == [0, 1]


def test_background_may_have_to_lie_near_a_box():
    truth = boxes([0, 0, 10, 10])
    candidates = boxes([0, 0, 10, 10], [0, 0, 10, 4.5], [0, 0, 10, 3], [8, 0, 18, 10], [50, 50, 60, 60])
    found = assign(candidates, truth, NONE, RULE, 0.2)
    assert found.tolist() == [0, UNUSED, BACKGROUND, UNUSED, UNUSED]
    assert assign(candidates, NONE, NONE, RULE, 0.2).tolist() == [BACKGROUND] * 5, (
        "an image without a box is background"
    )
    far = boxes([50, 50, 70, 60])
    assert assign(far, boxes([50, 50, 52, 51]), NONE, RULE, 0.2).tolist() == [0], "the best one of a box stays its own"


def test_images_are_assigned_among_the_boxes_that_are_seen_and_the_candidates_in_use():
    target = Target.of(boxes([50, 50, 60, 60], [0, 0, 10, 10]), torch.tensor([0, 1]))
    candidates = boxes([0, 0, 10, 9], [50, 50, 60, 60], [0, 0, 10, 10])
    every, second = torch.tensor([True, True]), torch.tensor([False, True])
    found = assign_images([candidates] * 2, [target] * 2, [every, second], RULE)
    assert [m.tolist() for m in found] == [[1, 0, 1], [1, BACKGROUND, 1]]
    usable = torch.tensor([[True, True, False], [False, False, False]])
    found = assign_images([candidates] * 2, [target] * 2, [every, every], RULE, usable)
    assert [m.tolist() for m in found] == [[1, 0, UNUSED], [UNUSED] * 3]


def test_a_box_that_meets_no_candidate_makes_nothing_positive():
    candidates = boxes([0, 0, 10, 10], [20, 20, 30, 30])
    assert assign(candidates, boxes([100, 100, 110, 110]), NONE, RULE).tolist() == [BACKGROUND] * 2


def test_ignore_regions_take_out_background_but_no_positives():
    candidates = boxes([0, 0, 10, 10], [20, 0, 30, 10], [60, 0, 70, 10])
    ignore = boxes([0, 0, 10, 10], [20, 0, 30, 12])
    assert assign(candidates, boxes([0, 0, 10, 9]), ignore, RULE).tolist() == [0, UNUSED, BACKGROUND]
    assert assign(candidates, NONE, ignore, RULE).tolist() == [UNUSED, UNUSED, BACKGROUND]


def test_nothing_to_assign_is_legal():
    assert assign(NONE, boxes([0, 0, 1, 1]), NONE, RULE).shape == (0,)
    assert assign(boxes([0, 0, 1, 1]), NONE, NONE, RULE).tolist() == [BACKGROUND]


def test_draw_holds_its_counts_and_never_takes_unused():
    matched = torch.cat([torch.zeros(50), torch.full((30,), BACKGROUND), torch.full((40,), UNUSED)]).long()
    few = torch.tensor([0, BACKGROUND, UNUSED])
    (positive, negative), (one, rest) = draw([matched, few], per_image=20, positive_fraction=0.25)
    assert len(positive) == 5 and (matched[positive] == 0).all()
    assert len(negative) == 15 and (matched[negative] == BACKGROUND).all()
    assert one.tolist() == [0] and rest.tolist() == [1]


def test_an_image_with_a_seed_is_drawn_alike_in_any_batch() -> None:
    generator = torch.Generator().manual_seed(0)
    matched = [torch.randint(-2, 3, (400,), generator=generator) for _ in range(3)]
    options = {"per_image": 64, "positive_fraction": 0.25}
    together = draw(matched, **options, seeds=[5, 6, 7])
    (alone,) = draw(matched[1:2], **options, seeds=[6])
    assert all(torch.equal(a, b) for a, b in zip(together[1], alone, strict=True))
    positive, negative = alone
    assert len(positive) == 16 and len(negative) == 48
    assert (matched[1][positive] >= 0).all() and (matched[1][negative] == BACKGROUND).all()
    for rows in alone:
        assert (rows.diff() > 0).all()
    (other,) = draw(matched[1:2], **options, seeds=[6], stream=1)
    assert not torch.equal(other[0], positive)


def test_a_seeded_draw_is_uniform_and_takes_what_there_is() -> None:
    matched = [torch.tensor([0, 0, 0, 0, BACKGROUND, UNUSED])] * 2000
    drawn = draw(matched, per_image=4, positive_fraction=0.5, seeds=list(range(2000)))
    counts = torch.cat([positive for positive, _ in drawn]).bincount(minlength=4)
    assert (counts - 1000).abs().max() < 150 and all(negative.tolist() == [4] for _, negative in drawn)
    (empty,) = draw([torch.zeros(0, dtype=torch.int64)], per_image=4, positive_fraction=0.5, seeds=[1])
    assert [len(rows) for rows in empty] == [0, 0]
