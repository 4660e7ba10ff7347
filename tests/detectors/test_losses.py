import numpy as np
import pytest
import torch
from torchvision.ops import box_iou, generalized_box_iou, sigmoid_focal_loss

from scantling.detectors.losses import binary_loss, box_loss, focal_loss, normalizer, overlap_losses, softmax_class_loss
from tests.detectors.small import GOLDEN


@pytest.mark.parametrize("name", ["bg_reliability_loss", "bg_reliability_loss_two_images"])
def test_class_loss_with_background_reliability_is_the_published_one(name):
    case = np.load(GOLDEN / "soft_teacher" / f"{name}.npz")
    labels = torch.from_numpy(case["labels"])
    background = torch.from_numpy(case["teacher_scores"])[:, -1]
    shares = torch.where(labels == int(case["num_classes"]), background, 1.0)
    torch.testing.assert_close(shares, torch.from_numpy(case["label_weights"]), rtol=1e-4, atol=1e-4)
    loss = softmax_class_loss(torch.from_numpy(case["student_logits"]), labels, torch.ones(len(labels)), shares)
    assert loss.item() == pytest.approx(float(case["loss_cls"]), rel=1e-4, abs=1e-4)


def test_class_loss_with_gamma_is_the_published_focal_one():
    case = np.load(GOLDEN / "soft_teacher" / "ut_focal_loss.npz")
    logits = torch.from_numpy(case["logits"]).requires_grad_()
    ones = torch.ones(len(logits))
    loss = softmax_class_loss(logits, torch.from_numpy(case["targets"]), ones, ones, gamma=float(case["gamma"]))
    loss.backward()
    assert loss.item() == pytest.approx(float(case["loss"]), rel=1e-4, abs=1e-4)
    torch.testing.assert_close(logits.grad, torch.from_numpy(case["grad_of_loss"]), rtol=1e-4, atol=1e-4)


def test_focal_class_loss_has_a_finite_slope_where_the_answer_is_perfect():
    logits = torch.tensor([[60.0, -60.0]], requires_grad=True)
    softmax_class_loss(logits, torch.tensor([0]), torch.ones(1), torch.ones(1), gamma=0.5).backward()
    assert logits.grad.isfinite().all()


def test_class_loss_is_not_blown_up_when_the_shares_sum_to_less_than_one():
    logits, label, one = torch.tensor([[0.0, 1.0]]), torch.tensor([1]), torch.ones(1)
    full = softmax_class_loss(logits, label, one, one)
    assert softmax_class_loss(logits, label, one, 0.25 * one).item() == pytest.approx(0.25 * full.item())
    assert softmax_class_loss(logits, label, one, 0 * one).item() == 0


def test_sigmoid_focal_loss_is_torchvisions():
    torch.manual_seed(0)
    logits, labels = torch.randn(20, 4), torch.randint(0, 5, (20,))
    wanted = torch.zeros(20, 5).scatter(1, labels[:, None], 1)[:, :4]
    expected = sigmoid_focal_loss(logits, wanted, alpha=0.25, gamma=2, reduction="sum")
    torch.testing.assert_close(focal_loss(logits, labels, torch.ones(20), alpha=0.25, gamma=2), expected)


def test_empty_samples_give_zero_and_a_graph():
    logits = torch.zeros(0, 3, requires_grad=True)
    none = torch.zeros(0)
    losses = [
        softmax_class_loss(logits, none.long(), none, none),
        binary_loss(logits[:, 0], none.bool(), none, count=0),
        box_loss(logits[:, :0].reshape(0, 4), torch.zeros(0, 4), none, beta=0.1, count=0),
        focal_loss(logits, none.long(), none, alpha=0.25, gamma=2),
    ]
    assert all(loss.item() == 0 and loss.requires_grad for loss in losses)


def test_box_loss_with_beta_zero_is_l1_and_follows_the_weights():
    predicted, wanted = torch.tensor([[1.0, 0, 0, 0], [0, 2, 0, 0]]), torch.zeros(2, 4)
    loss = box_loss(predicted, wanted, torch.tensor([1.0, 0.5]), beta=0.0, count=4)
    assert loss.item() == pytest.approx((1 + 0.5 * 2) / 4)


def test_a_normalizer_has_a_floor_and_the_device_of_its_loss():
    like = torch.zeros(1)
    assert normalizer(0, like) == 1 and normalizer(torch.tensor(7), like) == 7
    assert normalizer(torch.tensor(0.25), like, least=1e-6) == 0.25 and normalizer(0, like, least=0.5) == 0.5


@pytest.mark.parametrize("kind", ["giou", "iou"])
def test_overlap_losses(kind):
    torch.manual_seed(0)
    corner = torch.rand(2, 20, 2) * 10
    predicted, wanted = torch.cat([corner, corner + 1 + torch.rand(2, 20, 2) * 10], dim=2)
    if kind == "giou":
        expected = 1 - generalized_box_iou(predicted, wanted).diagonal()
    else:
        expected = -box_iou(predicted, wanted).diagonal().clamp(min=1e-6).log()
    torch.testing.assert_close(overlap_losses(predicted, wanted, kind), expected)
    point = torch.tensor([[5.0, 5, 5, 5]], requires_grad=True)  # what an untrained head says
    overlap_losses(point, wanted[:1], kind).sum().backward()
    assert point.grad.isfinite().all() and overlap_losses(wanted, wanted, kind).abs().max() < 1e-5
