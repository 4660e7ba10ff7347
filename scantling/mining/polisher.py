"""The polishing networks at work on a teacher's features: taught by displaced labels, asked for better boxes.

`networks` holds `box`, `class` or both (see `polishing`); what is not there is not taught and corrects nothing. No
gradient reaches the teacher. Sections are those of the specification of Polishing Teacher. Shapes: N boxes.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from scantling import boxes as box_ops
from scantling import distributed, log
from scantling.augment.views import torch_generator
from scantling.detectors.losses import normalizer
from scantling.mining import polishing
from scantling.target import Batch, Target


@torch.no_grad()
def improved(
    networks: nn.ModuleDict,
    teacher: nn.Module,
    features: list[Tensor],
    boxes: list[Tensor],
    sizes: list[tuple[int, int]],
    *,
    fraction: float,
    cells: int,
) -> tuple[list[Tensor], list[Tensor] | None]:
    """Per image better boxes (N, 4) and class probabilities (N, C+1), background last, or None without class network.

    fraction, cells: of the variants of a box and of the pooled square (sections 2.1 and 2.2).
    """
    counts = [len(b) for b in boxes]
    better, probabilities = boxes, None
    if "box" in networks:
        deltas = networks["box"](_slots(teacher, features, boxes, sizes, fraction, cells))
        better = list(_decoded(deltas, boxes, sizes).split(counts))
    if "class" in networks:
        logits = networks["class"](teacher.pooled(features, boxes, sizes, cells))
        probabilities = list(logits.float().softmax(1).split(counts))
    return better, probabilities


def losses(
    networks: nn.ModuleDict,
    teacher: nn.Module,
    view: Batch,
    *,
    box_copies: tuple[int, float],
    class_copies: tuple[tuple[int, float], ...],
    proposals: int,
    positive_iou: float,
    fraction: float,
    cells: int,
) -> tuple[dict[str, Tensor], dict[str, float]]:
    """`polish_box`: GIoU loss of corrected displaced labels; `polish_class`: cross-entropy of their classes. Section 3.

    Also what to log: mean IoU with the labels before and after, and how many classes are right.
    """
    with torch.no_grad():
        features = teacher.features(view.images, view.sizes)
        offered = teacher.propose(features, view.sizes, limit=proposals) if "class" in networks else []
    noises = [_noises(t, [box_copies, *class_copies]) for t in view.targets]
    found: dict[str, Tensor] = {}
    logged: dict[str, float] = {}
    if "box" in networks:
        boxes = [polishing.displaced(t.boxes, n[:1]) for t, n in zip(view.targets, noises, strict=True)]
        goal = torch.cat([polishing.box_targets(b, t.boxes) for b, t in zip(boxes, view.targets, strict=True)])
        with torch.no_grad():
            pooled = _slots(teacher, features, boxes, view.sizes, fraction, cells)
        decoded = _decoded(networks["box"](pooled), boxes, view.sizes)
        loss = polishing.box_network_loss(decoded, goal) * len(goal)
        count = normalizer(len(goal), loss)
        found["polish_box"] = loss / count
        logged |= _improvement(view.targets, boxes, list(decoded.detach().split([len(b) for b in boxes])))
    if "class" in networks:
        classes = networks["class"].logits.out_features - 1
        around = [
            polishing.displaced(t.boxes, n[1:], p[0]) for t, n, p in zip(view.targets, noises, offered, strict=True)
        ]
        labels = torch.cat(
            [
                polishing.class_targets(b, t.boxes, t.labels, classes=classes, positive_iou=positive_iou)
                for b, t in zip(around, view.targets, strict=True)
            ]
        )
        with torch.no_grad():
            pooled = teacher.pooled(features, around, view.sizes, cells)
        logits = networks["class"](pooled).float()
        loss = F.cross_entropy(logits, labels, reduction="sum")
        count = normalizer(len(labels), loss)
        found["polish_class"] = loss / count
        logged["polish_accuracy"] = float((logits.argmax(1) == labels).sum() / count)
    return found, logged


def warn_if_worse(facts: dict[str, float]) -> None:
    """Say so where corrected boxes lie worse than the displaced ones: iou_before, iou_after, if they are known."""
    before, after = facts.get("iou_before", 0.0), facts.get("iou_after", 1.0)
    if after < before:
        log.warn(
            f"the polishing network makes boxes worse: mean IoU of displaced labels {before:.2f} before, {after:.2f} "
            "after it. Train it longer or with a lower learning rate, or set `polish_boxes: false`"
        )


def _noises(target: Target, copies: list[tuple[int, float]]) -> list[tuple[Tensor, float]]:
    """Standard normal noise (T, G, 4) of each (copies, fraction), from the seed of the target."""
    generator = torch_generator(target.seed or 0)
    shape = (len(target.boxes), 4)
    return [(torch.randn((n, *shape), generator=generator).to(target.boxes.device), f) for n, f in copies]


def _slots(
    teacher: nn.Module,
    features: list[Tensor],
    boxes: list[Tensor],
    sizes: list[tuple[int, int]],
    fraction: float,
    cells: int,
) -> Tensor:
    """(N, 7, F, K, K) features of each box and its variants, grouped image by image.

    The reference mixes the slots of several images up (section 8, item 1); here a box keeps its own.
    """
    variants = [polishing.variants(b, fraction).transpose(0, 1).reshape(-1, 4) for b in boxes]
    return teacher.pooled(features, variants, sizes, cells).unflatten(0, (-1, polishing.SLOTS))


def _decoded(deltas: Tensor, boxes: list[Tensor], sizes: list[tuple[int, int]]) -> Tensor:
    parts = deltas.float().split([len(b) for b in boxes])
    return torch.cat([polishing.decode(d, b, size) for d, b, size in zip(parts, boxes, sizes, strict=True)])


def _improvement(targets: list[Target], before: list[Tensor], after: list[Tensor]) -> dict[str, float]:
    """iou_before, iou_after: IoU of boxes with their nearest label, the mean of each image, the mean over images.

    Nothing where no process has an image with a label. Section 3.2.
    """
    rows = [
        torch.stack([box_ops.iou(t.boxes, boxes).amax(0).mean() for boxes in (b, a)] + [b.new_tensor(1.0)])
        for t, b, a in zip(targets, before, after, strict=True)
        if len(b)
    ]
    device = targets[0].boxes.device if targets else "cpu"
    sums = distributed.total(torch.stack([torch.zeros(3, device=device), *rows]).sum(0)).tolist()
    return {"iou_before": sums[0] / sums[2], "iou_after": sums[1] / sums[2]} if sums[2] else {}
