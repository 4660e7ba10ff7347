"""The COCO reader: labels, ids, crowds, and one sentence for every kind of broken file."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from scantling.data import formats
from scantling.data.check import check
from scantling.data.formats import DataParams
from scantling.data.source import Source
from scantling.params import ParamsError
from scantling.stage import BadInput
from tests.data.made import instances

Make = Callable[..., Path]


def read(file: Path) -> Source:
    return formats.read(DataParams.load(file))


def test_labels_follow_ascending_category_ids(coco_set: Make) -> None:
    source = read(coco_set(train=instances()))
    assert (source.name, source.classes, source.category_ids) == ("bolts", ("nut", "bolt"), (3, 7))
    assert source.boxes.label.tolist() == [1, 0, 0]
    assert source.boxes[["x1", "y1", "x2", "y2"]].to_numpy().tolist()[0] == [1, 2, 11, 14]
    assert source.images.file_name.tolist() == ["images/1.jpg", "images/2.jpg"]


def test_unique_ids_are_kept(coco_set: Make) -> None:
    source = read(coco_set(train=instances(5), val=instances(1)))
    assert source.images.image_id.tolist() == [5, 6, 1, 2]
    assert source.boxes.box_id.tolist() == [5, 6, 7, 1, 2, 3]
    assert source.images.subset.tolist() == ["train", "train", "val", "val"]
    assert source.notes == ()


def test_ids_that_collide_over_the_files_are_renumbered(coco_set: Make) -> None:
    second = instances()
    for entry in second["images"]:
        entry["file_name"] = f"v{entry['file_name']}"
    source = read(coco_set(train=instances(), val=second))
    assert source.images.image_id.tolist() == [1, 2, 3, 4]
    assert source.boxes.box_id.tolist() == [1, 2, 3, 4, 5, 6]
    assert source.boxes.image_id.tolist() == [1, 1, 2, 3, 3, 4]
    assert len(source.notes) == 2 and "renumbered" in source.notes[0]


def test_unlabeled_files_need_neither_annotations_nor_categories(coco_set: Make) -> None:
    bare = {"images": [{"id": 9, "file_name": "9.jpg", "width": 40, "height": 30}]}
    source = read(coco_set(train=instances(), unlabeled=bare))
    assert source.images.subset.tolist() == ["train", "train", "unlabeled"]
    assert len(source.boxes) == 3


def test_empty_train_file_is_legal(coco_set: Make) -> None:
    index, _ = check(read(coco_set(train=instances() | {"images": [], "annotations": []}, val=instances())), loaded())
    assert index.images.subset.tolist() == ["val", "val"]
    assert index.boxes is not None and len(index.boxes) == 3


def loaded(**extra: Any) -> Any:
    from scantling.data.coco import CocoParams

    return CocoParams(name="a", root=".", subsets={"train": "t.json"}, **extra)


def test_crowd_and_difficult_flags_and_published_area(coco_set: Make) -> None:
    content = instances()
    content["annotations"][0] |= {"iscrowd": 1, "area": 5.5}
    content["annotations"][1]["difficult"] = 1
    index, _ = check(read(coco_set(train=content)), loaded())
    assert index.boxes is not None
    assert index.boxes.crowd.tolist() == [True, False, False]
    assert index.boxes.difficult.tolist() == [False, True, False]
    assert index.boxes.area.tolist() == [5.5, 400, 1200]


def broken(**changes: Any) -> dict[str, Any]:
    """The usual file with entry 0 of `annotations` (or of what the key names) changed."""
    content = instances()
    for key, value in changes.items():
        part, _, field = key.partition("__")
        content[part][0][field] = value
    return content


CASES = {
    "annotation without image": (
        broken(annotations__image_id=77),
        r"train\.json: 1 annotations belong to no image of the file, e\.g\. annotation 1 with image_id 77; add",
    ),
    "unknown category": (
        broken(annotations__category_id=4),
        r"train\.json: 1 annotations have an unknown category, e\.g\. annotation 1 with category_id 4; add it",
    ),
    "duplicate image ids": (
        broken(images__id=2),
        r"train\.json: image ids used more than once: 2; give every image its own",
    ),
    "duplicate annotation ids": (
        broken(annotations__id=3),
        r"train\.json: annotation ids used more than once: 3; give every annotation its own",
    ),
    "duplicate class names": (
        broken(categories__name="nut"),
        r"train\.json: categories listed twice: 'nut'; give every class",
    ),
    "bbox of three": (
        broken(annotations__bbox=[1, 2, 3]),
        r"train\.json: 1 annotations have a bbox that is not four finite numbers, e\.g\. annotation 1 with \[1, 2, 3\]",
    ),
    "bbox not finite": (
        broken(annotations__bbox=[1, 2, 3, float("nan")]),
        r"train\.json: 1 annotations have a bbox that is not four finite numbers, e\.g\. annotation 1 with .*nan",
    ),
    "bbox as text": (
        broken(annotations__bbox=[1, 2, 3, "wide"]),
        r"not four finite numbers, e\.g\. annotation 1 with \[1, 2, 3, 'wide'\]; write \[x, y, width, height\]",
    ),
    "id as text": (
        broken(images__id="one"),
        r"train\.json: image ids must be whole numbers, found 'one'; renumber them",
    ),
    "no classes": (instances() | {"categories": []}, r"train\.json: `categories` is empty; list at least one"),
    "no image list": ({"images": {}}, r"train\.json: has no list `images`; it must be a COCO instances file"),
    "annotations not a list": (instances() | {"annotations": {}}, r"train\.json: `annotations` is not a list"),
}


@pytest.mark.parametrize("case", CASES)
def test_broken_files_are_refused_in_one_sentence(coco_set: Make, case: str) -> None:
    content, message = CASES[case]
    with pytest.raises(BadInput, match=message) as caught:
        read(coco_set(train=content, images=False))
    assert "\n" not in str(caught.value)


def test_missing_keys_name_the_entry(coco_set: Make) -> None:
    content = instances()
    del content["annotations"][2]["category_id"]
    with pytest.raises(BadInput, match=r"train\.json: entry 2 of `annotations` has no `category_id`; add it"):
        read(coco_set(train=content))


def test_class_lists_that_differ_name_the_difference(coco_set: Make) -> None:
    other = instances(11)
    other["categories"][0]["name"] = "screw"
    message = r"val\.json: class list differs from that of train\.json: here 7=screw, there 7=bolt; write the same"
    with pytest.raises(BadInput, match=message):
        read(coco_set(train=instances(), val=other))


def test_files_that_are_absent_or_no_json(coco_set: Make, tmp_path: Path) -> None:
    file = coco_set(train=instances())
    (tmp_path / "set/annotations/train.json").write_text('{"images": [')
    with pytest.raises(BadInput, match=r"train\.json: not valid JSON .*export the annotations again"):
        read(file)
    (tmp_path / "set/annotations/train.json").unlink()
    with pytest.raises(BadInput, match=r"train\.json: there is no such annotation file; correct `root` or `subsets`"):
        read(file)


def test_unknown_format_and_key_name_the_nearest(tmp_path: Path) -> None:
    file = tmp_path / "a.yaml"
    file.write_text("format: coco2017\nroot: .\n")
    with pytest.raises(ParamsError, match=r"a\.yaml: `format` = 'coco2017' is unknown; did you mean `coco`"):
        DataParams.load(file)
    file.write_text("format: coco\nroot: .\nsubset: {train: a.json}\n")
    with pytest.raises(ParamsError, match=r"unknown parameter `subset`; did you mean `subsets`"):
        DataParams.load(file)


def test_shares_are_taken_by_name_and_refused_beside_published_subsets(coco_set: Make) -> None:
    content = {"images": [{"id": i, "file_name": f"{i}.jpg"} for i in range(300)], "categories": [{"id": 1}]}
    file = coco_set(images=False, train=content, params="val_share: 0.2\ntest_share: 0.3\n")
    found = read(file).images
    counts = found.subset.value_counts()
    assert 40 < counts["val"] < 80 and 65 < counts["test"] < 115
    content["images"] = content["images"][::3]
    fewer = read(coco_set(images=False, train=content, params="val_share: 0.2\ntest_share: 0.3\n")).images
    assert fewer.subset.tolist() == found.subset.tolist()[::3]
    with pytest.raises(BadInput, match="`val_share` is 0.2 although there is a subset val"):
        read(coco_set(images=False, train=content, val=content, params="val_share: 0.2\n"))


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("bccd", {"train": (205, 2804, 0), "val": (87, 1137, 0), "test": (72, 945, 0)}),
        ("coco_mini", {"train": (107, 937, 9), "test": (74, 629, 8)}),
        ("playing_cards", {"train": (252, 447, 0), "val": (44, 80, 0), "test": (67, 143, 0)}),
    ],
)
def test_real_data_has_its_published_counts(
    shared_data: Path, name: str, expected: dict[str, tuple[int, int, int]]
) -> None:
    params = DataParams.load(f"params/data/{name}.yaml")
    params = params.model_copy(update={"root": str(shared_data / name), "verify": "header"})
    index, problems = check(formats.read(params), params)
    counts = {s: (c["images"], c["boxes"], c["crowd"]) for s, c in index.facts["counts"].items()}
    assert counts == expected
    assert all(p.level == "note" for p in problems)
