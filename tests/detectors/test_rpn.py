"""The proposal stage's parameters, one at a time."""

import pytest
import torch

from scantling.detectors.rpn import within
from scantling.target import Target
from tests.detectors.small import CLASSES, SIZES, small_of

ANCHORS = [torch.tensor([[0.0, 0, 16, 16], [2, 2, 18, 18], [40, 40, 41.5, 60]]), torch.tensor([[1.0, 1, 17, 17]])]


def proposals_of(rpn, size=(64, 64), valid=None):
    """Of four anchors that stay where they are, best first."""
    logits = torch.tensor([[4.0, 3, 1, 2]])
    ((found, scores),) = rpn.offered(logits, torch.zeros(1, 4, 4), ANCHORS, [size], rpn.params.test, valid)
    assert (scores[:-1] >= scores[1:]).all() and scores.shape == (len(found),)
    return found.tolist()


@pytest.mark.parametrize(
    ("values", "left"),
    [
        ({"nms_iou": 0.5}, [0, 3, 2]),  # the second overlaps the first, of the same level
        ({"nms_iou": 0.5, "nms_per_level": False}, [0, 2]),
        ({"nms_iou": 1.0}, [0, 1, 3, 2]),
        ({"nms_iou": 1.0, "min_side_px": 1.5}, [0, 1, 3]),
        ({"nms_iou": 1.0, "test": {"per_level": 2, "per_image": 2}}, [0, 1]),
        ({"nms_iou": 1.0, "test": {"per_level": 1, "per_image": 9}}, [0, 3]),
    ],
)
def test_which_proposals_survive(values, left):
    rpn = small_of("faster_rcnn", rpn=values).rpn
    assert proposals_of(rpn) == torch.cat(ANCHORS)[left].tolist()


def test_proposals_come_from_anchors_on_the_image_only(frcnn):
    valid = torch.tensor([[True, False, False, True]])
    assert proposals_of(frcnn.rpn, valid=valid) == torch.cat(ANCHORS)[[0, 3]].tolist()


def test_a_growth_beyond_the_limit_is_held():
    rpn = small_of("faster_rcnn", rpn={"coder": {"weights": [1.0, 1.0, 1.0, 2.0], "max_growth": 2.0}}).rpn
    grown = rpn.coder.decode_single(torch.full((1, 4), 9.0), torch.tensor([[0.0, 0, 10, 10]]))
    torch.testing.assert_close(grown[:, 2:] - grown[:, :2], torch.tensor([[20.0, 20.0]]))


def losses_of(detector, features, target):
    torch.manual_seed(0)
    return detector.losses(features, [target], SIZES[:1])


def test_losses_are_divided_by_the_anchors_drawn_or_wanted(images, targets):
    values = []
    for normalizer in ("drawn", "sampled"):
        # 2268 anchors, of which few are far from every box, cannot fill a sample of 4000
        detector = small_of("faster_rcnn", rpn={"normalizer": normalizer, "sampled": 4000, "positive_fraction": 1.0})
        features = detector.features(images[:1], SIZES[:1])
        values.append(losses_of(detector, features, targets[0]))
    for name in ("rpn_class", "rpn_box"):
        ratio = (values[1][name] / values[0][name]).item()
        assert 0.1 < ratio < 0.6  # anchors drawn / 4000
    ratios = [values[1][name] / values[0][name] for name in ("rpn_class", "rpn_box")]
    torch.testing.assert_close(*ratios)


def test_anchors_beyond_the_border_are_left_out_where_asked(images):
    anchors = torch.tensor([[-8.0, 0, 8, 16], [0, 0, 128, 96], [100, 80, 132, 96]])
    assert within(anchors, (96, 128), 0).tolist() == [False, True, False]
    assert within(anchors, (96, 128), 4).tolist() == [False, True, True]
    corner = Target.of(torch.tensor([[0.0, 38, 7, 58]]), torch.tensor([0]))  # its best anchor crosses the border
    boxes = []
    for border in (None, 0.0):
        detector = small_of("faster_rcnn", rpn={"border_px": border, "low_quality_iou": 0.397})
        features = detector.features(images[:1], SIZES[:1])
        boxes.append(losses_of(detector, features, corner)["rpn_box"])
    assert boxes[0] > 0 and boxes[1] == 0


def test_truth_boxes_are_regions_of_the_second_stage_where_asked(images, targets):
    nothing = [torch.zeros(0, 4)]
    for append in (True, False):
        roi = small_of("faster_rcnn", roi={"append_truth": append}).roi
        (sample,) = roi.sample(nothing, targets[:1], [targets[0].for_class])
        assert len(sample.rois) == (3 if append else 0) and sample.labels.tolist() == ([0, 1, 2] if append else [])
    assert len(CLASSES) == 3
