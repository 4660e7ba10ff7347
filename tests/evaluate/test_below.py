"""Which images two teachers are compared on, and what is said if the later one is worse."""

import pandas as pd
import pytest

from scantling import log
from scantling.evaluate import below, coco
from tests.report import synthetic


@pytest.fixture(scope="module")
def index(tmp_path_factory):
    results = synthetic.write(tmp_path_factory.mktemp("below"), synthetic.study((1,), ("percent_10",)))
    return synthetic.read_index(results)


@pytest.fixture(autouse=True)
def nothing_warned(monkeypatch):
    monkeypatch.setattr(log, "_warned", [])


def test_images_are_spread_over_the_subset_and_always_the_same():
    images = pd.DataFrame({"image_id": [9, 3, 1, 7, 5]})
    assert below.some(images, 3)["image_id"].tolist() == [1, 5, 9]
    assert below.some(images.iloc[::-1], 3)["image_id"].tolist() == [1, 5, 9]
    assert below.some(images, 9)["image_id"].tolist() == [1, 3, 5, 7, 9]
    assert below.some(images, 1)["image_id"].tolist() == [1]


def test_the_flag_compares_on_the_same_images(index):
    images = below.some(index.images[index.images["subset"] == "test"], 4)
    right = index.boxes.assign(score=0.9)[["image_id", "label", "score", "x1", "y1", "x2", "y2"]]
    right = right[right["image_id"].isin(index.images.loc[index.images["subset"] == "test", "image_id"])]
    worse = right.assign(x2=right["x2"] + 8)
    assert below.compare(index, images, worse, right) == {
        "images": 4, "burn_in_AP": pytest.approx(below.compare(index, images, right, worse)["teacher_AP"]),
        "teacher_AP": pytest.approx(1.0), "below_burn_in": False,
    }  # fmt: skip
    (said,) = log.warned()  # of the exchanged pair
    assert "AP" in said and "same 4 images" in said
    log._warned.clear()
    elsewhere = ~right["image_id"].isin(images["image_id"])
    spoiled = pd.concat([right[~elsewhere], worse[elsewhere]])
    assert coco.evaluate(index, "test", spoiled).numbers["AP"] < 1
    assert not below.compare(index, images, right, spoiled)["below_burn_in"] and not log.warned()
