"""What every detector must do, whatever it is: every parameter file, shrunk (tests/detectors/small.py)."""

import copy
from dataclasses import replace

import pytest
import torch
from torch.nn import functional as F
from torchvision.ops import box_iou

from scantling import checkpoint
from scantling.detectors.padding import valid_cells
from scantling.detectors.protocol import Detector
from scantling.target import Target
from tests.detectors.small import CLASSES, SIZES, same_detections, small

NOTHING = [Target.empty(), Target.empty()]
RAGGED = [(65, 90), (96, 128)]


def losses(detector, features, targets, sizes=SIZES, callback=None):
    torch.manual_seed(0)
    return detector.losses(features, targets, sizes, callback)


def is_of_a_class(name):
    """Losses that push scores, as opposed to those that move boxes."""
    return name.endswith("class")


def test_it_is_a_detector(detector):
    assert isinstance(detector, Detector) and detector.classes == CLASSES


@pytest.mark.parametrize("empty", [False, True])
def test_every_learned_parameter_gets_a_finite_gradient(detector, images, targets, empty):
    found = losses(detector, detector.features(images, SIZES), NOTHING if empty else targets)
    assert {"class", "box"} <= set(found)
    assert all(loss.ndim == 0 and loss.isfinite() for loss in found.values())
    sum(found.values()).backward()
    for name, parameter in detector.named_parameters():
        if parameter.requires_grad:
            assert parameter.grad is not None and parameter.grad.isfinite().all(), name
        else:
            assert parameter.grad is None, name
    if not empty:
        assert any(p.grad is not None and p.grad.abs().sum() > 0 for p in detector.backbone.parameters())


def test_empty_targets_have_no_box_losses(detector, seen):
    found = losses(detector, seen, NOTHING)
    assert all((loss > 0) if is_of_a_class(name) else (loss == 0) for name, loss in found.items())


def test_an_image_without_boxes_and_reliable_background_counts_as_zero(detector, seen, targets):
    unreliable = [replace(t, background=False) for t in NOTHING]
    found = losses(detector, seen, unreliable)
    assert all(loss == 0 and loss.requires_grad for loss in found.values())
    one, both = losses(detector, seen, [targets[0], unreliable[1]]), losses(detector, seen, targets)
    assert one["class"] > 0 and both["class"] > 0
    asked = []
    losses(detector, seen, unreliable, callback=lambda i, b: asked.append(i) or torch.ones(len(b)))
    assert not asked


def test_without_background_only_the_boxes_are_learned(detector, seen, targets):
    """No gradient may push a class (or objectness) down anywhere but at positives."""
    plain = losses(detector, seen, targets)
    without = losses(detector, seen, [replace(t, background=False) for t in targets])
    for name in plain:
        if is_of_a_class(name):
            assert 0 < without[name] < plain[name]
        else:
            torch.testing.assert_close(without[name], plain[name])


def test_losses_are_linear_in_the_weights(detector, seen, targets):

    def with_weight(w):
        return losses(detector, seen, [replace(t, weights=torch.full((len(t),), w)) for t in targets])

    zero, half, one = with_weight(0.0), with_weight(0.5), with_weight(1.0)
    for name in one:
        torch.testing.assert_close(half[name], (zero[name] + one[name]) / 2, rtol=1e-4, atol=1e-6)
        assert zero[name] < one[name] if is_of_a_class(name) else zero[name] == 0


def test_the_class_of_a_box_of_weight_zero_does_not_matter(detector, seen, targets):
    weights, found = torch.tensor([1.0, 1, 0]), []
    for last in (0, 2):
        labels = torch.tensor([0, 1, last])
        found.append(losses(detector, seen, [replace(targets[0], labels=labels, weights=weights), targets[1]]))
    assert found[0] == found[1]


