import json

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from scantling.evaluate.label_quality import headline
from scantling.evaluate.params import QualityParams
from scantling.evaluate.truth import truth_of
from tests.evaluate.made import found, index, measure, refined, split

PARAMS = QualityParams(iou_threshold=0.5, headline_threshold=0.6, thresholds=(0.3, 0.6, 0.9))
A, B, C = (0.0, 0.0, 20.0, 20.0), (40.0, 40.0, 60.0, 60.0), (70.0, 70.0, 90.0, 90.0)
HALF = (0.0, 0.0, 20.0, 10.0)  # IoU 0.5 with A


def boxes(*rows):
    return [{"image_id": i, "label": k, "xyxy": b} | (dict(flags[0]) if flags else {}) for i, k, b, *flags in rows]


def test_hand_worked_case():
    """Image 1 is labeled; images 2 and 3 hide a cat each and image 2 a dog."""
    data = index(boxes((1, 0, A), (2, 0, A), (2, 1, B), (3, 0, C)), {1: "train", 2: "train", 3: "train", 4: "test"})
    pseudo = found(
        (2, 0, 0.95, HALF),  # right, IoU 0.5
        (2, 0, 0.70, A),  # wrong: the cat is taken by a better score
        (2, 0, 0.65, B),  # wrong: a dog is there
        (2, 1, 0.50, B),  # right, IoU 1
        (3, 0, 0.20, C),  # right, but below every threshold
    )
    quality = measure(data, split(data, kept=[0], labeled=[1]), pseudo, refined(pseudo), PARAMS)
    assert (quality["images"], quality["hidden"], quality["kept"]) == (2, 3, 1)
    everything = quality["pseudo"]["all"]
    assert everything["count"] == [4, 3, 1]
    assert everything["precision"] == pytest.approx([2 / 4, 1 / 3, 1], abs=1e-6)
    assert everything["recall"] == pytest.approx([2 / 3, 1 / 3, 1 / 3], abs=1e-6)
    assert everything["boxes_per_image"] == [2, 1.5, 0.5]
    assert everything["mean_iou"] == [0.75, 0.5, 0.5]
    assert quality["pseudo"]["classes"]["dog"] == {
        "hidden": 1,
        "precision": [1.0, None, None],
        "recall": [1.0, 0.0, 0.0],
        "count": [1, 0, 0],
        "boxes_per_image": [0.5, 0.0, 0.0],
        "mean_iou": [1.0, None, None],
    }
    assert headline(quality) == {"precision": pytest.approx(1 / 3, abs=1e-6), "recall": pytest.approx(1 / 3, abs=1e-6)}
    json.dumps(quality, allow_nan=False)


def test_repeats_of_kept_labels_are_no_news():
    """On a partly labeled image a box on the kept cat is discarded, one of another class there is wrong."""
    data = index(boxes((1, 0, A), (1, 0, B)), {1: "train"})
    pseudo = found((1, 0, 0.9, A), (1, 1, 0.9, A), (1, 0, 0.9, B))
    quality = measure(data, split(data, kept=[0], labeled=[1]), pseudo, refined(pseudo), PARAMS)["pseudo"]
    assert quality["discarded"] == {"kept": 1, "crowd_or_difficult": 0, "unverified": 0, "outside": 0}
    assert quality["all"]["count"] == [2, 2, 2] and quality["all"]["precision"] == [0.5, 0.5, 0.5]
    assert quality["all"]["recall"] == [1.0, 1.0, 1.0]


def test_crowd_and_difficult_boxes_are_neither_hidden_nor_wrong():
    data = index(
        boxes((1, 0, A, {"difficult": True}), (1, 0, (40, 40, 90, 90), {"crowd": True}), (1, 0, (0, 60, 20, 80))),
        {1: "train"},
    )
    pseudo = found((1, 0, 0.9, A), (1, 0, 0.9, B), (1, 0, 0.9, C), (1, 0, 0.9, (0, 60, 20, 80)))
    quality = measure(data, split(data, kept=[], labeled=[]), pseudo, refined(pseudo), PARAMS)
    assert quality["hidden"] == 1
    assert quality["pseudo"]["discarded"]["crowd_or_difficult"] == 3
    assert quality["pseudo"]["all"]["precision"] == [1.0, 1.0, 1.0]


