"""Sparse labels on part of the images: the images of one protocol, and of their boxes what the other keeps."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from scantling.data import protocols, semi, sparse, stratified
from scantling.data.nested import NestedParams
from tests.data.tables import long_tailed, real

IMAGES: dict[str, Any] = {
    "percent": semi.PercentParams(protocol="percent", percent=30),
    "stratified": stratified.StratifiedParams(protocol="stratified", images=40),
    "full": semi.FullParams(protocol="full"),
}
BOXES: dict[str, Any] = {
    "drop_category": sparse.DropParams(protocol="drop_category", percent=50),
    "keep1": sparse.Keep1Params(protocol="keep1"),
    "extreme": sparse.ExtremeParams(protocol="extreme"),
}


@pytest.mark.parametrize("images", IMAGES)
@pytest.mark.parametrize("boxes", BOXES)
def test_the_images_of_one_and_of_their_boxes_what_the_other_keeps(images: str, boxes: str) -> None:
    index = long_tailed(200, 6, 3)
    assert index.boxes is not None
    params = NestedParams(protocol="combined", images=IMAGES[images], boxes=BOXES[boxes], allow_missing_class=True)
    rows, facts = protocols.make(index, params, 2)
    whole, _ = protocols.make(index, IMAGES[images], 2)
    assert rows.image_id[rows.labeled].drop_duplicates().tolist() == sorted(set(whole.image_id[whole.labeled]))
    seen = index.boxes[index.boxes.box_id.isin(whole.box_id)]
    columns = [seen[name].to_numpy() for name in ("box_id", "image_id", "label")]
    kept = set(seen.box_id[sparse.keep(*columns, np.arange(len(seen)), BOXES[boxes], 2)])
    assert set(rows.box_id) - {-1} == kept
    assert not facts["complete"]
    assert facts["counts"]["kept"] == len(kept) < len(seen)
    if boxes == "drop_category":  # half of what the labeled images have, class by class
        for label, own in enumerate(facts["per_class"].values()):
            n = (seen.label == label).sum()
            assert own["kept"] == n - min(n // 2, max(n - 1, 0))


def test_on_real_data_with_a_long_tail() -> None:
    index = real("taco_annotations")
    params = NestedParams(
        protocol="combined", images=IMAGES["percent"], boxes=BOXES["drop_category"], allow_missing_class=True
    )
    _, facts = protocols.make(index, params, 1)
    assert facts["counts"]["labeled"] == 450
    assert all(n["kept"] <= n["kept"] + n["hidden"] for n in facts["per_class"].values())
    assert facts["seed"] == 1
    assert facts["params"]["boxes"] == {"protocol": "drop_category", "percent": 50}
