"""PASCAL VOC's average precision against published cases and hand-worked ones."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from scantling.data.index import BOX_COLUMNS, IMAGE_COLUMNS, Index, table
from scantling.evaluate import coco, voc
from scantling.predict import DETECTION_COLUMNS

CASES = Path(__file__).parents[2].parent / "shared/data/voc_ap_cases"


def index_of(boxes: list[dict], images: int = 3, classes: tuple[str, ...] = ("object",)) -> Index:
    rows = [
        {"image_id": i, "subset": "test", "file_name": f"{i}.png", "width": 1000, "height": 1000}
        for i in range(1, images + 1)
    ]
    defaults = {"area": 1.0, "crowd": False, "difficult": False, "label": 0}
    truth = table([{"box_id": n, **defaults, **b} for n, b in enumerate(boxes)], BOX_COLUMNS)
    filled = pd.DataFrame(rows).assign(bytes=0, mtime_ns=0)
    return Index("made", Path("."), classes, tuple(range(len(classes))), table(filled, IMAGE_COLUMNS), truth, {})


def found(rows: list[dict]) -> pd.DataFrame:
    return pd.DataFrame([{"label": 0, **r} for r in rows], columns=DETECTION_COLUMNS)


def box(x: float, image: int = 1, side: float = 10, **more: object) -> dict:
    return {"image_id": image, "x1": x, "y1": 0.0, "x2": x + side, "y2": side, **more}


@pytest.mark.skipif(not CASES.exists(), reason="the published cases are not in this checkout")
@pytest.mark.parametrize(
    ("iou", "points", "area"),
    [
        (0.1, 0.3333333333, 0.3371980676),
        (0.3, 0.2683982683, 0.2456866804),
        (0.5, 0.0303030303, 0.0222222222),
        (0.75, 0, 0),
    ],  # fmt: skip
)
def test_published_cases(iou: float, points: float, area: float) -> None:
    def rows(folder: str) -> list[dict]:
        read = []
        for file in sorted((CASES / folder).glob("*.txt")):
            for line in file.read_text().splitlines():
                _, *numbers = line.split()
                *score, x, y, w, h = map(float, numbers)
                corners = {"x1": x, "y1": y, "x2": x + w + 1, "y2": y + h + 1}  # inclusive corners to outer edges
                read.append({"image_id": int(file.stem), **corners, **({"score": score[0]} if score else {})})
        return read

    index = index_of(rows("gts"), images=7)
    for rule, wanted in (("11_points", points), ("area", area)):
        got = voc.evaluate(index, "test", found(rows("dets")), iou_threshold=iou, rule=rule)
        assert got["AP"].tolist() == pytest.approx([wanted], abs=1e-9) and got["boxes"].tolist() == [15]


def test_second_hit_is_wrong_and_difficult_ones_do_not_count() -> None:
    index = index_of([box(0), box(50), box(100, difficult=True), box(200, crowd=True)])
    placed = ((0, 0.9), (1, 0.8), (100, 0.7), (200, 0.65), (50, 0.6))
    detections = found([box(x, score=score) for x, score in placed])
    # right, wrong (taken), two that do not count, right: precision 1, 1/2, 2/3 at recall 1/2, 1/2, 1
    assert voc.evaluate(index, "test", detections)["AP"].tolist() == pytest.approx([0.5 + 0.5 * 2 / 3])
    points = voc.evaluate(index, "test", detections, rule="11_points")
    assert points["AP"].tolist() == pytest.approx([(6 * 1 + 5 * 2 / 3) / 11])


def test_the_best_overlap_decides_even_if_it_is_taken() -> None:
    index = index_of([box(0), box(4)])
    detections = found([box(0, score=0.9), box(1, score=0.8)])  # the second overlaps the first truth most: wrong
    assert voc.evaluate(index, "test", detections)["AP"].tolist() == pytest.approx([0.5])


def test_classes_images_and_emptiness() -> None:
    index = index_of([box(0, label=1)], classes=("a", "b", "c"))
    nothing = voc.evaluate(index, "test", found([]))
    assert np.isnan(nothing["AP"][0]) and nothing["AP"][1] == 0 and nothing["boxes"].tolist() == [0, 1, 0]
    other = voc.evaluate(index, "test", found([box(0, image=2, score=0.9, label=1), box(0, score=0.5, label=0)]))
    assert other["AP"][1] == 0
    assert voc.evaluate(index, "test", found([box(0, score=0.2, label=1)]))["AP"][1] == 1


def test_close_to_coco_at_half_overlap() -> None:
    rng = np.random.default_rng(0)
    truth = [box(40.0 * i, image=1 + i % 3) for i in range(20)]
    detections = [box(40.0 * i + rng.normal(0, 2), image=1 + i % 3, score=rng.random()) for i in range(20)]
    detections += [box(40.0 * i + 20, image=1 + i % 3, score=rng.random()) for i in range(15)]
    index = index_of(truth)
    ours = voc.evaluate(index, "test", found(detections))["AP"][0]
    assert ours == pytest.approx(coco.evaluate(index, "test", found(detections)).numbers["AP50"], abs=0.03)
