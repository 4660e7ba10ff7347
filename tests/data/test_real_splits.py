"""Every protocol on real annotations with a long tail: TACO, LVIS, COCO."""

from __future__ import annotations

from typing import Any

import pytest

from scantling.data import protocols
from tests.data.tables import real, shuffled
from tests.data.test_protocols import BY_FILE_ORDER, EVERY

MINORITY = {
    "taco_annotations": ("Cigarette", "Battery"),
    "lvis_val_100": ("banana", "cow"),
    "coco2017_train_subset337": ("person", "toaster"),
}


@pytest.mark.parametrize("data", MINORITY)
def test_counts_of_every_protocol(data: str) -> None:
    index = real(data)
    assert index.boxes is not None
    boxes = index.boxes[~index.boxes.crowd & (index.boxes.x2 > index.boxes.x1) & (index.boxes.y2 > index.boxes.y1)]
    images, pairs = boxes.image_id.nunique(), len(boxes.drop_duplicates(["image_id", "label"]))
    classes = boxes.label.value_counts()
    total, each = len(boxes), boxes.groupby("image_id")
    distinct = each.label.nunique()
    expected: dict[str, Any] = {
        "full": total,
        "drop_dataset": total - total // 2,
        "drop_category": sum(n - n // 2 for n in classes),
        "drop_image_category": sum(max(1, (n + 1) // 2) for n in boxes.groupby(["image_id", "label"]).size()),
        "missing_50p": sum(n - n // 2 for n in classes),
        "easy": sum(n - min(1, n - distinct[i]) for i, n in each.size().items()),
        "hard": sum(n - min(n // 2, n - distinct[i]) for i, n in each.size().items()),
        "extreme": images,
        "keep1": pairs,
        "keep1 random": pairs,
    }
    for name, params in EVERY.items():
        if name == "transfer":
            continue
        if name == "imbalanced":
            params = params.model_copy(update={"minority": MINORITY[data]})
        rows, facts = protocols.make(index, params, 1)
        assert facts["counts"]["kept"] == (rows.box_id >= 0).sum() == expected.get(name, facts["counts"]["kept"]), name
        assert facts["counts"]["images"] == len(index.images)
        if name not in BY_FILE_ORDER:
            assert protocols.make(shuffled(index, 3), params, 1)[1] == facts, name
