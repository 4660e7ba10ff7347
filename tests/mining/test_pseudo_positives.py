"""Pseudo-positive mining against the published code of SparseDet."""

from pathlib import Path

import numpy as np
import pytest
import torch

from scantling.mining import pseudo_positives

GOLDEN = Path(__file__).parents[1] / "golden" / "sparsedet"


@pytest.mark.parametrize("file", sorted(GOLDEN.glob("mine_*.npz")), ids=lambda f: f.stem)
def test_published_mining(file: Path) -> None:
    with np.load(file) as loaded:
        case = {k: torch.from_numpy(loaded[k]) for k in loaded.files}
    mined, rest = pseudo_positives.mine(
        case["in_proposals"],
        case["in_objectness_logits"].sigmoid(),
        case["in_gt_boxes"],
        score=float(case["in_score_threshold"]),
        iou=float(case["in_iou_threshold"]),
        nms_iou=float(case["in_nms_threshold"]),
    )
    assert torch.equal(mined, case["out_mined"])
    assert torch.equal(rest, case["out_remaining"])


def test_published_agreement_loss() -> None:
    with np.load(GOLDEN / "ssl_loss_two_images.npz") as case:
        weak, strong = (torch.from_numpy(case[f"in_{v}_features"]).requires_grad_() for v in ("weak", "strong"))
        weight, loss = float(case["in_weight"]), float(case["out_loss"])
        slopes = [torch.from_numpy(case[f"out_grad_{v}"]) for v in ("weak", "strong")]
    got = weight * pseudo_positives.agreement_loss(weak, strong, stop_gradient=False)
    got.backward()
    assert got.item() == pytest.approx(loss, abs=1e-5)
    torch.testing.assert_close(weak.grad, slopes[0], rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(strong.grad, slopes[1], rtol=1e-4, atol=1e-5)


def test_held_side_gets_no_gradient_and_nothing_mined_costs_nothing() -> None:
    weak, strong = torch.ones((2, 3), requires_grad=True), torch.zeros((2, 3), requires_grad=True)
    pseudo_positives.agreement_loss(weak, strong, stop_gradient=True).backward()
    assert weak.grad is None and strong.grad is not None
    nothing = pseudo_positives.agreement_loss(weak[:0], strong[:0], stop_gradient=False)
    assert nothing.item() == 0
    mined, rest = pseudo_positives.mine(
        torch.zeros((0, 4)), torch.zeros(0), torch.zeros((0, 4)), score=0.8, iou=0.2, nms_iou=0.3
    )
    assert len(mined) == 0 and len(rest) == 0
