"""Which numbers a data set gets: COCO's always, VOC's and LVIS' where the data is theirs."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from scantling.data.index import IMAGE_LABEL_COLUMNS, Index, table
from scantling.evaluate import coco, lvis, metrics, voc
from scantling.stage import BadInput
from tests.evaluate.made import found, index

WHOLE, OTHER = (10.0, 10.0, 50.0, 50.0), (60.0, 60.0, 90.0, 90.0)


def small(classes: tuple[str, ...] = ("cat", "dog", "cow")) -> Index:
    """One cat, one difficult cat and one dog on two images; no cow."""
    boxes = [
        {"image_id": 1, "label": 0, "xyxy": WHOLE},
        {"image_id": 1, "label": 0, "xyxy": OTHER, "difficult": True},
        {"image_id": 2, "label": 1, "xyxy": WHOLE},
    ]
    return index(boxes, {1: "test", 2: "test"}, classes)


def federated() -> Index:
    known = [{"image_id": 1, "label": 1, "kind": "negative"}, {"image_id": 2, "label": 1, "kind": "not_exhaustive"}]
    return replace(small(), image_labels=table(known, IMAGE_LABEL_COLUMNS), facts={"frequencies": ["r", "f", "c"]})


ROWS = ((1, 0, 0.9, OTHER), (1, 0, 0.8, WHOLE), (2, 1, 0.7, OTHER), (2, 1, 0.6, WHOLE), (2, 0, 0.95, WHOLE))


def test_auto_follows_the_data():
    assert metrics.chosen(small(), ("auto",)) == ("coco",)
    assert metrics.chosen(small(tuple(sorted(metrics.VOC_CLASSES))), ("auto",)) == ("coco", "voc")
    assert metrics.chosen(replace(small(), image_labels=table([], IMAGE_LABEL_COLUMNS)), ("auto",)) == ("coco",)
    assert metrics.chosen(federated(), ("auto",)) == ("coco", "lvis")
    assert len(metrics.VOC_CLASSES) == 20


def test_a_list_is_obeyed_and_coco_is_always_there():
    assert metrics.chosen(small(), ("voc",)) == ("coco", "voc")
    assert metrics.chosen(federated(), ("lvis", "voc", "coco")) == ("coco", "voc", "lvis")
    assert metrics.chosen(federated(), ("coco",)) == ("coco",)
    assert metrics.chosen(federated(), ("voc", "auto")) == ("coco", "voc", "lvis")
    with pytest.raises(BadInput, match="`metrics` names lvis, but the data does not say .* leave lvis out"):
        metrics.chosen(small(), ("lvis",))


def test_voc_numbers_stand_beside_those_of_coco():
    data, rows = small(), found(*ROWS)
    result = metrics.measure(data, "test", rows, ("coco", "voc"))
    assert result.numbers["coco"] == coco.evaluate(data, "test", rows).numbers
    # cat: wrong on image 2, difficult, right: 1/2 at every recall; dog: wrong, right: 1/2 too; no cow
    assert result.numbers["voc"] == pytest.approx({"AP_11_points": 0.5, "AP_area": 0.5})
    table = result.per_class
    assert list(table.columns) == [*coco.PER_CLASS_COLUMNS, "AP_11_points", "AP_area"]
    assert table["AP_area"].tolist()[:2] == pytest.approx([0.5, 0.5]) and np.isnan(table["AP_area"][2])
    pd.testing.assert_series_equal(
        table["AP_11_points"], voc.evaluate(data, "test", rows, rule="11_points")["AP"], check_names=False
    )


def test_lvis_numbers_stand_beside_those_of_coco():
    data, rows = federated(), found(*ROWS)
    result = metrics.measure(data, "test", rows, ("coco", "lvis"))
    assert list(result.numbers) == ["coco", "lvis"] and list(result.numbers["lvis"]) == list(lvis.NAMES)
    assert result.numbers["lvis"] == lvis.evaluate(data, "test", rows).numbers
    # federated: nothing is known of cats on image 2, and there may be more dogs than are boxed
    assert result.numbers["lvis"]["APr"] == result.numbers["lvis"]["APf"] == pytest.approx(1)
    assert result.numbers["lvis"]["APc"] is None
    assert result.per_class["frequency"].tolist() == ["r", "f", "c"]
    assert result.per_class["AP_lvis"].tolist()[:2] == pytest.approx([1, 1])
    assert result.per_class["AP"].tolist()[0] < 0.6  # COCO's rules take the cat on image 2 for a mistake


def test_nothing_found_and_nothing_to_find():
    every = ("coco", "voc", "lvis")
    nothing = metrics.measure(federated(), "test", found(), every)
    assert nothing.numbers["voc"] == {"AP_11_points": 0.0, "AP_area": 0.0} and nothing.numbers["lvis"]["AP"] == 0
    known = table([{"image_id": 1, "label": 0, "kind": "negative"}], IMAGE_LABEL_COLUMNS)
    bare = replace(index([], {1: "test"}), image_labels=known)
    result = metrics.measure(bare, "test", found((1, 0, 0.9, WHOLE)), every)
    assert {value for numbers in result.numbers.values() for value in numbers.values()} == {None}
    assert result.per_class[["AP_area", "AP_lvis"]].isna().all(axis=None)
    assert result.per_class["frequency"].tolist() == ["", ""]  # data that names none


def test_many_detections_get_the_same_numbers(monkeypatch):
    rows = found(*ROWS)
    few = metrics.measure(small(), "test", rows, ("coco",))
    monkeypatch.setattr(metrics, "LARGE", 0)
    with monkeypatch.context() as without:
        without.setattr(coco, "evaluate", None)  # pycocotools is not asked
        many = metrics.measure(small(), "test", rows, ("coco",))
    assert many.numbers == few.numbers
    pd.testing.assert_frame_equal(many.per_class, few.per_class)
