"""The federated rules of LVIS: hand-worked, and against another implementation."""

import numpy as np
import pandas as pd
import pytest

from scantling.data.index import IMAGE_LABEL_COLUMNS, Index, table
from scantling.evaluate import lvis
from tests.evaluate.test_voc import box, found, index_of


def index_with(boxes: list[dict], known: list[dict], classes: tuple[str, ...], frequencies: str, images: int) -> Index:
    plain = index_of([{"area": 5000.0, **b} for b in boxes], images=images, classes=classes)
    labels = table(known, IMAGE_LABEL_COLUMNS)
    return Index(**{**vars(plain), "image_labels": labels, "facts": {"frequencies": list(frequencies)}})


def test_only_judged_classes_count_and_open_ones_forgive() -> None:
    known = [
        {"image_id": 1, "label": 1, "kind": "negative"},
        {"image_id": 2, "label": 0, "kind": "not_exhaustive"},
    ]
    index = index_with([box(0, 1, label=0), box(0, 2, label=0), box(0, 3, label=1)], known, ("a", "b"), "rf", 3)
    right = [box(0, 1, label=0, score=0.9), box(0, 2, label=0, score=0.8), box(0, 3, label=1, score=0.3)]
    forgiven = [
        box(50, 3, label=0, score=0.99),  # nothing is known of class a in image 3
        box(50, 2, label=0, score=0.99),  # image 2 may hold more of class a
    ]
    numbers = lvis.evaluate(index, "test", found(right + forgiven)).numbers
    assert [numbers[k] for k in ("AP", "APr", "APf")] == pytest.approx([1, 1, 1]) and numbers["APc"] is None
    wrong = box(50, 1, label=1, score=0.5)  # image 1 is known to hold no b
    worse = lvis.evaluate(index, "test", found([*right, *forgiven, wrong]))
    assert worse.numbers["APf"] == pytest.approx(0.5, abs=0.01) and worse.numbers["APr"] == pytest.approx(1)
    assert worse.per_class["boxes"].tolist() == [2, 1]


def test_at_most_300_an_image_and_none_at_all() -> None:
    index = index_with([box(0, 1, label=0)], [{"image_id": 1, "label": 1, "kind": "negative"}], ("a", "b"), "rf", 1)
    crowded = [box(30.0 * i, 1, label=1, score=0.9) for i in range(300)] + [box(0, 1, label=0, score=0.1)]
    assert lvis.evaluate(index, "test", found(crowded)).numbers["APr"] == 0
    assert lvis.evaluate(index, "test", found(crowded[1:])).numbers["APr"] == pytest.approx(1)
    nothing = lvis.evaluate(index, "test", found([])).numbers
    assert nothing["AP"] == 0 and nothing["APf"] is None


def test_equal_to_another_implementation() -> None:
    faster = pytest.importorskip("faster_coco_eval")
    rng = np.random.default_rng(1)
    images, classes = 12, tuple("abcdef")
    boxes, known, guesses = [], [], []
    for image in range(1, images + 1):
        held = set(rng.choice(6, 2, replace=False).tolist())
        for label in held:
            for _ in range(int(rng.integers(1, 4))):
                x, side = rng.uniform(0, 700), rng.uniform(10, 200)
                boxes.append(box(x, image, side, label=label, area=side**2))
                if rng.random() < 0.7:
                    guesses.append(box(x + rng.normal(0, 4), image, side, label=label, score=rng.random()))
            if rng.random() < 0.3:
                known.append({"image_id": image, "label": label, "kind": "not_exhaustive"})
        absent = next(c for c in rng.permutation(6).tolist() if c not in held)
        known.append({"image_id": image, "label": absent, "kind": "negative"})
        guesses += [
            box(rng.uniform(0, 700), image, rng.uniform(10, 200), label=int(rng.integers(6)), score=rng.random())
            for _ in range(6)
        ]
    index = index_with(boxes, known, classes, "rrccff", images)
    detections = found(guesses).astype({"label": "int64"})
    ours = lvis.evaluate(index, "test", detections).numbers
    theirs = _faster(faster, index, known, detections)
    names = {"AP": "AP_all", "AP50": "AP_50", "AP75": "AP_75", "APr": "APr", "APc": "APc", "APf": "APf"}
    for name, other in names.items():
        assert ours[name] == pytest.approx(theirs[other], abs=1e-9), name


def _faster(faster: object, index: Index, known: list[dict], detections: pd.DataFrame) -> dict[str, float]:
    def rows(frame: pd.DataFrame, **more: object) -> list[dict]:
        return [
            {
                "id": n,
                "image_id": int(r.image_id),
                "category_id": int(r.label) + 1,
                "bbox": [float(r.x1), float(r.y1), float(r.x2) - float(r.x1), float(r.y2) - float(r.y1)],
                **{k: float(getattr(r, k)) for k in more},
                "iscrowd": 0,
            }
            for n, r in enumerate(frame.itertuples(), start=1)
        ]

    def ids(image: int, kind: str) -> list[int]:
        return [k["label"] + 1 for k in known if k["image_id"] == image and k["kind"] == kind]

    truth = {
        "images": [
            {"id": i, "neg_category_ids": ids(i, "negative"), "not_exhaustive_category_ids": ids(i, "not_exhaustive")}
            for i in index.images["image_id"].tolist()
        ],
        "categories": [
            {"id": n, "name": c, "frequency": f}
            for n, (c, f) in enumerate(zip(index.classes, index.facts["frequencies"], strict=True), start=1)
        ],
        "annotations": rows(index.boxes, area=None),
    }
    gt = faster.COCO(truth)
    results = gt.loadRes(rows(detections, score=None))
    run = faster.COCOeval_faster(gt, results, "bbox", lvis_style=True, print_function=lambda *text: None)
    run.params.maxDets = [300]
    run.run() if hasattr(run, "run") else (run.evaluate(), run.accumulate(), run.summarize())
    return run.stats_as_dict
