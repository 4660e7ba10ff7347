"""Whose truth is known: train images, a pool that has boxes or says what it does not show, and held-out images."""

import pandas as pd

from scantling.data.index import IMAGE_LABEL_COLUMNS, table
from scantling.evaluate.params import QualityParams
from scantling.evaluate.truth import held_out, truth_of
from tests.evaluate.made import found, index, measure, refined, split

PARAMS = QualityParams(iou_threshold=0.5, headline_threshold=0.5, thresholds=(0.5,))
A, B = (0.0, 0.0, 20.0, 20.0), (40.0, 40.0, 60.0, 60.0)


def box(image, label, xyxy, **flags):
    return {"image_id": image, "label": label, "xyxy": xyxy} | flags


def pool(data, kept, labeled, extra):
    """split.parquet with images of other subsets below those of train."""
    bare = pd.DataFrame({"image_id": extra, "labeled": False, "box_id": -1, "label": -1})
    return pd.concat([split(data, kept, labeled), bare])


def test_an_annotated_pool_counts():
    """As VOC12 beside VOC07: image 9 is of another subset but has its boxes in the index, image 8 has none."""
    data = index([box(1, 0, A), box(9, 0, A), box(9, 1, B)], {1: "train", 8: "unlabeled", 9: "unlabeled"})
    table_ = pool(data, [0], [1], [8, 9])
    truth = truth_of(data, table_)
    assert truth.images.tolist() == [9] and truth.unknown.tolist() == [8] and len(truth.hidden) == 2
    pseudo = found((8, 0, 0.9, A), (9, 0, 0.9, A), (9, 1, 0.9, A))
    quality = measure(data, table_, pseudo, refined(pseudo, for_class=True), PARAMS)
    assert (quality["images"], quality["images_without_truth"], quality["hidden"]) == (1, 1, 2)
    assert quality["pseudo"]["discarded"]["outside"] == 1
    assert quality["pseudo"]["all"]["precision"] == [0.5] and quality["pseudo"]["all"]["recall"] == [0.5]
    assert quality["refined"]["class"]["all"]["precision"] == 0.5


def test_images_outside_the_split_have_no_hidden_truth():
    data = index([box(1, 0, A), box(5, 0, A)], {1: "train", 5: "test"})
    assert truth_of(data, split(data, [0], [1])).images.tolist() == []


def test_classes_that_nobody_checked_are_neither_right_nor_wrong():
    """LVIS: image 1 says that it shows no class 1, and not every object of class 2; of class 3 nothing is known."""
    facts = [(1, 1, "negative"), (1, 2, "not_exhaustive"), (1, 0, "not_exhaustive")]
    known = table(pd.DataFrame(facts, columns=list(IMAGE_LABEL_COLUMNS)), IMAGE_LABEL_COLUMNS)
    data = index([box(1, 0, A), box(1, 2, A), box(2, 0, A)], {1: "train", 2: "train"}, classes=("a", "b", "c", "d"))
    data = type(data)(**{**vars(data), "image_labels": known})
    pseudo = found(
        (1, 0, 0.9, A),  # right
        (1, 0, 0.8, B),  # perhaps an object without its box
        (1, 1, 0.9, A),  # wrong: verified absent
        (1, 2, 0.9, B),  # perhaps
        (1, 3, 0.9, B),  # not looked for
        (2, 3, 0.9, B),  # wrong: image 2 is boxed completely
    )
    quality = measure(data, split(data, [], []), pseudo, refined(pseudo), PARAMS)["pseudo"]
    assert quality["discarded"]["unverified"] == 3
    assert quality["all"]["count"] == [3] and quality["all"]["precision"] == [round(1 / 3, 6)]


def test_held_out_images():
    boxes = [box(1, 0, A), box(2, 0, A), box(2, 1, B, crowd=True), box(2, 1, A, difficult=True)]
    data = index(boxes, {1: "train", 2: "val", 3: "val"})
    truth = held_out(data, "val")
    assert truth.images.tolist() == [2, 3]
    assert [len(t) for t in (truth.hidden, truth.crowd, truth.difficult, truth.kept)] == [1, 1, 1, 0]
    assert len(held_out(data, "nothing").images) == 0
