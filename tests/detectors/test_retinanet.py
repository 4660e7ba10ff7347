"""RetinaNet against torchvision's own and against Co-mining's recorded numbers."""

import numpy as np
import pytest
import torch
from torchvision.models.detection import RetinaNet as TorchvisionRetinaNet
from torchvision.models.detection.anchor_utils import AnchorGenerator
from torchvision.models.detection.image_list import ImageList

from scantling.detectors.assign import UNUSED
from scantling.detectors.dense import Predictions
from scantling.detectors.towers import by_place
from scantling.target import Target
from tests.detectors.small import CLASSES, GOLDEN, SIZES, same_detections, small_of


def tensors(case, prefix):
    return [torch.from_numpy(case[f"{prefix}{i}"]) for i in range(2)]


def of_one_image(case):
    """Predictions of the recorded head outputs, per level logits (R, K), deltas (R, 4), anchors (R, 4)."""
    logits = tensors(case, "in_cls_logits_l")
    return Predictions(
        torch.cat(logits)[None],
        torch.cat(tensors(case, "in_deltas_l"))[None],
        torch.cat(tensors(case, "in_anchors_l")),
        [len(level) for level in logits],
    )


@pytest.mark.parametrize("name", ["decode_thr05", "decode_thr06"])
def test_decoding_is_the_published_one(retina, name):
    case = np.load(GOLDEN / "co_mining" / f"{name}.npz")
    asked = {"score_threshold": float(case["in_score_threshold"]), "nms_iou": float(case["in_nms_threshold"])}
    rule = retina.params.detect.model_copy(update=asked)
    (best,) = retina.detections(of_one_image(case), [None], rule)
    torch.testing.assert_close(best.scores, torch.from_numpy(case["out_scores"]), rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(best.boxes, torch.from_numpy(case["out_boxes"]), rtol=1e-4, atol=1e-3)
    assert best.labels.tolist() == case["out_classes"].tolist()
    rows = torch.arange(len(best))
    assert torch.equal(best.probabilities[rows, best.labels], best.scores)


def test_assignment_and_losses_are_the_published_ones():
    retina = small_of("retinanet")
    case = np.load(GOLDEN / "co_mining" / "loss_two_images.npz")
    logits, deltas = (
        [by_place(x, columns) for x in tensors(case, name)]  # head outputs (N, A * columns, H, W) per level
        for name, columns in (("in_pred_cls_l", 3), ("in_pred_deltas_l", 4))
    )
    anchors = torch.cat(tensors(case, "in_anchors_l"))
    found = Predictions(torch.cat(logits, 1), torch.cat(deltas, 1), anchors, [x.shape[1] for x in logits])
    targets = [
        Target.of(torch.from_numpy(case[f"in_boxes_img{i}"]), torch.from_numpy(case[f"in_classes_img{i}"]))
        for i in range(2)
    ]
    matched = retina.assign(found, targets, [t.for_class for t in targets])
    for m, target, labels, deltas in zip(matched, targets, case["out_labels"], case["out_deltas"], strict=True):
        ours = torch.where(m >= 0, target.labels[m.clamp(min=0)], torch.where(m == UNUSED, -1, 3))
        assert ours.tolist() == labels.tolist()
        encoded = retina.coder.encode_single(target.boxes[m[m >= 0]], anchors[m >= 0])
        torch.testing.assert_close(encoded, torch.from_numpy(deltas)[m >= 0], rtol=1e-4, atol=1e-4)
    class_loss, box = retina.class_loss(found, matched, targets), retina.box_losses(found, matched, targets)["box"]
    assert class_loss.item() == pytest.approx(float(case["out_loss_cls"]), rel=1e-4, abs=1e-5)
    assert box.item() == pytest.approx(float(case["out_loss_reg"]), rel=1e-4, abs=1e-5)


class NoBackbone(torch.nn.Module):
    out_channels = 64


@pytest.fixture(scope="module")
def pair():
    """Ours with torchvision's settings, and torchvision's with the weights of ours."""
    ours = small_of(
        "retinanet",
        anchors={"rounded": True},
        head={"smooth_l1_beta": 0.0, "tower_depth": 4, "candidates_per_level": 50, "clip_before_nms": True},
    )
    sizes = ours.params.anchors.sizes_px
    theirs = TorchvisionRetinaNet(
        NoBackbone(),
        len(CLASSES),
        anchor_generator=AnchorGenerator(tuple(map(tuple, sizes)), ((0.5, 1.0, 2.0),) * 3),
        topk_candidates=50,
        detections_per_img=100,
    )
    theirs.head.classification_head.load_state_dict(ours.class_head.state_dict())
    theirs.head.regression_head.load_state_dict(ours.box_head.state_dict())
    return ours, theirs


def test_losses_are_torchvisions(pair, images, targets):
    """The mean of the losses of each image: torchvision normalizes by image, this detector the batch as a whole."""
    ours, theirs = pair
    features = [f.detach() for f in ours.features(images, SIZES)]
    anchors = theirs.anchor_generator(ImageList(images, SIZES), features)
    plain = [{"boxes": t.boxes, "labels": t.labels} for t in targets]
    expected = theirs.compute_loss(plain, theirs.head(features), anchors)
    each = [ours.losses([f[i : i + 1] for f in features], targets[i : i + 1], SIZES[:1]) for i in range(2)]
    for name, value in (("class", expected["classification"]), ("box", expected["bbox_regression"])):
        torch.testing.assert_close((each[0][name] + each[1][name]) / 2, value, rtol=1e-5, atol=1e-6)


@torch.no_grad()
def test_detections_are_torchvisions(pair, images):
    ours, theirs = pair
    features = ours.features(images, SIZES)
    counts = [27 * (f.shape[2] * f.shape[3]) // 3 for f in features]
    outputs = {name: list(out.split(counts, dim=1)) for name, out in theirs.head(features).items()}
    anchors = [list(a.split(counts)) for a in theirs.anchor_generator(ImageList(images, SIZES), features)]
    same_detections(ours.detect(features, SIZES), theirs.postprocess_detections(outputs, anchors, SIZES))


def test_background_weight_multiplies_the_negative_terms(retina, images, targets):
    features = [f.detach() for f in retina.features(images, SIZES)]
    asked = {}

    def half(image, boxes):
        assert not torch.is_grad_enabled()
        asked[image] = len(boxes)
        return torch.full((len(boxes),), 0.5)

    losses = [
        retina.losses(features, targets, SIZES, weight)["class"]
        for weight in (None, half, lambda i, b: torch.zeros(len(b)))
    ]
    total = sum(3 * 3 * f.shape[2] * f.shape[3] for f in features)
    assert set(asked) == {0, 1} and all(0 < n < total for n in asked.values())
    torch.testing.assert_close(losses[1], (losses[0] + losses[2]) / 2)
    assert losses[2] < losses[0]


def test_a_given_box_takes_the_nearest_prediction_or_nothing(retina, images):
    features = retina.features(images, SIZES)
    found = retina.detect(features, SIZES, score_threshold=0.3, limit=20)
    (probabilities, refined), _ = retina.score(features, [found[0].boxes, torch.zeros(0, 4)], SIZES)
    torch.testing.assert_close(probabilities, found[0].probabilities)
    torch.testing.assert_close(refined[:, 0], found[0].boxes)
    outside = torch.tensor([[500.0, 500, 510, 510]])
    (probabilities, refined), _ = retina.score(features, [outside, outside], SIZES)
    assert probabilities.tolist() == [[0, 0, 0]] and refined.shape == (1, 3, 4)


def test_losses_may_be_divided_by_a_running_count_of_positives():
    """detectron2's rule: n <- 0.9 n + 0.1 positives, from 100, once a call, in training mode only."""
    plain, running = small_of("retinanet"), small_of("retinanet", head={"count_keep": 0.9})
    running.load_state_dict(plain.state_dict() | {"positives": torch.tensor(100.0)})
    images = torch.full((1, 3, *SIZES[0]), 90.0)
    targets = [Target.of(torch.tensor([[4.0, 4, 40, 40]]), torch.tensor([0]))]
    losses = {}
    for name, one in (("plain", plain), ("running", running)):
        one.train()
        losses[name] = one.losses(one.features(images, SIZES[:1]), targets, SIZES[:1])
    found = plain.predict(plain.features(images, SIZES[:1]), SIZES[:1])
    count = int((plain.assign(found, targets, [t.for_class for t in targets])[0] >= 0).sum())
    assert float(running.positives) == pytest.approx(90 + 0.1 * count)
    for term in ("class", "box"):
        ratio = float(losses["plain"][term] / losses["running"][term])
        assert ratio == pytest.approx((90 + 0.1 * count) / max(count, 1), rel=1e-4)
    running.eval()
    running.losses(running.features(images, SIZES[:1]), targets, SIZES[:1])
    assert float(running.positives) == pytest.approx(90 + 0.1 * count)
