import gzip
import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from scantling.data.index import BOX_COLUMNS, IMAGE_COLUMNS, XYXY, Index, table
from scantling.evaluate import coco
from scantling.stage import BadInput
from tests.evaluate.made import FOUND, found, index

WHOLE = (10.0, 10.0, 50.0, 50.0)


def read(path: Path) -> dict:
    with gzip.open(path) as stream:
        return json.load(stream)


def real(folder: Path, truth_file: str, found_file: str, own_area: bool) -> tuple[Index, pd.DataFrame]:
    """A COCO file and a result file as tables; own_area=False replaces the published area by width times height."""
    truth, results = read(folder / truth_file), read(folder / found_file)
    ids = sorted(c["id"] for c in truth["categories"])
    label = {category: k for k, category in enumerate(ids)}

    def corners(rows: list[dict]) -> dict:
        x, y, w, h = np.array([r["bbox"] for r in rows], dtype=np.float64).T
        return dict(zip(XYXY, (x, y, x + w, y + h), strict=True)) | {"w_h": w * h}

    images = pd.DataFrame({"image_id": [i["id"] for i in truth["images"]], "subset": "val", "file_name": ""})
    images = images.assign(width=[i["width"] for i in truth["images"]], height=[i["height"] for i in truth["images"]])
    rows = truth["annotations"]
    boxes = pd.DataFrame(
        {"box_id": [r["id"] for r in rows], "image_id": [r["image_id"] for r in rows], **corners(rows)}
    )
    boxes = boxes.assign(label=[label[r["category_id"]] for r in rows], crowd=[bool(r["iscrowd"]) for r in rows])
    boxes = boxes.assign(area=[r["area"] for r in rows] if own_area else boxes["w_h"], difficult=False)
    made = {"image_id": [r["image_id"] for r in results], "score": [r["score"] for r in results], **corners(results)}
    detections = table(pd.DataFrame(made | {"label": [label[r["category_id"]] for r in results]}), FOUND)
    images = table(images.assign(bytes=0, mtime_ns=0), IMAGE_COLUMNS)
    classes = tuple(str(i) for i in ids)
    return Index("real", folder, classes, tuple(ids), images, table(boxes, BOX_COLUMNS), {}), detections


@pytest.mark.parametrize(
    ("case", "truth_file", "found_file", "own_area"),
    [
        ("instances_val2014_fakebbox100", "instances_val2014_100", "instances_val2014_fakebbox100_results", True),
        (
            "instances_val2014_fakebbox100__area_from_bbox",
            "instances_val2014_100",
            "instances_val2014_fakebbox100_results",
            False,
        ),
        ("fastestdet_on_train_subset337", "coco2017_train_subset337", "fastestdet_on_train_subset337", True),
    ],
)
def test_published_numbers(shared_data, case, truth_file, found_file, own_area, capsys):
    """All twelve, with the `area` as published; an evaluator that takes w*h gives the second case for the first."""
    folder = shared_data / "coco_annotations"
    expected = json.loads((folder / "expected.json").read_text())[case]
    data, detections = real(folder, f"{truth_file}.json.gz", f"{found_file}.json.gz", own_area)
    result = coco.evaluate(data, "val", detections)
    assert result.numbers == pytest.approx(expected, abs=1e-9)
    assert list(result.numbers) == list(coco.NAMES)
    assert np.nanmean(result.per_class["AP"]) == pytest.approx(expected["AP"], abs=1e-9)
    assert np.nanmean(result.per_class["AP50"]) == pytest.approx(expected["AP50"], abs=1e-9)
    assert np.nanmean(result.per_class["AR100"]) == pytest.approx(expected["AR100"], abs=1e-9)
    assert result.per_class["boxes"].sum() == (~data.boxes["crowd"]).sum()
    assert capsys.readouterr().out == ""


def test_area_decides_the_size_class():
    data = index([{"image_id": 1, "label": 0, "xyxy": (0, 0, 40, 40), "area": 900.0}], {1: "test"})
    numbers = coco.evaluate(data, "test", found((1, 0, 0.9, (0, 0, 40, 40)))).numbers
    assert numbers["APs"] == pytest.approx(1)  # 900 < 32 * 32 though the box has 1600
    assert numbers["APm"] is None and numbers["ARm"] is None


def test_nothing_found():
    data = index([{"image_id": 1, "label": 0, "xyxy": WHOLE}], {1: "test"})
    result = coco.evaluate(data, "test", found())
    assert result.numbers["AP"] == result.numbers["AR100"] == 0.0
    assert result.per_class["AP"].tolist()[0] == 0.0 and np.isnan(result.per_class["AP"][1])


