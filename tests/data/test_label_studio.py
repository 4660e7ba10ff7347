"""Label Studio's JSON export: the last answer of a person counts, a prediction never."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from scantling.data import label_studio
from scantling.data.drawn import Box
from scantling.stage import BadInput


def region(**changes: Any) -> dict[str, Any]:
    value = {"x": 10, "y": 20, "width": 50, "height": 40, "rotation": 0, "rectanglelabels": ["cat"]}
    sides = {"original_width": 40, "original_height": 30}
    return {"type": "rectanglelabels", **sides, "value": value | changes.pop("value", {})} | changes


def task(*annotations: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {"id": 3, "data": {"image": "/data/upload/1/0a1b2c3d-a%20b.jpg"}, "annotations": list(annotations)} | more


def read(folder: Path, *tasks: Any) -> list[Any]:
    file = folder / "tasks.json"
    file.write_text(json.dumps(list(tasks)))
    return label_studio.read(file)


def test_boxes_are_per_cent_and_names_lose_what_uploading_added(tmp_path: Path) -> None:
    (image,) = read(tmp_path, task({"result": [region()]}))
    assert image.name == "a b.jpg" and image.labeled and (image.width, image.height) == (40, 30)
    assert image.boxes == [Box("cat", (4.0, 6.0, 24.0, 18.0))]


@pytest.mark.parametrize(
    ("data", "name"),
    [
        ({"image": "/data/local-files/?d=images/deep/a%20b.jpg"}, "images/deep/a b.jpg"),
        ({"image": "https://example.org/deep/a.jpg"}, "deep/a.jpg"),
        ({"image": "s3://bucket/deep/a.jpg"}, "deep/a.jpg"),
        ({"image": "x", "file_name": "images/a.jpg"}, "images/a.jpg"),
        ({"photo": "/data/upload/0a1b2c3d-a.jpg"}, "a.jpg"),
    ],
)
def test_what_an_image_is_called(tmp_path: Path, data: dict[str, str], name: str) -> None:
    assert read(tmp_path, task(data=data))[0].name == name


def test_the_last_answer_counts_and_none_is_none(tmp_path: Path) -> None:
    old = {"result": [region()], "updated_at": "2024-01-01T00:00:00Z"}
    fresh = {"result": [], "updated_at": "2024-02-01T00:00:00Z"}
    skipped = {"result": [region()], "updated_at": "2024-03-01T00:00:00Z", "was_cancelled": True}
    predicted = [{"result": [region()]}]
    empty, untouched, skipped_only = read(
        tmp_path, task(fresh, old, skipped), task(predictions=predicted), task(skipped, predictions=predicted)
    )
    assert empty.counts() and not empty.boxes
    assert not untouched.counts() and not untouched.boxes and not skipped_only.counts()


def test_a_turned_box_and_a_polygon_become_what_surrounds_them(tmp_path: Path) -> None:
    turned = region(value={"x": 50, "y": 50, "width": 25, "height": 10, "rotation": 90})
    outline = region(type="polygonlabels", value={"points": [[10, 10], [30, 20], [20, 50]], "polygonlabels": ["dog"]})
    one, two = read(tmp_path, task({"result": [turned, outline, {"type": "choices", "value": {"choices": ["good"]}}]}))[
        0
    ].boxes
    assert one.corners == pytest.approx((17, 15, 20, 25)) and two.corners == pytest.approx((4, 3, 12, 15))


@pytest.mark.parametrize(
    ("tasks", "message"),
    [
        ([3], "is no list of tasks"),
        ([{"image": "a.jpg", "label": []}], "no `annotations`, as in JSON-MIN"),
        ([task(annotations=3)], "`annotations` is no list"),
        ([task({"result": 3})], "`result` is no list"),
        ([task({"result": [region(value={"rectanglelabels": ["a", "b"]})]})], "give each box one class"),
        ([task({"result": [region(value={"x": None})]})], "`x` of a box is 'None', no number"),
        ([task({"result": [region(original_width="wide")]})], "`original_width` is 'wide', no number"),
        ([task({"result": [region(type="brushlabels")]})], "'brushlabels'; draw rectangles"),
        ([task({"result": [{"type": "rectangle", "value": {"x": 1}}]})], "'rectangle'; draw rectangles"),
        ([task(data={})], "names no image"),
        ([task({"result": [region(type="polygonlabels", value={"points": 1, "polygonlabels": ["a"]})]})], "no points"),
    ],
)
def test_what_cannot_be_read_is_said(tmp_path: Path, tasks: list[Any], message: str) -> None:
    with pytest.raises(BadInput, match=message) as error:
        read(tmp_path, *tasks)
    assert "tasks.json" in str(error.value)
