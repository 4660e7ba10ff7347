"""RetinaNet against torchvision's own and against Co-mining's recorded numbers."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from torchvision.models.detection import RetinaNet as TorchvisionRetinaNet
from torchvision.models.detection.anchor_utils import AnchorGenerator
from torchvision.models.detection.image_list import ImageList

from scantling.detectors.assign import UNUSED
from scantling.detectors.decode import candidates, select
from scantling.target import Target
from tests.detectors.small import CLASSES, GOLDEN, SIZES, small


def tensors(case, prefix):
    return [torch.from_numpy(case[f"{prefix}{i}"]) for i in range(2)]


@pytest.mark.parametrize("name", ["decode_thr05", "decode_thr06"])
def test_decoding_is_the_published_one(retina, name):
    case = np.load(GOLDEN / "co_mining" / f"{name}.npz")
    found = candidates(
        tensors(case, "in_cls_logits_l"),
        tensors(case, "in_deltas_l"),
        tensors(case, "in_anchors_l"),
        retina.coder,
        score_threshold=float(case["in_score_threshold"]),
        per_level=1000,
    )
    best = select(*found, None, nms_iou=float(case["in_nms_threshold"]), limit=100)
    torch.testing.assert_close(best.scores, torch.from_numpy(case["out_scores"]), rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(best.boxes, torch.from_numpy(case["out_boxes"]), rtol=1e-4, atol=1e-3)
    assert best.labels.tolist() == case["out_classes"].tolist()
    rows = torch.arange(len(best))
    assert torch.equal(best.probabilities[rows, best.labels], best.scores)


def flat(case, name, columns):
    """Head outputs (N, A * columns, H, W) per level -> (N, R, columns), anchors row-major over (y, x, anchor)."""
    levels = tensors(case, name)
    return torch.cat([x.unflatten(1, (-1, columns)).permute(0, 3, 4, 1, 2).flatten(1, 3) for x in levels], dim=1)


def test_assignment_and_losses_are_the_published_ones(retina):
    case = np.load(GOLDEN / "co_mining" / "loss_two_images.npz")
    anchors = torch.cat(tensors(case, "in_anchors_l"))
    targets = [
        Target.of(torch.from_numpy(case[f"in_boxes_img{i}"]), torch.from_numpy(case[f"in_classes_img{i}"]))
        for i in range(2)
    ]
    matched = retina.assign(anchors, targets, [t.for_class for t in targets])
    for m, target, labels, deltas in zip(matched, targets, case["out_labels"], case["out_deltas"], strict=True):
        ours = torch.where(m >= 0, target.labels[m.clamp(min=0)], torch.where(m == UNUSED, -1, 3))
        assert ours.tolist() == labels.tolist()
        encoded = retina.coder.encode_single(target.boxes[m[m >= 0]], anchors[m >= 0])
        torch.testing.assert_close(encoded, torch.from_numpy(deltas)[m >= 0], rtol=1e-4, atol=1e-4)
    class_loss = retina.class_loss(flat(case, "in_pred_cls_l", 3), anchors, matched, targets)
    box_loss = retina.box_loss(flat(case, "in_pred_deltas_l", 4), anchors, matched, targets)
    assert class_loss.item() == pytest.approx(float(case["out_loss_cls"]), rel=1e-4, abs=1e-5)
    assert box_loss.item() == pytest.approx(float(case["out_loss_reg"]), rel=1e-4, abs=1e-5)


class NoBackbone(torch.nn.Module):
    out_channels = 16


def test_losses_of_one_image_are_torchvisions(images, targets):
    """Of one image: torchvision takes the mean over images, this detector normalizes the batch as a whole."""
    ours = small("retinanet_lite", anchors={"rounded": True}, head={"smooth_l1_beta": 0.0, "tower_depth": 4})
    sizes = ours.params.anchors.sizes_px
    theirs = TorchvisionRetinaNet(
        NoBackbone(),
        len(CLASSES),
        anchor_generator=AnchorGenerator(tuple(map(tuple, sizes)), ((0.5, 1.0, 2.0),) * 3),
    )
    theirs.head.classification_head.load_state_dict(ours.class_head.state_dict())
    theirs.head.regression_head.load_state_dict(ours.box_head.state_dict())
    features = [f.detach() for f in ours.features(images[:1], SIZES[:1])]
    anchors = theirs.anchor_generator(ImageList(images[:1], SIZES[:1]), features)
    plain = [{"boxes": targets[0].boxes, "labels": targets[0].labels}]
    expected = theirs.compute_loss(plain, theirs.head(features), anchors)
    losses = ours.losses(features, targets[:1], SIZES[:1])
    torch.testing.assert_close(losses["class"], expected["classification"], rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(losses["box"], expected["bbox_regression"], rtol=1e-5, atol=1e-6)


def test_class_and_box_loss_see_only_their_own_boxes(retina, images, targets):
    features = retina.features(images, SIZES)
    plain = retina.losses(features, targets, SIZES)
    no_box = retina.losses(features, [replace(t, for_box=torch.zeros(len(t)).bool()) for t in targets], SIZES)
    assert no_box["box"] == 0 and torch.equal(no_box["class"], plain["class"])
    hidden = [replace(t, for_class=torch.zeros(len(t)).bool()) for t in targets]
    no_class = retina.losses(features, hidden, SIZES)
    assert torch.equal(no_class["box"], plain["box"])
    assert torch.equal(no_class["class"], retina.losses(features, [Target.empty()] * 2, SIZES)["class"])


def test_objectness_visibility_is_not_used(retina, images, targets):
    features = retina.features(images, SIZES)
    hidden = [replace(t, for_objectness=torch.zeros(len(t)).bool()) for t in targets]
    assert retina.losses(features, hidden, SIZES) == retina.losses(features, targets, SIZES)


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