def test_nothing_to_find():
    data = index([], {1: "test"})
    result = coco.evaluate(data, "test", found((1, 0, 0.9, WHOLE)))
    assert set(result.numbers.values()) == {None}
    assert result.per_class["boxes"].tolist() == [0, 0]
    assert coco.evaluate(data, "test", found()).numbers == result.numbers


def test_detections_on_images_without_boxes_count():
    """Half of the detections are wrong: one on an image that shows nothing, with the higher score."""
    data = index([{"image_id": 1, "label": 0, "xyxy": WHOLE}], {1: "test", 2: "test"})
    numbers = coco.evaluate(data, "test", found((1, 0, 0.5, WHOLE), (2, 0, 0.9, WHOLE))).numbers
    assert numbers["AP"] == pytest.approx(0.5)


@pytest.mark.parametrize(("flag", "ap"), [("crowd", 1.0), ("difficult", 1.0), (None, 0.5)])
def test_ignored_boxes_are_neither_right_nor_wrong(flag, ap):
    """A detection on a crowd or difficult box, ranked first, changes nothing; on nothing it halves precision."""
    boxes = [{"image_id": 1, "label": 0, "xyxy": WHOLE}]
    other = (60.0, 60.0, 90.0, 90.0)
    if flag:
        boxes.append({"image_id": 1, "label": 0, "xyxy": other, flag: True})
    result = coco.evaluate(index(boxes, {1: "test"}), "test", found((1, 0, 0.9, other), (1, 0, 0.5, WHOLE)))
    assert result.numbers["AP"] == pytest.approx(ap)
    assert result.per_class["boxes"].tolist() == [1, 0]


def test_difficult_first_box_is_ignored_too():
    """The first box of the table: its id must not be 0, which pycocotools takes for none."""
    boxes = [
        {"image_id": 1, "label": 0, "xyxy": (60, 60, 90, 90), "difficult": True},
        {"image_id": 1, "label": 0, "xyxy": WHOLE},
    ]
    detections = found((1, 0, 0.9, (60, 60, 90, 90)), (1, 0, 0.5, WHOLE))
    assert coco.evaluate(index(boxes, {1: "test"}), "test", detections).numbers["AP"] == pytest.approx(1)


def test_other_subsets_are_left_alone():
    boxes = [{"image_id": 1, "label": 0, "xyxy": WHOLE}, {"image_id": 2, "label": 0, "xyxy": WHOLE}]
    data = index(boxes, {1: "test", 2: "val"})
    assert coco.evaluate(data, "test", found((1, 0, 0.9, WHOLE))).numbers["AR100"] == pytest.approx(1)
    with pytest.raises(BadInput, match="1 detections are of images outside subset `test`, the first of image 2"):
        coco.evaluate(data, "test", found((2, 0, 0.9, WHOLE)))


def test_bad_input_is_named():
    data = index([{"image_id": 1, "label": 0, "xyxy": WHOLE}], {1: "test"})
    with pytest.raises(BadInput, match="no images in subset `tset`; its subsets are test"):
        coco.evaluate(data, "tset", found())
    with pytest.raises(BadInput, match="has label 2, but labels go from 0 to 1"):
        coco.evaluate(data, "test", found((1, 2, 0.9, WHOLE)))
    with pytest.raises(BadInput, match="not finite"):
        coco.evaluate(data, "test", found((1, 0, float("nan"), WHOLE)))


box = st.tuples(st.integers(0, 60), st.integers(0, 60), st.integers(1, 40), st.integers(1, 40)).map(
    lambda b: (float(b[0]), float(b[1]), float(b[0] + b[2]), float(b[1] + b[3]))
)


@settings(max_examples=25, deadline=None)
@given(st.lists(st.tuples(st.integers(1, 3), st.integers(0, 1), box), min_size=1, max_size=8))
def test_perfect_detections_are_perfect(boxes):
    """Finding exactly the truth gives 1 wherever anything is defined, finding nothing gives 0 there."""
    data = index([{"image_id": i, "label": k, "xyxy": b} for i, k, b in boxes], {1: "test", 2: "test", 3: "test"})
    perfect = coco.evaluate(data, "test", found(*((i, k, 0.9, b) for i, k, b in boxes)))
    nothing = coco.evaluate(data, "test", found())
    for name, value in perfect.numbers.items():
        assert (value is None) == (nothing.numbers[name] is None)
        if value is not None and name not in ("AR1",):  # at most one box an image may be found there
            assert value == pytest.approx(1)
            assert nothing.numbers[name] == 0
    present = sorted({k for _, k, _ in boxes})
    assert perfect.per_class["AP"].dropna().tolist() == pytest.approx([1.0] * len(present))
    assert perfect.per_class["boxes"].tolist() == [sum(k == c for _, k, _ in boxes) for c in (0, 1)]
