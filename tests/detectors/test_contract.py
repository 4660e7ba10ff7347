"""What every detector must do, whatever it is."""

from dataclasses import replace

import pytest
import torch
from torch.nn import functional as F
from torchvision.ops import box_iou

from scantling.detectors.protocol import Detector
from scantling.target import Target
from tests.detectors.small import CLASSES, SIZES, small

NOTHING = [Target.empty(), Target.empty()]


def names(detector):
    return {"class", "box"} | ({"rpn_class", "rpn_box"} if detector.has_background else set())


def losses(detector, features, targets, sizes=SIZES, callback=None):
    torch.manual_seed(0)
    return detector.losses(features, targets, sizes, callback)


def test_it_is_a_detector(detector):
    assert isinstance(detector, Detector) and detector.classes == CLASSES


@pytest.mark.parametrize("empty", [False, True])
def test_every_learned_parameter_gets_a_finite_gradient(detector, images, targets, empty):
    found = losses(detector, detector.features(images, SIZES), NOTHING if empty else targets)
    assert set(found) == names(detector)
    assert all(loss.ndim == 0 and loss.isfinite() for loss in found.values())
    sum(found.values()).backward()
    for name, parameter in detector.named_parameters():
        if parameter.requires_grad:
            assert parameter.grad is not None and parameter.grad.isfinite().all(), name
        else:
            assert parameter.grad is None, name
    if not empty:
        assert detector.backbone.blocks[10].project.weight.grad.abs().sum() > 0


def test_empty_targets_have_no_box_losses(detector, images):
    found = losses(detector, detector.features(images, SIZES), NOTHING)
    assert all(found[name] == 0 for name in found if "box" in name)
    assert found["class"] > 0


def test_an_image_without_boxes_and_reliable_background_counts_as_zero(detector, images, targets):
    features = detector.features(images, SIZES)
    unreliable = [replace(t, background=False) for t in NOTHING]
    found = losses(detector, features, unreliable)
    assert all(loss == 0 and loss.requires_grad for loss in found.values())
    one, both = losses(detector, features, [targets[0], unreliable[1]]), losses(detector, features, targets)
    assert one["class"] > 0 and both["class"] > 0
    asked = []
    losses(detector, features, unreliable, callback=lambda i, b: asked.append(i) or torch.ones(len(b)))
    assert not asked


def test_without_background_only_the_boxes_are_learned(detector, images, targets):
    """No gradient may push a class (or objectness) down anywhere but at positives."""
    features = [f.detach() for f in detector.features(images, SIZES)]
    plain = losses(detector, features, targets)
    without = losses(detector, features, [replace(t, background=False) for t in targets])
    for name in plain:
        if "box" in name:
            torch.testing.assert_close(without[name], plain[name])
        else:
            assert 0 < without[name] < plain[name]


def test_weights_scale_and_remove(detector, images, targets):
    features = [f.detach() for f in detector.features(images, SIZES)]

    def with_weight(w):
        return losses(detector, features, [replace(t, weights=torch.full((len(t),), w)) for t in targets])

    zero, half, one = with_weight(0.0), with_weight(0.5), with_weight(1.0)
    for name in one:
        torch.testing.assert_close(half[name], (zero[name] + one[name]) / 2, rtol=1e-4, atol=1e-6)
        assert zero[name] == 0 if "box" in name else zero[name] < one[name]


def test_the_class_of_a_box_of_weight_zero_does_not_matter(detector, images, targets):
    features = [f.detach() for f in detector.features(images, SIZES)]
    weights, found = torch.tensor([1.0, 1, 0]), []
    for last in (0, 2):
        labels = torch.tensor([0, 1, last])
        found.append(losses(detector, features, [replace(targets[0], labels=labels, weights=weights), targets[1]]))
    assert found[0] == found[1]


def test_ignore_regions_are_no_background(detector, images):
    features = [f.detach() for f in detector.features(images, SIZES)]
    corners = torch.cartesian_prod(torch.arange(0.0, 128, 16), torch.arange(0.0, 96, 16))
    regions = torch.cat([torch.cat([corners - side / 2, corners + side / 2], dim=1) for side in (20, 40, 80)])

    def asked(ignore):
        boxes = []
        with_regions = [replace(t, ignore=ignore) for t in NOTHING]
        losses(detector, features, with_regions, callback=lambda i, b: boxes.append(b) or torch.ones(len(b)))
        return torch.cat(boxes)

    def touching(boxes):
        return (box_iou(boxes, regions) >= 0.3).any(dim=1).sum()

    assert touching(asked(torch.zeros(0, 4))) > 0
    left = asked(regions)
    assert len(left) > 0 and touching(left) == 0


def test_ignore_regions_lower_no_positive(detector, images, targets):
    features = [f.detach() for f in detector.features(images, SIZES)]
    plain = losses(detector, features, [replace(t, background=False) for t in targets])
    ignored = losses(detector, features, [replace(t, background=False, ignore=t.boxes) for t in targets])
    if not detector.has_background:  # Faster R-CNN draws another sample
        assert ignored == plain
    assert all(ignored[name] > 0 for name in plain)


def test_train_and_eval_mode_agree(detector, images, targets):
    outputs = []
    for mode in (True, False):
        detector.train(mode)
        features = detector.features(images, SIZES)
        outputs.append((losses(detector, features, targets), detector.detect(features, SIZES)))
    (train, found), (evaluation, again) = outputs
    assert train == evaluation
    assert all(torch.equal(a.boxes, b.boxes) for a, b in zip(found, again, strict=True))