def test_each_loss_sees_only_its_own_boxes(detector, seen, targets):

    def hiding(flag):
        hidden = [replace(t, **{flag: torch.zeros_like(t.for_class)}) for t in targets]
        return losses(detector, seen, hidden)

    plain, empty = losses(detector, seen, targets), losses(detector, seen, NOTHING)
    of_proposals = {name for name in plain if name.startswith("rpn_")}
    no_box, no_class, no_proposal = hiding("for_box"), hiding("for_class"), hiding("for_objectness")
    for name in plain:
        if name in of_proposals:
            assert no_box[name] == no_class[name] == plain[name]
            assert no_proposal[name] == empty[name] != plain[name]
        elif is_of_a_class(name):
            assert no_box[name] == plain[name] and 0 < no_class[name] != plain[name]
        else:
            assert no_box[name] == 0 and no_class[name] > 0
    if not of_proposals:  # a single stage has one assignment for each kind of loss, and no use for the third flag
        assert no_proposal == plain and no_class["class"] == empty["class"] and no_class["box"] == plain["box"]


def test_background_weight_is_asked_for_background_without_gradient(detector, seen, targets):
    asked = {}

    def weight(image, boxes):
        assert not torch.is_grad_enabled() and boxes.shape[1] == 4 and boxes.dtype == torch.float32
        asked[image] = len(boxes)
        return torch.zeros(len(boxes))

    none, plain = losses(detector, seen, targets, callback=weight), losses(detector, seen, targets)
    ones = losses(detector, seen, targets, callback=lambda i, b: torch.ones(len(b)))
    assert set(asked) == {0, 1} and all(n > 0 for n in asked.values())
    torch.testing.assert_close(ones, plain)
    assert all((none[name] == plain[name]) != (name == "class") for name in plain)


def test_ignore_regions_are_no_background(detector, seen):
    corners = torch.cartesian_prod(torch.arange(0.0, 128, 16), torch.arange(0.0, 96, 16))
    regions = torch.cat([torch.cat([corners - side / 2, corners + side / 2], dim=1) for side in (20, 40, 80)])

    def asked(ignore):
        boxes = []
        with_regions = [replace(t, ignore=ignore) for t in NOTHING]
        losses(detector, seen, with_regions, callback=lambda i, b: boxes.append(b) or torch.ones(len(b)))
        return torch.cat(boxes)

    def touching(boxes):
        return (box_iou(boxes, regions) >= 0.3).any(dim=1).sum()

    plain, left = asked(torch.zeros(0, 4)), asked(regions)
    if hasattr(detector.params, "ignore_iou"):
        assert touching(plain) > 0 and len(left) > 0 and touching(left) == 0
    else:
        assert 0 < len(left) < len(plain)


def test_ignore_regions_lower_no_positive(detector, seen, targets):
    plain = losses(detector, seen, [replace(t, background=False) for t in targets])
    ignored = losses(detector, seen, [replace(t, background=False, ignore=t.boxes) for t in targets])
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
        assert (d.scores[:-1] >= d.scores[1:]).all() and not d.scores.requires_grad
        assert (d.boxes >= 0).all() and (d.boxes[:, 2] <= width).all() and (d.boxes[:, 3] <= height).all()
        assert (d.boxes[:, 2:] > d.boxes[:, :2]).all()
        assert d.probabilities.shape == (len(d), 3)
        of_class = d.probabilities[torch.arange(len(d)), d.labels]
        assert (of_class > 0.2).all() and (d.scores <= of_class.sqrt() + 1e-6).all() and (d.scores > 0).all()
        if detector.has_background:
            assert torch.equal(of_class, d.scores) and (d.probabilities.sum(dim=1) <= 1 + 1e-5).all()


def test_thresholds_are_those_of_the_parameters_unless_given(detector, seen):
    own = detector.params.detect
    given = {"score_threshold": own.score_threshold, "nms_iou": own.nms_iou, "limit": own.limit}
    for a, b in zip(detector.detect(seen, SIZES), detector.detect(seen, SIZES, **given), strict=True):
        assert torch.equal(a.boxes, b.boxes) and len(a) <= own.limit
    few, all_of_them = detector.detect(seen, SIZES, limit=3), detector.detect(seen, SIZES, limit=10_000)
    apart = detector.detect(seen, SIZES, limit=10_000, nms_iou=0.01)
    assert [len(a) for a in few] == [3, 3] and sum(map(len, apart)) < sum(map(len, all_of_them))


def test_nothing_above_the_threshold_is_an_empty_result(detector, seen):
    for d in detector.detect(seen, SIZES, score_threshold=1.0):
        assert d.boxes.shape == (0, 4) and d.scores.shape == (0,) and d.probabilities.shape == (0, 3)