def test_images_without_known_truth_are_left_out():
    """Pseudo labels of extra unlabeled images and of fully labeled ones are counted as outside, not as wrong."""
    data = index(boxes((1, 0, A), (2, 0, A)), {1: "train", 2: "train", 9: "unlabeled"})
    table = split(data, kept=[0], labeled=[1])
    extra = table.iloc[[-1]].assign(image_id=9)
    pseudo = found((1, 1, 0.9, B), (9, 0, 0.9, A), (2, 0, 0.9, A))
    whole = measure(data, pd.concat([table, extra]), pseudo, refined(pseudo), PARAMS)
    assert whole["images"] == 1 and whole["pseudo"]["discarded"]["outside"] == 2
    assert whole["pseudo"]["all"]["precision"] == [1.0, 1.0, 1.0]


def test_unlabeled_images_without_objects_count_as_images():
    data = index(boxes((1, 0, A)), {1: "train", 2: "train"})
    assert truth_of(data, split(data, kept=[], labeled=[])).images.tolist() == [1, 2]


def test_scores_are_compared_as_stored():
    """0.6 as float32 is below 0.6 as float64; a box with that score is at the threshold all the same."""
    data = index(boxes((1, 0, A)), {1: "train"})
    pseudo = found((1, 0, 0.6, A))
    quality = measure(data, split(data, kept=[], labeled=[]), pseudo, refined(pseudo), PARAMS)
    assert quality["pseudo"]["all"]["count"] == [1, 1, 0]


def test_refined_labels_by_use():
    data = index(boxes((1, 0, A), (1, 0, B)), {1: "train"})
    pseudo = found((1, 0, 0.9, C), (1, 0, 0.8, A), (1, 0, 0.4, B), (1, 1, 0.3, B))
    table = refined(
        pseudo,
        for_class=[True, True, True, False],
        for_box=[False, True, False, False],
        ignore=[False, False, False, True],
        weight=[1.0, 0.5, 0.0, 1.0],  # the third has no weight and so is no target
    )
    quality = measure(data, split(data, kept=[], labeled=[]), pseudo, table, PARAMS)["refined"]
    assert quality["ignore_share"] == 0.25
    assert (quality["class"]["rows"], quality["class"]["all"]["precision"], quality["class"]["all"]["recall"]) == (
        2,
        0.5,
        0.5,
    )
    assert (quality["box"]["all"]["precision"], quality["box"]["all"]["recall"]) == (1.0, 0.5)
    assert quality["objectness"]["all"]["precision"] is None and quality["objectness"]["all"]["count"] == 0


def test_unused_boxes_do_not_take_the_match_of_a_target():
    """The better-scored box is not a target, so the target behind it is right."""
    data = index(boxes((1, 0, A)), {1: "train"})
    pseudo = found((1, 0, 0.9, A), (1, 0, 0.8, A))
    table = refined(pseudo, for_class=[False, True])
    quality = measure(data, split(data, kept=[], labeled=[]), pseudo, table, PARAMS)
    assert quality["refined"]["class"]["all"]["precision"] == 1.0
    assert quality["pseudo"]["all"]["precision"] == [0.5, 0.5, 1.0]


def test_labels_drawn_by_people_are_not_judged():
    data = index(boxes((1, 0, A), (1, 0, B)), {1: "train"})
    pseudo = found((1, 0, 0.9, B))
    table = refined(found((1, 0, 1.0, A), (1, 0, 0.9, B)), source=["label", "teacher"], for_class=True)
    quality = measure(data, split(data, kept=[0], labeled=[1]), pseudo, table, PARAMS)["refined"]
    assert quality["rows"] == 1 and quality["class"]["all"]["count"] == 1


def test_empty_is_legal():
    data = index([], {1: "train"})
    quality = measure(data, split(data, kept=[], labeled=[]), found(), refined(found()), PARAMS)
    assert quality["pseudo"]["all"]["precision"] == [None, None, None]
    assert quality["pseudo"]["all"]["recall"] == [None, None, None]
    assert quality["refined"]["ignore_share"] is None
    json.dumps(quality, allow_nan=False)


