"""Gradient-based reweighting against the published code of CI-SSOD."""

from pathlib import Path

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from scantling.mining.gradient_balance import SCALE, GradientBalance, focal_cross_entropy, gradient_matrix

GOLDEN = Path(__file__).parents[1] / "golden" / "gradient_sampling"


def load(file: Path) -> dict[str, torch.Tensor]:
    with np.load(file) as case:
        return {k: torch.from_numpy(case[k]) for k in case.files}


def close(got: torch.Tensor, wanted: torch.Tensor) -> None:
    torch.testing.assert_close(got, wanted, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("file", sorted(GOLDEN.glob("grad_matrix_*.npz")), ids=lambda f: f.stem)
def test_published_gradient_matrix(file: Path) -> None:
    case = load(file)
    got = gradient_matrix(case["logits"], case["labels"], case["label_weights"], focal=bool(case["focal"]))
    close(SCALE * float(case["loss_scale"]) * got, case["grad_matrix"])


def test_the_matrix_is_the_gradient_of_the_loss() -> None:
    logits = torch.randn((12, 4), generator=torch.Generator().manual_seed(0), requires_grad=True)
    labels, shares = torch.arange(12) % 4, torch.linspace(0.2, 1, 12)
    (shares * focal_cross_entropy(logits, labels, 1.0)).sum().backward()
    wanted = torch.stack([logits.grad[labels == a].sum(0) for a in range(4)]) / 12
    torch.testing.assert_close(gradient_matrix(logits, labels, shares, focal=True), wanted, rtol=1e-3, atol=1e-4)


def test_published_trajectory() -> None:
    case = load(GOLDEN / "reweight_trajectory.npz")
    unlabeled_weight, rate = float(case["unsup_weight"]), float(case["lr"])
    balance = GradientBalance(
        int(case["num_classes"]),
        warm_up_steps=int(case["warm_up_iter"]),
        labeled_power=float(case["beta_sup"]),
        lower=1 / 3,
        upper=5.0,
        gamma=1.0,
    )
    balance.matrix.copy_(case["accum_init"])
    total = torch.zeros(())
    for i in range(len(case["iter"])):
        step, labeled = int(case["iter"][i]), not bool(case["is_unsup"][i])
        logits, labels, shares = (case[k][i] for k in ("logits_in", "labels", "weights"))
        if labeled:
            close(balance.log_weights.detach(), case["theta_before"][i // 2])
            total = torch.zeros(())
        scale = 1.0 if labeled else unlabeled_weight
        previous = balance.weights.clone()
        loss, extra = balance(logits, labels, shares, step=step, labeled=labeled, scale=scale)
        assert loss.item() == pytest.approx(float(case["loss_cls"][i]), rel=1e-4, abs=1e-4)
        assert extra.item() == pytest.approx(float(case["loss_balance"][i]), rel=1e-4, abs=1e-4)
        close(balance.matrix, case["accum"][i])
        close(balance.weights, case["class_weights"][i])
        close(balance.mean_weight, case["norm_mean"][i])
        close(balance.targets(step).detach(), case["target_w"][i])
        power = 1.0 if not labeled else balance.labeled_power
        close(shares * previous.clamp(1 / 3, 5)[labels] ** power / balance.mean_weight, case["row_weight"][i])
        total = total + scale * extra
        if not labeled:
            (slope,) = torch.autograd.grad(total, balance.log_weights)
            with torch.no_grad():
                balance.log_weights -= rate * slope
            close(balance.log_weights.detach(), case["theta_after"][i // 2])


def test_no_sample_and_evaluation_change_nothing() -> None:
    balance = GradientBalance(2, warm_up_steps=0, labeled_power=0.5, lower=1 / 3, upper=5.0, gamma=1.0)
    none = torch.zeros((0, 3)), torch.zeros(0, dtype=torch.int64), torch.zeros(0)
    loss, extra = balance(*none, step=5, labeled=True, scale=1.0)
    assert loss.item() == 0 and torch.isfinite(extra)
    before = {k: v.clone() for k, v in balance.state_dict().items()}
    balance.eval()(torch.randn(4, 3), torch.tensor([0, 1, 2, 2]), torch.ones(4), step=6, labeled=False, scale=4.0)
    assert all(torch.equal(before[k], v) for k, v in balance.state_dict().items())


def test_a_rare_class_gets_a_larger_weight() -> None:
    torch.manual_seed(0)
    balance = GradientBalance(2, warm_up_steps=1, labeled_power=1.0, lower=1 / 3, upper=5.0, gamma=0.0)
    labels = torch.tensor([0] * 4 + [1] * 28 + [2] * 32)
    optimizer = torch.optim.SGD(balance.parameters(), 0.2)
    for step in range(60):
        logits = F.one_hot(labels, 3).float() + 0.3 * torch.randn(64, 3)
        _, extra = balance(logits, labels, torch.ones(64), step=step, labeled=True, scale=1.0)
        optimizer.zero_grad()
        extra.backward()
        optimizer.step()
    assert balance.weights[0] > 1.5 * balance.weights[1]


def test_weights_are_as_exact_in_a_mixed_training() -> None:
    torch.manual_seed(0)
    balance = GradientBalance(80, warm_up_steps=0, labeled_power=1.0, lower=1 / 3, upper=5.0, gamma=1.0)
    balance.collect(torch.randn(500, 81), torch.randint(0, 81, (500,)), torch.rand(500), step=3, scale=1.0)
    exact = balance.targets(0)
    with torch.autocast("cpu", torch.bfloat16):
        close(balance.targets(0), exact)