def test_scores_of_given_boxes(detector, seen, targets):
    given = [targets[0].boxes, torch.zeros(0, 4)]
    (probabilities, refined), (none, no_box) = detector.score(seen, given, SIZES)
    assert probabilities.shape == (3, 3) and refined.shape == (3, 3, 4)
    assert none.shape == (0, 3) and no_box.shape == (0, 3, 4)
    assert (refined >= 0).all() and (refined[..., 2] <= 128).all() and (refined[..., 3] <= 96).all()
    alone = detector.score([f[:1] for f in seen], given[:1], SIZES[:1])[0]
    torch.testing.assert_close(alone, (probabilities, refined), rtol=1e-4, atol=1e-4)
    both = detector.score(seen, [torch.zeros(0, 4)] * 2, SIZES)
    assert [p.shape for p, _ in both] == [(0, 3), (0, 3)]


@torch.no_grad()
def test_scores_of_what_was_detected(detector, seen):
    found = detector.detect(seen, SIZES, score_threshold=0.1, limit=20)
    for d, (probabilities, refined) in zip(found, detector.score(seen, [d.boxes for d in found], SIZES), strict=True):
        assert len(d) > 5 and (probabilities >= 0).all() and refined.shape == (len(d), 3, 4)
        if detector.has_background:  # the head looks again, at the refined box
            assert (probabilities.sum(dim=1) <= 1 + 1e-5).all()
        else:  # a detection gets its own values again
            torch.testing.assert_close(probabilities, d.probabilities)
            torch.testing.assert_close(refined[:, 0], d.boxes)


def test_scores_carry_gradients_to_the_features(detector, images, targets):
    features = detector.features(images, SIZES)
    (probabilities, refined), _ = detector.score(features, [t.boxes for t in targets], SIZES)
    (probabilities.sum() + refined.sum()).backward()
    assert sum(block[0].weight.grad.abs().sum() for block in detector.neck.layer_blocks) > 0


