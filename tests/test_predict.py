"""Boxes found in a resized view come back in original pixels, whatever the batch."""

import tempfile
from pathlib import Path
from unittest import mock

import numpy as np
import pandas as pd
import pytest
import torch

from scantling import detectors, predict, pseudo, pseudo_files
from scantling.augment import geometry
from scantling.candidates import CandidateTable
from scantling.data.images import decode
from scantling.detectors.settings import InputParams
from scantling.pseudo import PseudoLabelParams
from tests import tiny, toy

PARAMS = PseudoLabelParams.load(toy.ROOT / "params/pseudo_label.yaml")


def find(folder: Path, batch_size: int) -> pd.DataFrame:
    images, _ = toy.tables(folder)
    params = toy.detector_params("faster_rcnn_lite")
    parts = predict.detection_parts(
        toy.detector("faster_rcnn_lite"), images, folder, input=params.input, batch_size=batch_size, workers=0,
        score_threshold=0.05, nms_iou=0.5, limit=20, device="cpu", keep=folder / f"batches of {batch_size}",
    )  # fmt: skip
    return pseudo.gather(list(parts))[predict.DETECTION_COLUMNS]


def test_the_batch_size_changes_nothing(tmp_path: Path) -> None:
    one, three = find(tmp_path, 1), find(tmp_path, 3)
    assert len(one) and one["image_id"].tolist() == three["image_id"].tolist()
    np.testing.assert_allclose(one[["x1", "y1", "x2", "y2"]], three[["x1", "y1", "x2", "y2"]], atol=0.05)
    assert (one["x2"] <= 80).all() and (one["y2"] <= 64).all() and (one[["x1", "y1"]] >= 0).all().all()


@pytest.mark.parametrize("antialias", [True, False])
@pytest.mark.parametrize("exact_px", [None, (33, 70)])
def test_images_are_resized_as_the_detector_says(
    tmp_path: Path, antialias: bool, exact_px: tuple[int, int] | None
) -> None:
    images, _ = toy.tables(tmp_path, labeled=1, unlabeled=1)
    asked = InputParams(short_px=32, long_px=60, exact_px=exact_px, antialias=antialias)
    (batch,) = predict.batches(images, tmp_path, asked, batch_size=2, workers=0)
    assert batch.sizes == [exact_px or (32, 40)] * 2
    for seen, name in zip(batch.images, images["file_name"], strict=True):
        expected = [geometry.resize(decode(tmp_path / name), batch.sizes[0], averaged) for averaged in (True, False)]
        assert torch.equal(seen, expected[0 if antialias else 1]) and not torch.equal(*expected)


def test_pseudo_labels_have_a_spread_where_asked_and_do_not_depend_on_the_order(tmp_path: Path) -> None:
    images, _ = toy.tables(tmp_path)
    params = toy.detector_params("faster_rcnn_lite")
    asked = PARAMS.model_copy(update={"spread_from": 0.3, "batch_size": 3, "limit": 10})

    def label(rows: pd.DataFrame) -> pd.DataFrame:
        model = toy.detector("faster_rcnn_lite")
        return predict.pseudo_labels(model, rows, tmp_path, input=params.input, params=asked, device="cpu")

    there, back = label(images), label(images.iloc[::-1])
    assert there.columns.tolist() == list(pseudo.COLUMNS)
    np.testing.assert_allclose(there["spread"], back["spread"], atol=1e-3)
    measured = there["spread"].notna()
    assert (there.loc[~measured, "score"] <= 0.3).all() and (there.loc[measured, "spread"] >= 0).all()


@pytest.mark.parametrize("architecture", ["faster_rcnn", "retinanet", "fcos"])
def test_the_class_probability_of_fcos_alone_is_another_than_the_score(tmp_path: Path, architecture: str) -> None:
    images, _ = toy.tables(tmp_path, labeled=1, unlabeled=1)
    model, asked = tiny.detector(architecture), PARAMS.model_copy(update={"score_floor": 0.0, "jitter_times": 0})
    found = predict.pseudo_labels(model, images, tmp_path, input=model.params.input, params=asked, device="cpu")
    assert len(found)
    if architecture == "fcos":
        assert (found["class_probability"] != found["score"]).any()
    else:
        assert found["class_probability"].equals(found["score"].rename("class_probability"))


def test_no_image_and_no_box_give_an_empty_table(tmp_path: Path) -> None:
    empty = pseudo.gather([])
    assert len(empty) == 0 and empty.columns.tolist() == list(pseudo.COLUMNS)
    assert len(CandidateTable(empty).of(3)) == 0
    (nothing,) = pseudo_files.Counts(("a",), [0.5]).summary(0)["thresholds"]
    assert nothing == {"threshold": 0.5, "boxes_per_image": 0.0, "boxes": {"a": 0}}


def test_summary_counts_above_each_threshold() -> None:
    row = {"image_id": 1, "x1": 0, "y1": 0, "x2": 1, "y2": 1, "spread": 0}
    table = pd.DataFrame([{**row, "label": 0, "score": 0.4}, {**row, "label": 1, "score": 0.8}])
    counts = pseudo_files.Counts(("a", "b"), [0.3, 0.5])
    assert [len(part) for part in counts.seeing([table[:1], table[1:]])] == [1, 1]
    grid = counts.summary(2)["thresholds"]
    assert [g["boxes"] for g in grid] == [{"a": 1, "b": 1}, {"a": 0, "b": 1}]
    assert [g["boxes_per_image"] for g in grid] == [1.0, 0.5]


def test_a_second_view_at_test_reaches_the_proposals_and_is_the_same_each_time(tmp_path: Path) -> None:
    images, _ = toy.tables(tmp_path, labeled=2, unlabeled=1)

    def found(how: str, batch_size: int = 2) -> pd.DataFrame:
        content = tiny.params("faster_rcnn").resolved()
        content["rpn"] |= {"views": 2, "second_view_at_test": how}
        with mock.patch.object(tiny, "params", lambda architecture: detectors.DetectorParams.of(content, "two views")):
            model = tiny.detector("faster_rcnn")
        parts = predict.detection_parts(
            model, images, tmp_path, input=model.params.input, batch_size=batch_size, workers=0,
            score_threshold=0.0, nms_iou=0.9, limit=100, device="cpu", keep=Path(tempfile.mkdtemp(dir=tmp_path)),
        )  # fmt: skip
        return pseudo.gather(list(parts))[predict.DETECTION_COLUMNS]

    plain, drawn = found("identity"), found("seeded_random")
    pd.testing.assert_frame_equal(drawn, found("seeded_random"))
    assert not plain.equals(drawn) and set(drawn["image_id"]) == set(images["image_id"])
    one = found("seeded_random", batch_size=1)
    assert one["image_id"].tolist() == drawn["image_id"].tolist()
    np.testing.assert_allclose(one["score"], drawn["score"], atol=1e-4)