def test_detections_keep_their_promises(detector, images):
    sizes = [(96, 128), (70, 90)]
    found = detector.detect(detector.features(images, sizes), sizes, score_threshold=0.2, limit=15)
    for d, (height, width) in zip(found, sizes, strict=True):
        assert 0 < len(d) <= 15 and d.boxes.dtype == torch.float32 and d.labels.dtype == torch.int64
        assert (d.scores[:-1] >= d.scores[1:]).all() and (d.scores > 0.2).all()
        assert (d.boxes >= 0).all() and (d.boxes[:, 2] <= width).all() and (d.boxes[:, 3] <= height).all()
        assert (d.boxes[:, 2:] > d.boxes[:, :2]).all()
        assert d.probabilities.shape == (len(d), 3)
        assert torch.equal(d.probabilities[torch.arange(len(d)), d.labels], d.scores)
        if detector.has_background:
            assert (d.probabilities.sum(dim=1) <= 1 + 1e-5).all()


def test_nothing_above_the_threshold_is_an_empty_result(detector, images):
    for d in detector.detect(detector.features(images, SIZES), SIZES, score_threshold=1.0):
        assert d.boxes.shape == (0, 4) and d.scores.shape == (0,) and d.probabilities.shape == (0, 3)


def test_scores_of_given_boxes(detector, images, targets):
    features = detector.features(images, SIZES)
    given = [targets[0].boxes, torch.zeros(0, 4)]
    (probabilities, refined), (none, no_box) = detector.score(features, given, SIZES)
    assert probabilities.shape == (3, 3) and refined.shape == (3, 3, 4)
    assert none.shape == (0, 3) and no_box.shape == (0, 3, 4)
    assert (refined >= 0).all() and (refined[..., 2] <= 128).all() and (refined[..., 3] <= 96).all()
    alone = detector.score([f[:1] for f in features], given[:1], SIZES[:1])[0]
    torch.testing.assert_close(alone, (probabilities, refined), rtol=1e-4, atol=1e-4)
    both = detector.score(features, [torch.zeros(0, 4)] * 2, SIZES)
    assert [p.shape for p, _ in both] == [(0, 3), (0, 3)]


def test_scores_carry_gradients_to_the_features(detector, images, targets):
    features = detector.features(images, SIZES)
    (probabilities, refined), _ = detector.score(features, [t.boxes for t in targets], SIZES)
    (probabilities.sum() + refined.sum()).backward()
    assert detector.neck.layer_blocks[0][0].weight.grad.abs().sum() > 0


@torch.no_grad()
def test_float_and_byte_images_agree_and_padding_does_not_matter(detector, images):
    image, size = images[:1], [(70, 90)]
    alone = F.pad(image[:, :, :70, :90], (0, 6, 0, 26))
    wide = torch.full((2, 3, 150, 170), 200, dtype=torch.uint8)  # rubbish beyond the size, another image in the batch
    wide[:1, :, :70, :90] = image[:, :, :70, :90]
    found = [
        detector.detect(detector.features(alone, size), size)[0],
        detector.detect(detector.features(alone.float(), size), size)[0],
        detector.detect(detector.features(wide, size + [(150, 170)]), size + [(150, 170)])[0],
    ]
    assert torch.equal(found[0].boxes, found[1].boxes) and len(found[0]) > 5
    best = found[0].keep(found[0].scores > found[0].scores[min(20, len(found[0]) - 1)])
    for box, score, label in zip(best.boxes, best.scores, best.labels, strict=True):
        close = (found[2].boxes - box).abs().amax(dim=1) < 0.5
        assert (close & (found[2].labels == label) & ((found[2].scores - score).abs() < 0.01)).any()


def test_features_have_the_strides_they_say(detector):
    features = detector.features(torch.zeros(1, 3, 65, 33, dtype=torch.uint8), [(65, 33)])
    assert [tuple(f.shape[-2:]) for f in features] == [(96 // s, 64 // s) for s in detector.strides]


def test_half_precision_keeps_coordinates(detector, images, targets):
    plain = losses(detector, [f.detach() for f in detector.features(images, SIZES)], targets)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        features = detector.features(images, SIZES)
        found = losses(detector, features, targets)
        detections = detector.detect(features, SIZES, score_threshold=0.1)
    sum(found.values()).backward()
    for name in plain:
        torch.testing.assert_close(found[name].float(), plain[name], rtol=0.2, atol=0.05)
    assert all(d.boxes.dtype == torch.float32 and d.scores.dtype == torch.float32 for d in detections)


def test_one_class(images, targets):
    for name in ("faster_rcnn_lite", "retinanet_lite"):
        detector = small(name, classes=("thing",))
        features = detector.features(images, SIZES)
        single = [replace(t, labels=torch.zeros_like(t.labels)) for t in targets]
        assert all(loss.isfinite() for loss in losses(detector, features, single).values())
        assert all((d.labels == 0).all() for d in detector.detect(features, SIZES))


def test_a_box_outside_of_the_image_does_no_harm(detector, images):
    far = [Target.of(torch.tensor([[900.0, 900, 910, 910]]), torch.tensor([0]))] * 2
    found = losses(detector, detector.features(images, SIZES), far)
    assert all(loss.isfinite() and loss < 100 for loss in found.values())


def test_a_box_without_area_does_no_harm(detector, images, targets):
    flat = Target.of(torch.tensor([[20.0, 20, 20, 60], [10, 12, 44, 40]]), torch.tensor([0, 1]))
    found = losses(detector, detector.features(images, SIZES), [flat, targets[1]])
    sum(found.values()).backward()
    assert all(loss.isfinite() for loss in found.values())
    assert detector.neck.layer_blocks[0][0].weight.grad.isfinite().all()