def alone(detector, features, image, size):
    """The features an image would have without the padding of its batch."""
    multiple = detector.params.input.pad_multiple_px
    height, width = (-(-side // multiple) * multiple for side in size)
    return [
        f[image : image + 1, :, : -(-height // s), : -(-width // s)]
        for f, s in zip(features, detector.strides, strict=True)
    ]


@torch.no_grad()
def test_padding_changes_nothing_after_the_neck(detector, images, targets):
    features = detector.features(images, RAGGED)
    for f, stride in zip(features, detector.strides, strict=True):
        assert (f * (1 - valid_cells(f, RAGGED, stride))).abs().max() == 0
    together = detector.detect(features, RAGGED, score_threshold=0.1)
    scored = detector.score(features, [t.boxes for t in targets], RAGGED)
    for i, size in enumerate(RAGGED):
        own = alone(detector, features, i, size)
        (single,) = detector.detect(own, [size], score_threshold=0.1)
        assert len(single) == len(together[i]) > 5 and torch.equal(single.labels, together[i].labels)
        torch.testing.assert_close(single.boxes, together[i].boxes, rtol=1e-4, atol=1e-3)
        torch.testing.assert_close(single.scores, together[i].scores, rtol=1e-4, atol=1e-5)
        for a, b in zip(detector.score(own, [targets[i].boxes], [size])[0], scored[i], strict=True):
            torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-3)


@torch.no_grad()
def test_a_single_stage_learns_the_same_with_and_without_padding(detector, images):
    """A two-stage detector draws other samples; that its candidates lie on the image is asked above."""
    if detector.has_background:
        return
    features = detector.features(images, RAGGED)
    together = losses(detector, features, NOTHING, RAGGED)["class"]
    single = [
        losses(detector, alone(detector, features, i, size), NOTHING[:1], [size])["class"]
        for i, size in enumerate(RAGGED)
    ]
    torch.testing.assert_close(together, sum(single), rtol=1e-4, atol=1e-5)  # no positives, so both are plain sums


@torch.no_grad()
def test_float_and_byte_images_agree_and_padding_does_not_matter(detector, images):
    image, size = images[:1], [(70, 90)]
    cut = F.pad(image[:, :, :70, :90], (0, 6, 0, 26))
    wide = torch.full((2, 3, 150, 170), 200, dtype=torch.uint8)  # rubbish beyond the size, another image in the batch
    wide[:1, :, :70, :90] = image[:, :, :70, :90]
    found = [
        detector.detect(detector.features(cut, size), size)[0],
        detector.detect(detector.features(cut.float(), size), size)[0],
        detector.detect(detector.features(wide, size + [(150, 170)]), size + [(150, 170)])[0],
    ]
    assert torch.equal(found[0].boxes, found[1].boxes) and len(found[0]) > 5
    same_detections(found[2:], [vars(found[0])])


@pytest.mark.parametrize("size", [(65, 33), (32, 32), (31, 97)])
def test_one_image_of_any_size(detector, size):
    image = torch.randint(0, 256, (1, 3, *size), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    features = detector.features(image, [size])
    height, width = (-(-side // 32) * 32 for side in size)
    assert [tuple(f.shape[-2:]) for f in features] == [(-(-height // s), -(-width // s)) for s in detector.strides]
    target = Target.of(torch.tensor([[2.0, 2, 28, 26]]), torch.tensor([1]))
    found = losses(detector, features, [target], [size])
    assert all(loss.isfinite() and (loss > 0 or not is_of_a_class(name)) for name, loss in found.items())
    assert len(detector.detect(features, [size], score_threshold=0.01)) == 1


def test_half_precision_keeps_coordinates(detector, images, seen, targets):
    plain = losses(detector, seen, targets)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        features = detector.features(images, SIZES)
        found = losses(detector, features, targets)
        detections = detector.detect(features, SIZES, score_threshold=0.1)
        detector.detect(detector.features(images, RAGGED), RAGGED)
    sum(found.values()).backward()
    for name in plain:
        torch.testing.assert_close(found[name].float(), plain[name], rtol=0.2, atol=0.05)
    assert all(d.boxes.dtype == torch.float32 and d.scores.dtype == torch.float32 for d in detections)


def test_one_class(detector, images, targets, request):
    single = small(request.node.callspec.params["built"], classes=("thing",))
    features = single.features(images, SIZES)
    of_one = [replace(t, labels=torch.zeros_like(t.labels)) for t in targets]
    assert all(loss.isfinite() for loss in losses(single, features, of_one).values())
    assert all((d.labels == 0).all() and d.probabilities.shape[1] == 1 for d in single.detect(features, SIZES))


def test_saved_and_loaded_it_gives_the_same(detector, images, tmp_path):
    path = tmp_path / "weights.safetensors"
    checkpoint.save_weights(path, detector, detector.params, step=0, role="student")
    again, header = checkpoint.load_weights(path, classes=CLASSES)
    assert header["detector"] == detector.params
    found, same = (d.detect(d.features(images, SIZES), SIZES) for d in (detector, again))
    for a, b in zip(found, same, strict=True):
        assert torch.equal(a.boxes, b.boxes) and torch.equal(a.scores, b.scores)


def test_the_loss_of_the_heads_falls(detector, seen, targets):
    """All of a detector learns in the battery of methods."""
    student = copy.deepcopy(detector)
    optimizer = torch.optim.Adam([p for p in student.parameters() if p.requires_grad], lr=1e-3)
    history = []
    for _ in range(8):
        total = sum(losses(student, seen, targets).values())
        optimizer.zero_grad()
        total.backward()
        optimizer.step()
        history.append(total.item())
    assert sum(history[-2:]) < 0.8 * sum(history[:2])


def test_a_box_outside_of_the_image_does_no_harm(detector, seen):
    far = [Target.of(torch.tensor([[900.0, 900, 910, 910]]), torch.tensor([0]))] * 2
    found = losses(detector, seen, far)
    empty = losses(detector, seen, NOTHING)
    assert all(loss.isfinite() and loss < empty[name] + 20 for name, loss in found.items())


def test_a_box_without_area_does_no_harm(detector, images, targets):
    flat = Target.of(torch.tensor([[20.0, 20, 20, 60], [10, 12, 44, 40]]), torch.tensor([0, 1]))
    found = losses(detector, detector.features(images, SIZES), [flat, targets[1]])
    sum(found.values()).backward()
    assert all(loss.isfinite() for loss in found.values())
    assert detector.neck.layer_blocks[0][0].weight.grad.isfinite().all()
