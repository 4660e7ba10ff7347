"""A foreign model's detections: images and classes found, boxes clipped, everything else refused with its value."""

import gzip
import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from scantling import pseudo
from scantling.data import foreign, foreign_file
from scantling.data.foreign import ForeignParams
from scantling.data.index import IMAGE_COLUMNS, XYXY, Index, table
from scantling.params import ParamsError
from scantling.stage import BadInput

ROOT = Path(__file__).parents[2]
NAMES = {1: "a/one.jpg", 2: "a/two.jpg", 3: "b/two.jpg", 12: "0007.jpg", 30: "x.y.png"}


def index(names: dict[int, str] = NAMES) -> Index:
    rows = [{"image_id": i, "subset": "train", "file_name": n, "width": 40, "height": 30} for i, n in names.items()]
    images = table([row | {"bytes": 0, "mtime_ns": 0} for row in rows], IMAGE_COLUMNS)
    return Index("mine", Path("."), ("cat", "dog"), (7, 9), images, None, {})


def one(image=1, category=7, box=(1, 2, 10, 20), score=0.5, **more):
    return {"image_id": image, "category_id": category, "bbox": list(box), "score": score} | more


def read(folder: Path, content: object, **params: object):
    file = folder / "found.json"
    file.write_text(json.dumps(content))
    return foreign.read(ForeignParams(file=str(file), **params), index())


def refused(folder: Path, content: object, **params: object) -> str:
    with pytest.raises(BadInput) as caught:
        read(folder, content, **params)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_a_results_file(tmp_path: Path) -> None:
    rows, facts = read(tmp_path, [one(), one(2, 9, (30, 20, 11, 11.5), 1, spread=0.01)])
    assert rows["image_id"].tolist() == [1, 2] and rows["label"].tolist() == [0, 1]
    assert rows[XYXY].to_numpy().tolist() == [[1, 2, 11, 22], [30, 20, 40, 30]]  # clipped
    assert np.isnan(rows["spread"][0]) and rows["spread"][1] == 0.01
    assert facts["detections"] == 2 and len(facts["sha256"]) == 64
    made = pseudo.best(rows, 0.05, 100)
    assert made.dtypes.astype(str).to_dict() == pseudo.COLUMNS


@pytest.mark.parametrize(
    ("key", "image"),
    [
        ("a/two.jpg", 2), ("somewhere/one.jpg", 1), ("one", 1), ("0007", 12), ("x.y", 30), ("x.y.png", 30),
        (30, 30), ("30", 30), (7, 12), ("7", 12),
    ],
)  # fmt: skip
def test_images_by_what_tools_call_them(tmp_path: Path, key: int | str, image: int) -> None:
    assert read(tmp_path, [one(key)])[0]["image_id"].tolist() == [image]


def test_a_file_name_in_place_of_the_id(tmp_path: Path) -> None:
    entry = one()
    del entry["image_id"]
    assert read(tmp_path, [entry | {"file_name": "b/two.jpg"}])[0]["image_id"].tolist() == [3]


def test_a_number_that_may_mean_two_images(tmp_path: Path) -> None:
    data = index({7: "5.jpg", 8: "7.jpg"})
    (tmp_path / "f.json").write_text(json.dumps([one(7)]))
    for meant, image in (("id", 7), ("file_name", 8)):
        params = ForeignParams(file=str(tmp_path / "f.json"), image_id=meant)
        assert foreign.read(params, data)[0]["image_id"].tolist() == [image]
    with pytest.raises(BadInput, match=r"image_id 7 is the id of 5\.jpg in mine, but another file is called 7; say"):
        foreign.read(ForeignParams(file=str(tmp_path / "f.json")), data)


def test_a_coco_file_names_its_own_images_and_classes(tmp_path: Path) -> None:
    """Its ids are its own affair: image 1 there is image 3 here, category 1 there is a hound."""
    content = {
        "annotations": [one(1, 1), one(2, 2), one(2, 3, score=0.25)],
        "images": [{"id": 1, "file_name": "b/two.jpg"}, {"id": 2, "file_name": "one.jpg"}],
        "categories": [{"id": 1, "name": "hound"}, {"id": 2, "name": "cat"}, {"id": 3, "name": "sofa"}],
    }
    rows, facts = read(tmp_path, content, map_classes={"hound": "dog", 3: None})
    assert rows[["image_id", "label"]].to_numpy().tolist() == [[3, 1], [1, 0]] and facts["other_classes"] == 1
    assert "image 5 is none of mine" in refused(tmp_path, {**content, "annotations": [one(5, 2)]})


def test_names_from_another_file_and_a_map_in_a_file(tmp_path: Path) -> None:
    (tmp_path / "coco.json").write_text(json.dumps({"images": [], "categories": [{"id": 18, "name": "hound"}]}))
    (tmp_path / "map.yaml").write_text("hound: dog")
    more = {"categories": str(tmp_path / "coco.json"), "map_classes": str(tmp_path / "map.yaml")}
    assert read(tmp_path, [one(1, 18)], **more)[0]["label"].tolist() == [1]


