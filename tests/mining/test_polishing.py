"""The polishing networks against the published code of Polishing Teacher."""

from pathlib import Path

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from scantling import boxes as box_ops
from scantling.mining import polishing

GOLDEN = Path(__file__).parents[1] / "golden" / "polishing_teacher"


def load(name: str) -> dict[str, torch.Tensor]:
    with np.load(GOLDEN / f"{name}.npz") as case:
        return {k: torch.from_numpy(case[k]) for k in case.files}


def close(got: torch.Tensor, wanted: torch.Tensor, atol: float = 1e-4) -> None:
    torch.testing.assert_close(got, wanted, rtol=1e-4, atol=atol)


def size(case: dict[str, torch.Tensor]) -> tuple[int, int]:
    return int(case["img_hw"][0]), int(case["img_hw"][1])


def test_published_variants() -> None:
    case = load("variants_basic")
    got = polishing.variants(case["boxes"][:, :4], float(case["frac"]))
    close(got[1:], case["variants"][..., :4])
    assert torch.equal(got[0], case["boxes"][:, :4])


def test_published_displacement() -> None:
    case = load("jitter_basic")
    close(box_ops.jitter(case["boxes"], case["noise"], float(case["frac"])), case["jittered"])


def test_published_box_network() -> None:
    case = load("boxnet_forward_small")
    network = polishing.BoxNetwork(channels=3, cells=7, width=5)
    network.squeeze = torch.nn.Conv2d(14, 3, 1)  # the case squeezes 2 channels to 3
    names = {"squeeze": "conv", "layers.0": "fc1", "layers.2": "fc2", "deltas": "head"}
    pairs = [(ours, theirs, kind) for ours, theirs in names.items() for kind in ("weight", "bias")]
    state = {f"{ours}.{kind}": case[f"{theirs}_{kind[0]}"] for ours, theirs, kind in pairs}
    state["squeeze.weight"] = case["conv_w"].reshape(3, 14, 1, 1)
    network.load_state_dict(state)
    close(network(case["x"]), case["deltas"])


def test_published_box_targets_and_loss() -> None:
    case = load("reg_target_basic")
    truth, fraction = case["gt_boxes"], float(case["frac"])
    boxes = polishing.displaced(truth, [(case["noise"], fraction)])
    close(boxes, case["input_boxes"])
    wanted = polishing.box_targets(boxes, truth)
    close(wanted, case["target_boxes"])
    close(polishing.variants(boxes, 0.06), case["rois7"])
    deltas = case["deltas"].clone().requires_grad_()
    decoded = polishing.decode(deltas, boxes, size(case))
    close(decoded, case["decoded"])
    loss = polishing.box_network_loss(decoded, wanted)
    loss.backward()
    assert loss.item() == pytest.approx(float(case["loss"]), abs=1e-5)
    close(deltas.grad, case["loss_grad_deltas"], 1e-5)
    for boxes_now, key in ((boxes, "iou_before"), (decoded, "iou_after")):
        assert box_ops.iou(truth, boxes_now).amax(0).mean().item() == pytest.approx(float(case[key]), abs=1e-5)


def test_published_class_targets_and_loss() -> None:
    case = load("cls_target_basic")
    truth, classes = case["gt_boxes"], int(case["num_classes"])
    noises = [(case[f"noise_{s}"], float(case[f"frac_{s}"])) for s in ("small", "large")]
    boxes = polishing.displaced(truth, noises, case["rpn_proposals"][:, :4])
    close(boxes, case["input_boxes"])
    wanted = polishing.class_targets(
        boxes, truth, case["gt_labels"], classes=classes, positive_iou=float(case["pos_iou_thr"])
    )
    assert torch.equal(wanted, case["labels"])
    logits = case["logits"].clone().requires_grad_()
    loss = F.cross_entropy(logits, wanted)
    loss.backward()
    assert loss.item() == pytest.approx(float(case["loss"]), abs=1e-5)
    close(logits.grad, case["loss_grad_logits"], 1e-5)


def test_published_sets() -> None:
    case = load("split_basic")
    boxes, scores = case["boxes_scores"][:, :4], case["boxes_scores"][:, 4]
    kept, labels = polishing.polished_sets(scores, case["labels"], case["probs"], trust_polished=0.9, trust_teacher=0.9)
    assert torch.equal(kept, case["keep"])
    assert torch.equal(labels, case["new_labels"])
    close(boxes[kept], case["cls_boxes"][:, :4])
    assert torch.equal(labels[kept], case["cls_labels"])
    close(polishing.decode(case["deltas"], boxes, size(case)), case["reg_boxes"])
    assert torch.equal(case["labels"], case["reg_labels"])


def test_nothing_to_polish() -> None:
    none, labels = torch.zeros((0, 4)), torch.zeros(0, dtype=torch.int64)
    assert polishing.variants(none, 0.06).shape == (7, 0, 4)
    assert polishing.displaced(none, [(torch.zeros((3, 0, 4)), 0.2)]).shape == (0, 4)
    boxes = torch.tensor([[0.0, 0, 4, 4]])
    assert polishing.class_targets(boxes, none, labels, classes=3, positive_iou=0.7).tolist() == [3]
    assert polishing.box_targets(none, none).shape == (0, 4)
    assert polishing.box_network_loss(none, none).item() == 0
    assert polishing.BoxNetwork(2, 7, 4)(torch.zeros((0, 7, 2, 7, 7))).shape == (0, 4)
    assert polishing.ClassNetwork(2, 7, 4, 3)(torch.zeros((0, 2, 7, 7))).shape == (0, 4)
    kept, _ = polishing.polished_sets(
        torch.zeros(0), labels, torch.zeros((0, 4)), trust_polished=0.9, trust_teacher=0.9
    )
    assert len(kept) == 0