rows = st.lists(
    st.tuples(st.integers(1, 3), st.integers(0, 1), st.floats(0, 1, width=32), st.sampled_from([A, B, C, HALF])),
    max_size=12,
)


@settings(max_examples=10, deadline=None)
@given(rows, rows)
def test_properties(truth, guesses):
    data = index(boxes(*((i, k, b) for i, k, _, b in truth)), {1: "train", 2: "train", 3: "train"})
    pseudo = found(*guesses)
    quality = measure(data, split(data, kept=[], labeled=[]), pseudo, refined(pseudo, for_class=True), PARAMS)
    parts = quality["pseudo"]
    for part in (parts["all"], *parts["classes"].values()):
        recall = [r for r in part["recall"] if r is not None]
        assert recall == sorted(recall, reverse=True)  # a higher threshold never finds more
        assert part["count"] == sorted(part["count"], reverse=True)
        for precision, recall, count in zip(part["precision"], part["recall"], part["count"], strict=True):
            if precision is not None and recall is not None:
                assert precision * count == pytest.approx(recall * part["hidden"], abs=1e-4)  # both count the matches
    assert sum(c["hidden"] for c in parts["classes"].values()) == parts["all"]["hidden"] == len(truth)
    sums = np.sum([c["count"] for c in parts["classes"].values()], axis=0)
    assert sums.tolist() == parts["all"]["count"]


@settings(max_examples=8, deadline=None)
@given(st.permutations(range(4)))
def test_order_of_rows_does_not_matter(order):
    data = index(boxes((1, 0, A), (1, 0, B), (2, 1, C)), {1: "train", 2: "train"})
    pseudo = found((1, 0, 0.9, HALF), (1, 0, 0.8, A), (2, 1, 0.7, C), (1, 0, 0.6, B))
    table = split(data, kept=[], labeled=[])
    shuffled = pseudo.iloc[list(order)]
    assert measure(data, table, shuffled, refined(shuffled), PARAMS) == measure(
        data, table, pseudo, refined(pseudo), PARAMS
    )


def test_an_estimate_from_held_out_images_beside_the_hidden_truth():
    """The teacher finds 1 of 2 objects on val, and both of the hidden ones."""
    truth = boxes((1, 0, A), (2, 0, A), (2, 0, B), (5, 0, A), (5, 1, B))
    data = index(truth, {1: "train", 2: "train", 5: "val", 6: "val"})
    pseudo, on_val = found((2, 0, 0.9, A), (2, 0, 0.95, B)), found((5, 0, 0.95, A), (6, 0, 0.7, A))
    table = split(data, kept=[0], labeled=[1])
    quality = measure(data, table, pseudo, refined(pseudo), PARAMS, on_held_out=("val", on_val))
    estimate = quality["estimate"]
    assert (estimate["subset"], estimate["images"], estimate["boxes"]) == ("val", 2, 2)
    assert estimate["all"]["precision"] == [0.5, 0.5, 1.0] and estimate["all"]["recall"] == [0.5, 0.5, 0.5]
    assert quality["pseudo"]["all"]["recall"] == [1.0, 1.0, 1.0]
    assert estimate["minus_hidden"] == {
        "precision": [-0.5, -0.5, 0.0],
        "recall": [-0.5, -0.5, -0.5],
        "threshold": pytest.approx(0.6),
    }
    assert set(estimate) >= set(quality["pseudo"])
    nobody = measure(data, table.assign(labeled=True), found(), refined(found()), PARAMS, on_held_out=("val", on_val))
    assert nobody["hidden"] == 2 and nobody["estimate"]["all"]["precision"] == [0.5, 0.5, 1.0]
    json.dumps(quality, allow_nan=False)


def test_without_held_out_images_and_in_a_first_round_there_is_nothing_to_say():
    data = index([], {1: "train"})
    quality = measure(data, split(data, [], []), found(), refined(found()), PARAMS)
    assert quality["estimate"] is None and quality["changes"] is None
    pseudo = refined(found())
    again = measure(data, split(data, [], []), found(), pseudo, PARAMS, before=pseudo, on_held_out=("val", found()))
    assert again["changes"]["all"]["now"] == 0 and again["estimate"]["images"] == 0
    json.dumps(again, allow_nan=False)