def test_gzip_and_an_empty_list(tmp_path: Path) -> None:
    file = tmp_path / "f.json.gz"
    file.write_bytes(gzip.compress(json.dumps([one()]).encode()))
    assert len(foreign.read(ForeignParams(file=str(file)), index())[0]) == 1
    rows, facts = read(tmp_path, [])
    assert len(rows) == 0 and facts["detections"] == 0
    assert pseudo.best(rows, 0.05, 100).dtypes.astype(str).to_dict() == pseudo.COLUMNS
    assert len(read(tmp_path, {"annotations": []})[0]) == 0


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ([one(99)], "image 99 is none of mine; write ids or file names as images.parquet has them"),
        ([one("two.jpg")], "image 'two.jpg' may be several of mine"),
        ([one(), one(1, 8)], "category_id 8 is no class of mine (7 cat, 9 dog); say under `map_classes`"),
        ([one(1, "dgo")], "category_id 'dgo' is no class of mine (7 cat, 9 dog); did you mean 'dog'?"),
        ([one(box=(1, 2, 10))], "detection 0: `bbox` = [1, 2, 10]; write [x, y, width, height] in pixels"),
        ([one(), one(box=(1, 2, -1, 4))], "detection 1: `bbox` = [1, 2, -1, 4]; write"),
        ([one(score=87.5)], "detection 0: `score` = 87.5; write a number from 0 to 1"),
        ([one(score=True)], "detection 0: `score` = True; write a number"),
        ([one(spread="no")], "detection 0: `spread` = 'no'; write a number"),
        ([one(None)], "detection 0: `image_id` = None; write"),
        ([one(category=1.0)], "detection 0: `category_id` = 1.0; write"),
        ([[1, 2]], "detection 0: `entry` = [1, 2]; write {image_id, category_id, bbox, score}"),
        ([one(box=(500, 10, 10, 10))], "reaches 470.0 px beyond a/one.jpg of 40 x 30 px, one of 1 such"),
        ({"detections": []}, "has no detections; it must be a list"),
        ("text", "is no JSON object"),
        ({"annotations": [], "categories": [{"id": 1}]}, "entry 0 of `categories` is {'id': 1}; it must have `id`"),
    ],
)
def test_what_cannot_be_used_is_said(tmp_path: Path, content: object, says: str) -> None:
    said = refused(tmp_path, content)
    assert says in said and str(tmp_path / "found.json") in said


@pytest.mark.parametrize("text", ["[{}", "[1e999]", '[{"image_id": 1}] x', '[{"score": NaN}]', "", "\xff"])
def test_damaged_files(tmp_path: Path, text: str) -> None:
    (tmp_path / "f.json").write_text(text, encoding="latin-1")
    with pytest.raises(BadInput, match=r"f\.json"):
        foreign.read(ForeignParams(file=str(tmp_path / "f.json")), index())


def test_missing_files_and_maps_of_nothing(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="there is no such file; name the detections"):
        foreign.read(ForeignParams(file="nowhere.json"), index())
    with pytest.raises(BadInput, match="name a COCO file with `categories`"):
        read(tmp_path, [one()], categories="nowhere.json")
    assert "7 becomes 'catt', no class of mine; did you mean 'cat'?" in refused(
        tmp_path, [one()], map_classes={7: "catt"}
    )
    content = {"annotations": [one()], "images": [{"id": 1, "file_name": "one.jpg"}]}
    named = {**content, "categories": [{"id": 7, "name": "cat"}]}
    assert "names 'hund', no class of the foreign model" in refused(tmp_path, named, map_classes={"hund": "dog"})


def test_dropped_images_and_every_box_clipped(tmp_path: Path) -> None:
    content = [one(99), one(box=(35, 25, 50, 50)), one(box=(60, 10, 5, 5)), one(box=(3, 3, 0, 5))]
    rows, facts = read(tmp_path, content, other_images="drop", outside_px=None)
    assert rows[XYXY].to_numpy().tolist() == [[35, 25, 40, 30]]
    assert (facts["other_images"], facts["without_area"]) == (1, 2)


def test_floor_and_limit_are_those_of_our_own_teachers(tmp_path: Path) -> None:
    rows = read(tmp_path, [one(score=s) for s in (0.05, 0.2, 0.9, 0.4)] + [one(2, score=0.1)])[0]
    assert pseudo.best(rows, 0.05, 2)["score"].tolist() == [np.float32(s) for s in (0.9, 0.4, 0.1)]


def test_the_committed_example_is_complete_and_commented() -> None:
    text = (ROOT / "params/teachers/another.yaml").read_text()
    assert set(ForeignParams.load(ROOT / "params/teachers/another.yaml").resolved()) == set(ForeignParams.model_fields)
    values = [line for line in text.splitlines() if line and not line.startswith("#")]
    assert len(values) == len(ForeignParams.model_fields) and all("#" in line for line in values)


def test_an_unknown_key(tmp_path: Path) -> None:
    (tmp_path / "p.yaml").write_text("file: a\nmap_class: {}")
    with pytest.raises(ParamsError, match="did you mean `map_classes`"):
        ForeignParams.load(tmp_path / "p.yaml")


number = st.floats(-5, 60, allow_nan=False)
boxes = st.tuples(number, number, st.floats(0, 60), st.floats(0, 60))


@settings(max_examples=25, deadline=None)
@given(st.lists(st.tuples(st.sampled_from([1, 2, 3]), boxes, st.floats(0, 1)), max_size=6))
def test_every_box_lies_in_its_image_and_is_counted_once(tmp_path_factory, rows) -> None:
    content = [one(i, 7, box, score) for i, box, score in rows]
    made, facts = read(tmp_path_factory.mktemp("f"), content, outside_px=None)
    assert len(made) + facts["without_area"] == facts["detections"] == len(rows)
    assert (made[["x1", "y1"]] >= 0).all(axis=None)
    assert (made[["x2", "y2"]] <= [40, 30]).all(axis=None)
    assert (made["x2"] > made["x1"]).all() and (made["y2"] > made["y1"]).all()


def test_long_files_come_in_batches(tmp_path: Path) -> None:
    file = tmp_path / "long.json"
    file.write_text(json.dumps([one(1 + n % 3, score=(n % 10) / 10) for n in range(2500)]))
    found = foreign_file.read(file)
    assert len(found.scores) == 2500 and found.image_keys == [1, 2, 3] and found.image[2499] == 2499 % 3
