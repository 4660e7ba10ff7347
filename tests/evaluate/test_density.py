"""As many boxes an image as people drew."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from scantling.evaluate.density import Density
from scantling.evaluate.portions import Held
from scantling.evaluate.truth import truth_of
from tests.evaluate.made import found, index, split

CLASSES = ("cat", "dog")
A, B = (0.0, 0.0, 20.0, 20.0), (40.0, 40.0, 60.0, 60.0)


def matching_thresholds(truth, table, pseudo, classes):
    density = Density(len(classes))
    density.add(truth, table, pseudo)
    return density.thresholds(Held(pseudo), classes)


def made(boxes, images, kept, labeled):
    data = index([{"image_id": i, "label": k, "xyxy": b} for i, k, b in boxes], dict.fromkeys(images, "train"))
    table = split(data, kept, labeled)
    return truth_of(data, table), table


def test_by_hand():
    """Images 1 and 2 have 3 cats and 1 dog: 1.5 and 0.5 an image, so 3 and 1 in images 3 and 4."""
    truth, table = made([(1, 0, A), (1, 0, B), (2, 0, A), (2, 1, B)], [1, 2, 3, 4], [0, 1, 2, 3], [1, 2])
    pseudo = found(
        (3, 0, 0.9, A), (3, 0, 0.3, A), (4, 0, 0.5, A), (4, 0, 0.7, A),
        (4, 1, 0.25, A), (3, 1, 0.2, A),
        (1, 0, 1.0, A),  # on a labeled image: not one of those the machine labels
    )  # fmt: skip
    found_ = matching_thresholds(truth, table, pseudo, CLASSES)
    assert (found_["labeled_images"], found_["images"]) == (2, 2)
    assert found_["classes"] == {
        "cat": {"boxes_per_image": 1.5, "threshold": 0.5},
        "dog": {"boxes_per_image": 0.5, "threshold": 0.25},
    }
    assert found_["all"] == {"boxes_per_image": 2.0, "threshold": 0.300000}


def test_partly_labeled_images_say_nothing_of_the_density():
    truth, table = made([(1, 0, A), (1, 0, B)], [1], [0], [1])
    found_ = matching_thresholds(truth, table, found((1, 0, 0.9, B)), CLASSES)
    assert (found_["labeled_images"], found_["images"]) == (0, 1)
    assert found_["all"] == {"boxes_per_image": None, "threshold": None}


def test_too_few_labels_and_no_object():
    truth, table = made([(1, 0, A), (1, 0, B)], [1, 2], [0, 1], [1])
    found_ = matching_thresholds(truth, table, found((2, 0, 0.9, B), (2, 1, 0.9, B)), CLASSES)
    assert found_["classes"]["cat"] == {"boxes_per_image": 2.0, "threshold": None}
    assert found_["classes"]["dog"] == {"boxes_per_image": 0.0, "threshold": None}
    assert found_["all"]["threshold"] == 0.899999  # float32 0.9 is a little less


@settings(max_examples=10, deadline=None)
@given(st.lists(st.floats(0, 1, width=32), min_size=3, max_size=12, unique=True))
def test_that_many_labels_are_at_the_threshold(scores):
    truth, table = made([(1, 0, A), (1, 0, B), (1, 0, A)], [1, 2], [0, 1, 2], [1])
    pseudo = found(*((2, 0, s, A) for s in scores))
    threshold = matching_thresholds(truth, table, pseudo, CLASSES)["all"]["threshold"]
    wanted = np.sort(np.float32(scores))[::-1][2]
    assert threshold <= wanted < threshold + 2e-6
