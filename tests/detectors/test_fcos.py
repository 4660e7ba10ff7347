"""FCOS against torchvision's own and against Co-Student's recorded numbers."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from torchvision.models.detection import FCOS as TorchvisionFcos
from torchvision.models.detection.anchor_utils import AnchorGenerator
from torchvision.models.detection.image_list import ImageList

from scantling.detectors.assign import BACKGROUND, UNUSED
from scantling.detectors.dense import Predictions
from scantling.detectors.fcos import centerness_of, distances, fitting, middle
from scantling.detectors.towers import by_place
from scantling.params import ParamsError
from scantling.target import Target
from tests.detectors.small import CLASSES, GOLDEN, SIZES, same_detections, small_of

STRIDES = (8, 16, 32)


def recorded(name):
    return {k: torch.from_numpy(v) for k, v in np.load(GOLDEN / "co_student" / f"{name}.npz").items()}


def levels(case, name):
    return [case[f"{name}_l{i}"] for i in range(3)]


def squares(case):
    """Places of the recorded locations: a square of one stride around each."""
    return torch.cat([at(x, stride=s) for x, s in zip(levels(case, "in_locations"), STRIDES, strict=True)])


def at(locations, stride=8):
    corner = torch.as_tensor(locations, dtype=torch.float32) - stride / 2
    return torch.cat([corner, corner + stride], dim=1)


@pytest.fixture(scope="module")
def in_pixels():
    """A detector that reads distances in pixels, as they are recorded."""
    return small_of("fcos", head={"distances_in_strides": False})


@pytest.mark.parametrize("name", ["decode_student_thr05", "decode_teacher_thr06"])
def test_decoding_is_the_published_one(in_pixels, name):
    case = recorded(name)
    logits = levels(case, "in_cls_logits")
    found = Predictions(
        torch.cat(logits)[None],
        torch.cat(levels(case, "in_ltrb"))[None],
        squares(case),
        [len(level) for level in logits],
        torch.cat(levels(case, "in_centerness_logits"))[None, :, 0],
    )
    assert in_pixels.head.candidates_per_level == case["in_topk_per_level"]
    asked = {"score_threshold": case["in_score_threshold"].item(), "nms_iou": case["in_nms_threshold"].item()}
    (best,) = in_pixels.detections(found, [None], in_pixels.params.detect.model_copy(update=asked))
    torch.testing.assert_close(best.scores, case["out_scores"], rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(best.boxes, case["out_boxes"], rtol=1e-4, atol=1e-3)
    assert best.labels.tolist() == case["out_classes"].tolist()
    class_probability = best.probabilities[torch.arange(len(best)), best.labels]
    assert (class_probability > asked["score_threshold"]).all() and (best.scores < asked["score_threshold"]).any()


def test_assignment_and_losses_are_the_published_ones():
    detector = small_of("fcos", classes=("a", "b", "c", "d"), head={"distances_in_strides": False})
    case = recorded("loss_two_images")
    logits, ltrb, centerness = (
        [by_place(x, columns) for x in levels(case, name)]
        for name, columns in (("in_pred_cls", 4), ("in_pred_ltrb", 4), ("in_pred_ctr", 1))
    )
    found = Predictions(
        torch.cat(logits, 1),
        torch.cat(ltrb, 1),
        squares(case),
        [x.shape[1] for x in logits],
        torch.cat(centerness, 1)[..., 0],
    )
    targets = [Target.of(case[f"in_boxes_img{i}"], case[f"in_classes_img{i}"]) for i in range(2)]
    matched = detector.assign(found, targets, [t.for_class for t in targets])
    for i, (m, target) in enumerate(zip(matched, targets, strict=True)):
        labels = torch.where(m >= 0, target.labels[m.clamp(min=0)], 4)
        assert labels.tolist() == case["out_labels"][i].tolist() and (m >= 0).any()
        places, boxes = found.places[m >= 0], target.boxes[m[m >= 0]]
        torch.testing.assert_close(distances(middle(places), boxes), case["out_ltrb"][i][m >= 0], rtol=1e-4, atol=1e-3)
        torch.testing.assert_close(centerness_of(places, boxes), case["out_centerness"][i][m >= 0])
    losses = {"class": detector.class_loss(found, matched, targets), **detector.box_losses(found, matched, targets)}
    for name, recorded_name in (("class", "cls"), ("box", "reg"), ("centerness", "ctr")):
        assert losses[name].item() == pytest.approx(case[f"out_loss_{recorded_name}"].item(), rel=1e-4, abs=1e-5)


class NoBackbone(torch.nn.Module):
    out_channels = 64


@pytest.fixture(scope="module")
def pair():
    """Ours with torchvision's settings, and torchvision's with the weights of ours."""
    head = {"centerness_weighs_box": False, "threshold_on": "score", "clip_before_nms": True}
    ours = small_of("fcos", head={**head, "candidates_per_level": 12, "prior": 0.2, "tower_depth": 4})
    theirs = TorchvisionFcos(
        NoBackbone(),
        len(CLASSES),
        anchor_generator=AnchorGenerator(((8,), (16,), (32,)), ((1.0,),) * 3),
        topk_candidates=12,
        score_thresh=0.2,
    )
    theirs.head.classification_head.load_state_dict(ours.class_head.state_dict())
    theirs.head.regression_head.load_state_dict(ours.box_head.state_dict())
    return ours, theirs


def test_losses_are_torchvisions(pair, images, targets):
    ours, theirs = pair
    features = [f.detach() for f in ours.features(images, SIZES)]
    anchors = theirs.anchor_generator(ImageList(images, SIZES), features)
    plain = [{"boxes": t.boxes, "labels": t.labels} for t in targets]
    expected = theirs.compute_loss(plain, theirs.head(features), anchors, [f.shape[2] * f.shape[3] for f in features])
    losses = ours.losses(features, targets, SIZES)
    assert list(losses) == ["class", "box", "centerness"]
    for value, wanted in zip(losses.values(), expected.values(), strict=True):
        assert wanted > 0
        torch.testing.assert_close(value, wanted, rtol=1e-5, atol=1e-6)


@torch.no_grad()
def test_detections_are_torchvisions(pair, images):
    ours, theirs = pair
    features = ours.features(images, SIZES)
    counts = [f.shape[2] * f.shape[3] for f in features]
    outputs = {name: list(out.split(counts, dim=1)) for name, out in theirs.head(features).items()}
    anchors = [list(a.split(counts)) for a in theirs.anchor_generator(ImageList(images, SIZES), features)]
    wanted = theirs.postprocess_detections(outputs, anchors, SIZES)
    same_detections(ours.detect(features, SIZES, score_threshold=0.2), wanted)


EVERYWHERE = torch.tensor([[-1.0, torch.inf]])


def test_a_location_learns_boxes_whose_center_it_is_in():
    box = torch.tensor([[0.0, 0, 80, 60]])
    places = at([(40, 30), (51, 30), (52, 30), (0, 30), (40, 41.9)])
    assert fitting(places, box, EVERYWHERE, 1.5)[:, 0].tolist() == [True, True, False, False, True]
    assert fitting(places, box, EVERYWHERE, 0)[:, 0].tolist() == [True, True, True, False, True]
    narrow = torch.tensor([[0.0, 0, 80, 4]])  # the center is cut by the box
    assert fitting(at([(40, 2), (40, 5)]), narrow, EVERYWHERE, 1.5)[:, 0].tolist() == [True, False]


def test_a_location_learns_boxes_that_fit_its_level_both_ends_included():
    box = torch.tensor([[0.0, 0, 128, 20]])
    for low, high, fits in ((64, 128, True), (-1, 64, True), (64.5, 128, False), (-1, 63, False)):
        assert fitting(at([(64, 8)]), box, torch.tensor([[float(low), high]]), 1.5).item() is fits


def found_of(detector, size=(96, 128)):
    features = detector.features(torch.zeros(1, 3, *size, dtype=torch.uint8), [size])
    return detector.predict(features, [size])


def test_the_smallest_box_wins_and_of_equal_ones_the_first(fcos):
    boxes = torch.tensor([[8.0, 8, 58, 58], [16, 16, 48, 48], [16, 16, 48, 48]])
    (matched,) = fcos.assign(found_of(fcos), [Target.of(boxes, torch.tensor([0, 1, 2]))], [torch.ones(3).bool()])
    assert set(matched.tolist()) == {BACKGROUND, 1}


def test_locations_in_an_ignore_region_of_their_size_are_left_out(fcos):
    found = found_of(fcos)
    region = torch.tensor([[8.0, 8, 58, 58]])
    target = replace(Target.empty(), ignore=region)
    (matched,) = fcos.assign(found, [target], [torch.zeros(0).bool()])
    location = middle(found.places)
    within = ((location > 8) & (location < 58)).all(dim=1)
    finest = torch.arange(len(location)) < found.counts[0]
    assert torch.equal(matched == UNUSED, within & finest)
    as_truth = Target.of(region, torch.tensor([0]))
    (positive,) = fcos.assign(found, [as_truth], [torch.ones(1).bool()])
    assert ((matched == UNUSED) | (positive < 0)).all(), "what the region would teach is never background"
    both = replace(as_truth, ignore=region)
    (matched,) = fcos.assign(found, [both], [torch.ones(1).bool()])
    assert torch.equal(matched >= 0, positive >= 0)


def test_background_may_have_to_lie_near_a_box(fcos):
    found, box = found_of(fcos), torch.tensor([[24.0, 24, 40, 40]])
    seen = [torch.ones(1).bool()]
    (plain,) = fcos.assign(found, [Target.of(box, torch.tensor([0]))], seen)
    (matched,) = fcos.assign(found, [Target.of(box, torch.tensor([0]), background_from_iou=0.25)], seen)
    location = middle(found.places)
    within = ((location > 16) & (location < 48)).all(dim=1)  # twice the sides: a quarter of that area is the box
    assert torch.equal(matched >= 0, plain >= 0) and torch.equal(matched == BACKGROUND, within & (plain < 0))
    (empty,) = fcos.assign(found, [replace(Target.empty(), background_from_iou=0.25)], [torch.zeros(0).bool()])
    assert (empty == BACKGROUND).all()


def test_the_location_of_a_cell_can_be_moved(images):
    corner, half = small_of("fcos"), small_of("fcos", head={"location_offset": 0.5})
    features = corner.features(images, SIZES)
    a, b = corner.predict(features, SIZES), half.predict(features, SIZES)
    assert torch.equal(a.raw, b.raw) and torch.equal(a.places[:192] + 4, b.places[:192])
    torch.testing.assert_close(corner.decode(a.raw[0], a.places)[:192] + 4, half.decode(b.raw[0], b.places)[:192])


def test_scales_of_levels_are_learned_where_asked_for(images, targets):
    learned, fixed = small_of("fcos"), small_of("fcos", head={"level_scales": False})
    for detector in (learned, fixed):
        sum(detector.losses(detector.features(images, SIZES), targets, SIZES).values()).backward()
    assert learned.scales.grad[0] != 0 and fixed.scales.grad is None


def test_box_loss_is_a_mean_weighted_by_centerness(fcos, images, targets):
    features = [f.detach() for f in fcos.features(images, SIZES)]
    found = fcos.predict(features, SIZES)
    matched = fcos.assign(found, targets, [t.for_box for t in targets])
    weighted = fcos.box_losses(found, matched, targets)["box"]
    plain = small_of("fcos", head={"centerness_weighs_box": False}).box_losses(found, matched, targets)["box"]
    assert 0 < weighted < 2 and 0 < plain < 2 and weighted != plain
    log_iou = small_of("fcos", head={"box_loss": "iou"}).box_losses(found, matched, targets)["box"]
    assert log_iou.isfinite() and log_iou != weighted


def test_background_weight_is_asked_about_what_locations_predict(fcos, images, targets):
    features = [f.detach() for f in fcos.features(images, SIZES)]
    found, asked = fcos.predict(features, SIZES), {}

    def weight(image, boxes):
        assert not torch.is_grad_enabled()
        asked[image] = boxes
        return torch.full((len(boxes),), 0.5)

    losses = [
        fcos.losses(features, targets, SIZES, w)["class"] for w in (None, weight, lambda i, b: torch.zeros(len(b)))
    ]
    torch.testing.assert_close(losses[1], (losses[0] + losses[2]) / 2)
    matched = fcos.assign(found, targets, [t.for_class for t in targets])
    for i, m in enumerate(matched):
        torch.testing.assert_close(asked[i], fcos.decode(found.raw[i], found.places)[m == BACKGROUND])


def test_size_limits_must_fit_the_pyramid():
    for wrong in ([64.0], [128.0, 64.0]):
        with pytest.raises(ParamsError, match="give 2 growing sizes, one between each two of the pyramid's levels"):
            small_of("fcos", head={"size_limits_px": wrong})
