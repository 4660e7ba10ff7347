"""Faster R-CNN against torchvision's own, and what only a two-stage detector does."""

from dataclasses import replace

import pytest
import torch
from torchvision.models.detection import FasterRCNN
from torchvision.models.detection.anchor_utils import AnchorGenerator
from torchvision.models.detection.faster_rcnn import FastRCNNPredictor, TwoMLPHead
from torchvision.models.detection.image_list import ImageList
from torchvision.ops import MultiScaleRoIAlign

from scantling.detectors.roi import Sample
from scantling.target import Target
from tests.detectors.small import CLASSES, SIZES, same_detections, small


class NoBackbone(torch.nn.Module):
    out_channels = 64


def torchvisions(ours):
    """torchvision's detector with the weights of ours; its background class is the first."""
    p, c = ours.params, len(CLASSES)
    theirs = FasterRCNN(
        NoBackbone(),
        rpn_anchor_generator=AnchorGenerator(
            tuple(tuple(sizes) for sizes in p.anchors.sizes_px), (tuple(p.anchors.ratios),) * 3
        ),
        rpn_pre_nms_top_n_train=p.rpn.train.per_level,
        rpn_post_nms_top_n_train=p.rpn.train.per_image,
        rpn_pre_nms_top_n_test=p.rpn.test.per_level,
        rpn_post_nms_top_n_test=p.rpn.test.per_image,
        box_batch_size_per_image=p.roi.sampled,
        box_roi_pool=MultiScaleRoIAlign(["0", "1", "2"], 7, 2),
        box_head=TwoMLPHead(64 * 49, p.roi.width),
        box_predictor=FastRCNNPredictor(p.roi.width, c + 1),
    )
    theirs.rpn.head.load_state_dict(ours.rpn.head.state_dict())
    theirs.roi_heads.box_head.load_state_dict(ours.roi.layers.state_dict())
    predictor = theirs.roi_heads.box_predictor
    with torch.no_grad():
        for name in ("weight", "bias"):
            ours_class, ours_box = getattr(ours.roi.class_logits, name), getattr(ours.roi.box_deltas, name)
            getattr(predictor.cls_score, name).copy_(ours_class.roll(1, dims=0))
            getattr(predictor.bbox_pred, name).copy_(torch.cat([torch.zeros_like(ours_box[:4]), ours_box]))
    return theirs


@pytest.fixture(scope="module")
def pair():
    ours = small(
        "faster_rcnn_lite",
        anchors={"rounded": True},
        rpn={"smooth_l1_beta": 1 / 9},
        roi={"width": 32, "aligned": False, "smooth_l1_beta": 1 / 9},
    )
    return ours, torchvisions(ours)


def test_plain_losses_are_torchvisions(pair, images, targets):
    ours, theirs = pair
    features = [f.detach() for f in ours.features(images, SIZES)]
    named = {str(i): f for i, f in enumerate(features)}
    plain = [{"boxes": t.boxes, "labels": t.labels + 1} for t in targets]
    theirs.train()
    torch.manual_seed(7)
    proposals, rpn = theirs.rpn(ImageList(images, SIZES), named, plain)
    _, heads = theirs.roi_heads(named, proposals, SIZES, plain)
    torch.manual_seed(7)
    losses = ours.losses(features, targets, SIZES)
    expected = {
        "rpn_class": rpn["loss_objectness"],
        "rpn_box": rpn["loss_rpn_box_reg"],
        "class": heads["loss_classifier"],
        "box": heads["loss_box_reg"],
    }
    assert all(value > 0 for value in expected.values())
    for name, value in expected.items():
        torch.testing.assert_close(losses[name], value, rtol=1e-5, atol=1e-6)


@torch.no_grad()
def test_detections_are_torchvisions(pair, images):
    ours, theirs = pair
    features = ours.features(images, SIZES)
    named = {str(i): f for i, f in enumerate(features)}
    theirs.eval()
    proposals, _ = theirs.rpn(ImageList(images, SIZES), named)
    expected, _ = theirs.roi_heads(named, proposals, SIZES)
    found = ours.detect(features, SIZES)
    assert all(len(one) == 100 for one in found)
    same_detections(found, expected, background_first=True)


def test_each_loss_sees_only_its_own_boxes(frcnn, images, targets):
    features = frcnn.features(images, SIZES)

    def losses(**hidden):
        torch.manual_seed(0)
        changed = [replace(t, **{k: torch.zeros_like(t.for_class) for k in hidden}) for t in targets]
        return frcnn.losses(features, changed, SIZES)

    plain, no_box = losses(), losses(for_box=False)
    assert no_box["box"] == 0 and plain["box"] > 0
    for name in ("rpn_class", "rpn_box", "class"):
        assert torch.equal(no_box[name], plain[name])
    no_class = losses(for_class=False)
    assert no_class["box"] > 0 and torch.equal(no_class["rpn_class"], plain["rpn_class"])
    logits, _ = frcnn.roi(features, [t.boxes for t in targets])
    assert no_class["class"] != plain["class"] and logits.shape == (5, 4)
    no_proposal = losses(for_objectness=False)
    assert no_proposal["rpn_box"] == 0 and no_proposal["box"] > 0


