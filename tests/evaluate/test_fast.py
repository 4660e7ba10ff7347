"""The fast engine against pycocotools: every number equal to the last bit."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from scantling.data.index import BOX_COLUMNS, XYXY, Index, table
from scantling.evaluate import coco, fast
from scantling.stage import BadInput
from tests.evaluate.made import FOUND, found, index
from tests.evaluate.test_coco import real

WHOLE = (10.0, 10.0, 50.0, 50.0)


def equal(data: Index, detections: pd.DataFrame) -> coco.Result:
    """Both engines agree, without any tolerance."""
    ours, theirs = fast.evaluate(data, "test", detections), coco.evaluate(data, "test", detections)
    assert ours.numbers == theirs.numbers and list(ours.numbers) == list(coco.NAMES)
    pd.testing.assert_frame_equal(ours.per_class, theirs.per_class, check_exact=True)
    return ours


@pytest.mark.parametrize(
    ("truth_file", "found_file"),
    [
        ("instances_val2014_100", "instances_val2014_fakebbox100_results"),
        ("coco2017_train_subset337", "fastestdet_on_train_subset337"),
    ],
)
def test_real_results(shared_data, truth_file, found_file):
    data, detections = real(shared_data / "coco_annotations", f"{truth_file}.json.gz", f"{found_file}.json.gz", True)
    ours, theirs = fast.evaluate(data, "val", detections), coco.evaluate(data, "val", detections)
    assert ours.numbers == theirs.numbers
    pd.testing.assert_frame_equal(ours.per_class, theirs.per_class, check_exact=True)


coordinate = st.sampled_from([0, 8, 10, 12, 20, 30, 40, 60, 100, 130])  # few, so that boxes share edges and overlaps
corner_box = st.tuples(coordinate, coordinate, coordinate, coordinate).map(
    lambda b: (min(b[0], b[2]), min(b[1], b[3]), max(b[0], b[2]) + 1.0, max(b[1], b[3]) + 1.0)
)
true_box = st.fixed_dictionaries(
    {
        "image_id": st.integers(1, 3),
        "label": st.integers(0, 1),
        "xyxy": corner_box,
        "crowd": st.sampled_from([False, False, True]),
        "difficult": st.sampled_from([False, False, False, True]),
    },
    optional={"area": st.sampled_from([10.0, 1024.0, 5000.0, 9216.0, 20000.0])},  # as published, at the limits too
)
found_box = st.tuples(st.integers(1, 3), st.integers(0, 1), st.sampled_from([0.1, 0.5, 0.7, 0.9]), corner_box)


@settings(max_examples=40, deadline=None)
@given(st.lists(true_box, max_size=12), st.lists(found_box, max_size=16), st.randoms(use_true_random=False))
def test_small_scenes_with_ties_crowds_and_sizes(boxes, rows, random):
    """Few coordinates and scores: many equal scores and overlaps. Some detections repeat a true box exactly."""
    rows = rows + [(b["image_id"], b["label"], random.choice([0.5, 0.6]), b["xyxy"]) for b in boxes[::2]]
    equal(index(boxes, {1: "test", 2: "test", 3: "test"}), found(*rows))


def crowded(seed: int, per_image: int, images: int = 4) -> tuple[Index, pd.DataFrame]:
    """Many boxes over each other: up to `per_image` detections of a class in an image, scores in hundredths."""
    rng = np.random.default_rng(seed)

    def boxes(n: int) -> dict[str, np.ndarray]:
        corner, side = rng.uniform(0, 120, (n, 2)), rng.choice([20, 32, 60, 96, 110], (n, 1)) * rng.uniform(1, 1.2)
        return dict(zip(XYXY, np.hstack([corner, corner + side]).T.astype(np.float32), strict=True))

    n, p = 25 * images, per_image * images
    true = {"box_id": np.arange(n), "image_id": rng.integers(1, images + 1, n), "label": rng.integers(0, 2, n)}
    flags = {"crowd": rng.random(n) < 0.1, "difficult": rng.random(n) < 0.1, "area": rng.uniform(200, 14000, n)}
    data = index([], {i: "test" for i in range(1, images + 1)})
    data = Index(**{**vars(data), "boxes": table(pd.DataFrame(true | boxes(n) | flags), BOX_COLUMNS)})
    rows = {"image_id": rng.integers(1, images + 1, p), "label": (rng.random(p) < 0.2) * 1}
    return data, table(pd.DataFrame(rows | {"score": rng.integers(1, 100, p) / 100} | boxes(p)), FOUND)


@pytest.mark.parametrize(("seed", "per_image"), [(0, 60), (1, 200)])
def test_crowded_scenes(seed, per_image):
    """200 an image are more than 100 of one class: the worst are not looked at."""
    data, detections = crowded(seed, per_image)
    result = equal(data, detections)
    assert 0 < result.numbers["AP"] < 1 and result.numbers["AR10"] < result.numbers["AR100"]
    most = detections.groupby(["image_id", "label"]).size().max()
    assert (most > 100) == (per_image > 100)


def test_more_than_a_hundred_detections():
    """The only right one is the 101st of its class: it does not count."""
    data = index([{"image_id": 1, "label": 0, "xyxy": WHOLE}], {1: "test"})
    wrong = [(1, 0, 0.9, (60.0, 60.0, 90.0, 90.0))] * 100
    assert equal(data, found(*wrong, (1, 0, 0.5, WHOLE))).numbers["AP"] == 0
    assert equal(data, found(*wrong[1:], (1, 0, 0.5, WHOLE))).numbers["AP"] == pytest.approx(0.01)
    assert equal(data, found(*wrong, (1, 1, 0.5, WHOLE))).numbers["AP"] == 0


@pytest.mark.parametrize("boxes", [[], [{"image_id": 1, "label": 0, "xyxy": WHOLE, "crowd": True}]])
@pytest.mark.parametrize("rows", [(), ((1, 0, 0.9, WHOLE),), ((1, 1, 0.9, WHOLE),)])
def test_nothing_found_or_nothing_to_find(boxes, rows):
    data = index(boxes, {1: "test"})
    assert set(equal(data, found(*rows)).numbers.values()) == {None}
    more = index([*boxes, {"image_id": 2, "label": 1, "xyxy": WHOLE}], {1: "test", 2: "test"})
    assert equal(more, found(*rows)).numbers["AP"] == 0


def test_other_subsets_do_not_count():
    boxes = [{"image_id": i, "label": 0, "xyxy": WHOLE} for i in (5, 2)]
    data = index(boxes, {5: "val", 2: "test"})
    assert equal(data, found((2, 0, 0.9, WHOLE))).numbers["AP"] == pytest.approx(1)
    with pytest.raises(BadInput, match="images outside subset `test`"):
        fast.evaluate(data, "test", found((5, 0, 0.9, WHOLE)))
    with pytest.raises(BadInput, match="no images in subset `tset`"):
        fast.evaluate(data, "tset", found())