def test_the_box_loss_may_see_more_boxes_than_the_class_loss(frcnn, images, targets):
    """Soft Teacher: what the box loss learns must not depend on what the class loss sees."""
    features = frcnn.features(images, SIZES)
    proposals = [torch.zeros(0, 4)] * 2
    some = [replace(t, for_class=torch.arange(len(t)) == 0) for t in targets]
    for_class = frcnn.roi.sample(proposals, some, [t.for_class for t in some])
    for_box = frcnn.roi.sample(proposals, some, [t.for_box for t in some])
    assert [len(s.boxes) for s in for_class] == [1, 1] and [len(s.boxes) for s in for_box] == [3, 2]
    assert frcnn.losses(features, some, SIZES)["box"] > 0


def test_background_weight_is_asked_for_the_drawn_background_and_normalizes(frcnn, images, targets):
    features = [f.detach() for f in frcnn.features(images, SIZES)]
    asked = {}

    def weight(image, boxes):
        assert not torch.is_grad_enabled()
        asked[image] = boxes
        return torch.full((len(boxes),), 0.25)

    def losses(callback):
        torch.manual_seed(0)
        return frcnn.losses(features, targets, SIZES, callback)

    plain, quarter = losses(None), losses(weight)
    assert set(asked) == {0, 1} and all(boxes.shape[1] == 4 and len(boxes) > 0 for boxes in asked.values())
    assert torch.equal(plain["box"], quarter["box"])
    torch.testing.assert_close(losses(lambda i, b: torch.ones(len(b)))["class"], plain["class"])
    none = losses(lambda i, b: torch.zeros(len(b)))["class"]
    assert abs(none - plain["class"]) > 0.01 and abs(quarter["class"] - plain["class"]) > 0.01
    background = sum(len(b) for b in asked.values())
    samples_total = 2 * frcnn.roi.params.sampled
    positives = samples_total - background
    # plain * all = none * positives + background terms, and the same with a quarter of the latter
    rest = plain["class"] * samples_total - none * positives
    expected = (none * positives + 0.25 * rest) / (positives + 0.25 * background)
    torch.testing.assert_close(quarter["class"], expected, rtol=1e-4, atol=1e-5)


def test_a_teacher_can_label_with_the_proposal_counts_of_training(images):
    few = {"per_level": 4, "per_image": 3}
    many = small("faster_rcnn_lite", roi={"width": 32}, rpn={"train": few})
    same = small("faster_rcnn_lite", roi={"width": 32}, rpn={"train": few, "label_with": "train"})
    features = many.features(images, SIZES)
    found = same.detect(features, SIZES, nms_iou=1.0, labeling=True)
    assert all(1 <= len({tuple(p.tolist()) for p in d.probabilities}) <= 3 for d in found)
    for detector, labeling in ((same, False), (many, False), (many, True)):
        assert len(detector.detect(features, SIZES, nms_iou=1.0, labeling=labeling)[0]) > 9


def test_class_agnostic_boxes_are_repeated(images, targets):
    agnostic = small("faster_rcnn_lite", roi={"width": 32, "class_specific_boxes": False})
    features = agnostic.features(images, SIZES)
    (_, refined), _ = agnostic.score(features, [t.boxes for t in targets], SIZES)
    assert refined.shape == (3, 3, 4) and torch.equal(refined[:, 0], refined[:, 2])
    assert agnostic.losses(features, targets, SIZES)["box"].isfinite()


def test_focal_gamma_lowers_the_class_loss(images, targets):
    values = []
    for gamma in (0.0, 1.5):
        detector = small("faster_rcnn_lite", roi={"width": 32, "focal_gamma": gamma})
        torch.manual_seed(0)
        values.append(detector.losses(detector.features(images, SIZES), targets, SIZES))
    assert values[1]["class"] < values[0]["class"] and values[1]["rpn_class"] == values[0]["rpn_class"]


def test_a_sample_keeps_positives_first(frcnn):
    target = Target.of(torch.tensor([[0.0, 0, 20, 20]]), torch.tensor([1]))
    proposals = torch.tensor([[50.0, 50, 60, 60], [1, 1, 20, 20]])
    (sample,) = frcnn.roi.sample([proposals], [target], [target.for_class])
    assert isinstance(sample, Sample) and sample.labels.tolist() == [1, 1]
    assert {tuple(b) for b in sample.positives.tolist()} == {(1, 1, 20, 20), (0, 0, 20, 20)}
    assert sample.negatives.tolist() == [[50, 50, 60, 60]]
