"""The COCO reader: labels, ids, crowds, what json.load would give, and one sentence for every kind of broken file."""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from scantling.data import coco, coco_file, formats
from scantling.data.check import check
from scantling.data.coco import CocoParams
from scantling.data.formats import DataParams
from scantling.data.problems import Findings
from scantling.data.source import Source
from scantling.params import ParamsError
from scantling.stage import BadInput
from tests.data.made import instances
from tests.data.mutations import assert_trustworthy, broken_json

Make = Callable[..., Path]
ROOT = Path(__file__).parents[2]


def read(file: Path) -> Source:
    """As the check would have it: what is an error is one."""
    source, found = read_noting(file)
    found.refuse(source.name)
    return source


def read_noting(file: Path) -> tuple[Source, Findings]:
    params = DataParams.load(file)
    found = Findings(params.problems)
    return formats.read(params, found), found


def kinds(found: Findings) -> dict[str, tuple[str, int]]:
    return {p.kind: (p.level, p.count) for p in found}


def test_labels_follow_ascending_category_ids(coco_set: Make) -> None:
    source = read(coco_set(train=instances()))
    assert (source.name, source.classes, source.category_ids) == ("bolts", ("nut", "bolt"), (3, 7))
    assert source.boxes.label.tolist() == [1, 0, 0]
    assert source.boxes[["x1", "y1", "x2", "y2"]].to_numpy().tolist()[0] == [1, 2, 11, 14]
    assert source.images.file_name.tolist() == ["images/1.jpg", "images/2.jpg"]


def test_unique_ids_are_kept(coco_set: Make) -> None:
    source, found = read_noting(coco_set(train=instances(5), val=instances(1)))
    assert source.images.image_id.tolist() == [5, 6, 1, 2]
    assert source.boxes.box_id.tolist() == [5, 6, 7, 1, 2, 3]
    assert source.images.subset.tolist() == ["train", "train", "val", "val"]
    assert {p.kind for p in found} == {"id_gaps"}


def test_ids_that_collide_over_the_files_are_renumbered(coco_set: Make) -> None:
    second = instances()
    for entry in second["images"]:
        entry["file_name"] = f"v{entry['file_name']}"
    source, found = read_noting(coco_set(train=instances(), val=second))
    assert source.images.image_id.tolist() == [1, 2, 3, 4]
    assert source.boxes.box_id.tolist() == [1, 2, 3, 4, 5, 6]
    assert source.boxes.image_id.tolist() == [1, 1, 2, 3, 3, 4]
    assert kinds(found) == {"renumbered_ids": ("note", 4)}
    told = [example.split(" of ")[0] for example in found[0].examples]
    assert told == ["image ids", "image ids", "annotation ids", "annotation ids"]


@pytest.mark.parametrize("part", ["images", "annotations"])
def test_ids_below_0_which_would_say_none_are_renumbered(coco_set: Make, part: str) -> None:
    content = instances()
    old = content[part][0]["id"]
    content[part][0]["id"] = -5
    for entry in content["annotations"] if part == "images" else []:
        entry["image_id"] = -5 if entry["image_id"] == old else entry["image_id"]
    source, found = read_noting(coco_set(train=content))
    assert source.images.image_id.tolist() == [1, 2] and source.boxes.box_id.tolist() == [1, 2, 3]
    assert source.boxes.image_id.tolist() == [1, 1, 2] and "renumbered_ids" in kinds(found)


def test_unlabeled_files_need_neither_annotations_nor_categories(coco_set: Make) -> None:
    bare = {"images": [{"id": 9, "file_name": "9.jpg", "width": 40, "height": 30}]}
    source = read(coco_set(train=instances(), unlabeled=bare))
    assert source.images.subset.tolist() == ["train", "train", "unlabeled"]
    assert len(source.boxes) == 3
    assert_trustworthy(source)


def test_several_files_of_a_subset_have_a_folder_each(coco_set: Make) -> None:
    file = coco_set(a=instances(), b=instances(11), images=False)
    listed = "subsets: {train: [annotations/a.json, annotations/b.json], val: annotations/c.json.gz}\n"
    root = file.read_text().splitlines()[1]
    packed = Path(root.removeprefix("root: ")) / "annotations/c.json.gz"
    packed.write_bytes(gzip.compress(json.dumps(instances(21)).encode()))

    file.write_text(f"format: coco\n{root}\n{listed}images: {{train: [x, y], val: z}}\n")
    source = read(file)
    assert source.files == ("annotations/a.json", "annotations/b.json", "annotations/c.json.gz")
    assert source.images.file_name.tolist() == ["x/1.jpg", "x/2.jpg", "y/11.jpg", "y/12.jpg", "z/21.jpg", "z/22.jpg"]
    assert source.images.subset.tolist() == ["train"] * 4 + ["val"] * 2
    assert source.boxes.box_id.tolist() == [1, 2, 3, 11, 12, 13, 21, 22, 23]
    assert_trustworthy(source)
    file.write_text(f"format: coco\n{root}\n{listed}images: {{train: w}}\n")
    assert read(file).images.file_name.tolist()[2:5] == ["w/11.jpg", "w/12.jpg", "images/21.jpg"]

    for wrong, message in (
        ("images: {train: [x]}\n", r"`images` has 1 folders for the files of subset train; give one each"),
        ("images: {vla: x}\n", r"`images` names subset vla, which is not among `subsets`"),
    ):
        file.write_text(f"format: coco\n{root}\n{listed}{wrong}")
        with pytest.raises(ParamsError, match=message):
            read(file)
    file.write_text(f"format: coco\n{root}\nsubsets: {{train: []}}\n")
    with pytest.raises(ParamsError, match="subset train names no file"):
        read(file)


def test_empty_train_file_is_legal(coco_set: Make) -> None:
    index = checked(coco_set(train=instances() | {"images": [], "annotations": []}, val=instances()))
    assert index.images.subset.tolist() == ["val", "val"]
    assert index.boxes is not None and len(index.boxes) == 3


def checked(file: Path) -> Any:
    params = DataParams.load(file)
    found = Findings(params.problems)
    return check(formats.read(params, found), params, found)


def test_crowd_and_difficult_flags_and_published_area(coco_set: Make) -> None:
    content = instances()
    content["annotations"][0] |= {"iscrowd": 1, "area": 5.5}
    content["annotations"][1] |= {"difficult": True, "area": None, "iscrowd": None}
    del content["annotations"][2]["iscrowd"]
    index = checked(coco_set(train=content))
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


# kind -> file, what is refused, and what is left of its boxes where it is repaired
KINDS = {
    "box_without_image": (
        broken(annotations__image_id=77),
        r"bolts: 1 x box of an image that is not listed, e\.g\. train\.json: annotation 1 with image_id 77; add",
        [2, 3],
    ),
    "unknown_category": (
        broken(annotations__category_id=4),
        r"bolts: 1 x box of an unknown category, e\.g\. train\.json: annotation 1 with category_id 4; add the category",
        [2, 3],
    ),
    "duplicate_image_id": (
        broken(images__id=2),
        r"bolts: 1 x image id used more than once, e\.g\. train\.json: id 2; give every image its own id",
        [3],
    ),
    "duplicate_box_id": (
        broken(annotations__id=3),
        r"bolts: 1 x annotation id used more than once, e\.g\. train\.json: id 3; give every annotation its own id",
        [1, 2, 3],
    ),
    "box_not_numbers": (
        broken(annotations__bbox=[1, 2, 3]),
        r"bolts: 1 x box that is not four finite numbers, e\.g\. train\.json: annotation 1 with \[1, 2, 3\]; write",
        [2, 3],
    ),
}


@pytest.mark.parametrize("kind", KINDS)
def test_problems_of_a_file_are_refused_or_repaired(coco_set: Make, kind: str) -> None:
    content, message, left = KINDS[kind]
    with pytest.raises(BadInput, match=message) as caught:
        read(coco_set(train=content))
    lines = str(caught.value).split("\n")
    assert len(lines) == (2 if kind == "duplicate_image_id" else 1)  # the boxes of image 1 have lost it
    assert f"`problems: {{{kind}: repair}}`" in lines[0]

    policy = f"problems: {{{', '.join(f'{k}: repair' for k in {kind: 0, 'box_without_image': 0})}}}\n"
    source, found = read_noting(coco_set(train=content, params=policy))
    assert kinds(found)[kind] == ("repair", 1)
    assert next(p for p in found if p.kind == kind).examples[0].startswith("train.json: ")
    assert source.boxes.box_id.tolist() == left
    assert_trustworthy(source)


@pytest.mark.parametrize(
    "box",
    [[1, 2, 3, float("nan")], [1, 2, 3, float("inf")], [1, 2, 3, "4"], [1, 2, 3, None], [1, 2, 3, True],
     [1, 2, 3, 4, 5], [], {}, None, "1 2 3 4", 7, [[1, 2, 3, 4]], [1, 2, 3, 10**400], [3e38, 2, 3e38, 4]],
    ids=lambda box: str(box)[:20],
)  # fmt: skip
def test_a_box_is_four_finite_numbers(coco_set: Make, box: Any) -> None:
    source, found = read_noting(
        coco_set(train=broken(annotations__bbox=box), params="problems: {box_not_numbers: repair}\n")
    )
    assert kinds(found)["box_not_numbers"] == ("repair", 1)
    assert source.boxes.box_id.tolist() == [2, 3]


def test_all_problems_are_told_at_once_and_those_of_a_kind_of_all_files_together(coco_set: Make) -> None:
    content = broken(annotations__category_id=4)
    content["annotations"][1]["image_id"] = 77
    content["annotations"][2]["bbox"] = None
    with pytest.raises(BadInput) as caught:
        read(coco_set(train=content))
    assert [line.split(" x ")[1].split(",")[0] for line in str(caught.value).split("\n")] == [
        "box that is not four finite numbers",
        "box of an unknown category",
        "box of an image that is not listed",
    ]
    other = broken(annotations__category_id=4)
    for part in ("images", "annotations"):
        for entry in other[part]:
            for key in {"id", "image_id"} & set(entry):
                entry[key] += 100
    policy = "problems: {box_not_numbers: repair, unknown_category: repair, box_without_image: repair}\n"
    _, found = read_noting(coco_set(train=content, val=other, params=policy))
    assert kinds(found)["unknown_category"] == ("repair", 2)
    examples = next(p for p in found if p.kind == "unknown_category").examples
    assert examples == ("train.json: annotation 1 with category_id 4", "val.json: annotation 101 with category_id 4")


def test_gaps_between_ids_are_noted(coco_set: Make) -> None:
    content = instances()
    content["images"][1]["id"] = content["annotations"][2]["image_id"] = 40
    _, found = read_noting(coco_set(train=content))
    assert kinds(found) == {"id_gaps": ("note", 1)}
    assert found[0].examples == ("2 image ids between 1 and 40",)
    content["annotations"][2]["id"] = 50
    _, found = read_noting(coco_set(train=content))
    assert found[0].examples == ("2 image ids between 1 and 40", "3 annotation ids between 1 and 50")


WHOLE = "must be a whole number"
CASES = {
    "duplicate class names": (
        broken(categories__name="nut"),
        r"train\.json: categories listed twice: 'nut'; give every class",
    ),
    "duplicate class ids": (broken(categories__id=3), r"train\.json: categories listed twice: id 3; give every class"),
    "class id as text": (broken(categories__id="3"), rf"entry 0 of `categories`: `id` {WHOLE}, found '3'; correct it"),
    "class without a name": (broken(categories__name=None), r"of `categories`: `name` must be a text, found None"),
    "id as text": (broken(images__id="one"), rf"train\.json: entry 0 of `images`: `id` {WHOLE}, found 'one'; correct"),
    "id as a fraction": (broken(annotations__id=1.5), rf"entry 0 of `annotations`: `id` {WHOLE}, found 1\.5"),
    "id as truth": (broken(annotations__image_id=True), rf"entry 0 of `annotations`: `image_id` {WHOLE}, found True"),
    "id beyond 64 bits": (broken(annotations__id=2**63), rf"`id` {WHOLE} of at most 64 bits, found 92233720368547758"),
    "id beyond anything": (broken(images__id=-(10**400)), rf"`id` {WHOLE} of at most 64 bits, found -10000.*\.\.\.;"),
    "category as a list": (broken(annotations__category_id=[7]), rf"`category_id` {WHOLE}, found \[7\]"),
    "name as a number": (broken(images__file_name=5), r"entry 0 of `images`: `file_name` must be a text.*, found 5"),
    "empty name": (broken(images__file_name=""), r"`file_name` must be a text without control characters, found ''"),
    "name with a zero byte": (broken(images__file_name="a\0b"), r"`file_name` must be a text without control"),
    "name of a folder": (broken(images__file_name="a/"), r"`file_name` must be the path of a file, found 'a/'"),
    "name that is no text": (broken(images__file_name="\ud800"), r"`file_name` must be a text without control"),
    "width as text": (broken(images__width="40"), r"`width` must be a whole number of pixels, found '40'"),
    "width not whole": (broken(images__width=40.5), r"`width` must be a whole number of pixels, found 40\.5"),
    "negative height": (broken(images__height=-1), r"`height` must be a whole number of pixels, found -1"),
    "endless height": (broken(images__height=float("inf")), r"`height` must be a whole number of pixels, found inf"),
    "huge width": (broken(images__width=2**31), r"`width` must be a whole number of pixels, found 2147483648"),
    "area as text": (broken(annotations__area="9"), r"entry 0 of `annotations`: `area` must be a number, found '9'"),
    "area beyond anything": (broken(annotations__area=10**400), r"`area` must be a number of pixels, found 10000"),
    "crowd as text": (broken(annotations__iscrowd="0"), r"`iscrowd` must be 0 or 1, found '0'"),
    "crowd as a list": (broken(annotations__iscrowd=[]), r"`iscrowd` must be 0 or 1, found \[\]"),
    "crowd of two": (broken(annotations__iscrowd=2), r"`iscrowd` must be 0 or 1, found 2"),
    "no classes": (instances() | {"categories": []}, r"train\.json: `categories` is empty; list at least one"),
    "no image list": ({"categories": []}, r"train\.json: has no list `images`; it must be a COCO instances file"),
    "image list as object": ({"images": {}}, r"train\.json: `images` is not a list of objects \(byte 11\)"),
    "annotations not a list": (instances() | {"annotations": {}}, r"train\.json: `annotations` is not a list"),
    "annotations not objects": (
        instances() | {"annotations": [{"id": 1}, 5]},
        r"train\.json: `annotations` is not a list of objects \(entry 1 is 5\)",
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", CASES)
def test_broken_files_are_refused_in_one_sentence(coco_set: Make, case: str) -> None:
    content, message = CASES[case]
    with pytest.raises(BadInput, match=message) as caught:
        read(coco_set(train=content, images=False))
    assert "\n" not in str(caught.value) and len(str(caught.value)) < 400


def test_the_wrong_entry_is_named_by_its_number_in_the_file(coco_set: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("scantling.data.json_stream.BATCH", 2)
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
    other["categories"] = []
    with pytest.raises(BadInput, match=r"here nothing more, there 3=nut, 7=bolt"):
        read(coco_set(train=instances(), val=other))


def test_files_that_are_absent_or_no_json(coco_set: Make, tmp_path: Path) -> None:
    file = coco_set(train=instances())
    (tmp_path / "set/annotations/train.json").write_text('{"images": [')
    with pytest.raises(BadInput, match=r"train\.json: not valid JSON .*export it again"):
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


# Against json.load ---------------------------------------------------------------------------------------------------

NUMBERS = st.integers(-1000, 1000) | st.floats(-1e6, 1e6)
IDS = st.integers(0, 2**63 - 1)
CATEGORY_IDS = st.integers(-(2**63), 2**63 - 1)
NAMES = st.text(st.characters(min_codepoint=32, exclude_categories=["Cs"], exclude_characters="\x7f"), min_size=1)

FILE_NAMES = NAMES.filter(lambda name: not name.endswith("/"))


@st.composite
def contents(draw: st.DrawFn) -> dict[str, Any]:
    """Valid files: lists and keys in any order, optional keys there or not."""

    def entry(must: dict[str, Any], **may: st.SearchStrategy[Any]) -> dict[str, Any]:
        more = {key: draw(values) for key, values in may.items() if draw(st.booleans())}
        return dict(draw(st.permutations(list((must | more).items()))))

    both = lambda c: c[0], lambda c: c[1]
    classes = draw(st.lists(st.tuples(CATEGORY_IDS, NAMES), min_size=1, max_size=4, unique_by=both))
    image_ids = draw(st.lists(IDS, max_size=4, unique=True))
    sizes = st.integers(0, 2**31 - 1) | st.none()
    images = [
        entry({"id": i, "file_name": draw(FILE_NAMES)}, width=sizes, height=sizes, url=st.text()) for i in image_ids
    ]
    box_ids = draw(st.lists(IDS, max_size=6, unique=True)) if image_ids else []
    flag = st.sampled_from([0, 1, True, False, None])
    polygon = st.lists(st.lists(NUMBERS, max_size=6), max_size=2) | st.just({"counts": "}],[{", "size": [1, 2]})
    boxes = [
        entry(
            {
                "id": i,
                "image_id": draw(st.sampled_from(image_ids)),
                "category_id": draw(st.sampled_from(classes))[0],
                "bbox": draw(st.lists(NUMBERS, min_size=4, max_size=4)),
            },
            area=NUMBERS | st.none(), iscrowd=flag, difficult=flag, segmentation=polygon,
        )
        for i in box_ids
    ]  # fmt: skip
    parts = {"images": images, "annotations": boxes, "categories": [entry({"id": i, "name": n}) for i, n in classes]}
    return dict(draw(st.permutations([*parts.items(), ("info", {"images": [1]}), ("licenses", [{"id": [2]}])])))


def by_json_load(data: bytes, folder: str = "images") -> tuple[list[str], pd.DataFrame, pd.DataFrame]:
    """Classes, images and boxes, the plain way."""
    content = json.loads(data)
    classes = dict(sorted((c["id"], c["name"]) for c in content["categories"]))
    images = [
        (i["id"], f"{folder}/{i['file_name']}", i.get("width") or 0, i.get("height") or 0) for i in content["images"]
    ]
    boxes = []
    for a in content["annotations"]:
        x, y, w, h = a["bbox"]
        area = np.nan if a.get("area") is None else a["area"]
        flags = bool(a.get("iscrowd")), bool(a.get("difficult"))
        label = list(classes).index(a["category_id"])
        boxes.append((a["id"], a["image_id"], label, x, y, float(x) + w, float(y) + h, area, *flags))
    columns = ["box_id", "image_id", "label", "x1", "y1", "x2", "y2", "area", "crowd", "difficult"]
    return (
        list(classes.values()),
        pd.DataFrame(images, columns=["image_id", "file_name", "width", "height"]),
        pd.DataFrame(boxes, columns=columns),
    )


def assert_same(source: Source, data: bytes) -> None:
    classes, images, boxes = by_json_load(data)
    assert list(source.classes) == classes
    for ours, theirs in ((source.images.drop(columns="subset"), images), (source.boxes, boxes)):
        assert list(ours.columns) == list(theirs.columns)
        for column in ours:
            wanted = theirs[column].to_numpy()
            kind = ours[column].dtype
            np.testing.assert_array_equal(ours[column].to_numpy(), wanted if kind == "str" else wanted.astype(kind))


def read_file(file: Path, found: Findings | None = None, **more: Any) -> Source:
    params = CocoParams(name="a", root=str(file.parent), subsets={"train": file.name})
    content = coco_file.read(file, folder="images", **more)
    return coco.merge(params, "coco", [content], Findings() if found is None else found)


@pytest.fixture(scope="module")
def one_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("coco") / "f.json"


@given(contents(), st.integers(1, 300), st.sampled_from([None, 1]))
@settings(max_examples=100, deadline=None)
def test_it_reads_what_json_load_reads(one_file: Path, content: Any, piece_bytes: int, indent: int | None) -> None:
    data = json.dumps(content, indent=indent).encode()
    one_file.write_bytes(data)
    assert_same(read_file(one_file, piece_bytes=piece_bytes), data)


@pytest.mark.parametrize(
    ("name", "counts"),
    [("coco2017_train_subset337", (337, 2838, 80)), ("instances_val2014_100", (100, 839, 80))],
)
def test_real_files_are_read_as_by_json_load(shared_data: Path, name: str, counts: tuple[int, int, int]) -> None:
    file = shared_data / f"coco_annotations/{name}.json.gz"
    source = read_file(file, piece_bytes=10_007)
    assert (len(source.images), len(source.boxes), len(source.classes)) == counts
    assert_same(source, gzip.decompress(file.read_bytes()))


def test_the_published_taco_file_uses_two_annotation_ids_twice(shared_data: Path) -> None:
    file = shared_data / "coco_annotations/taco_annotations.json.gz"
    found = Findings()
    source = read_file(file, found, piece_bytes=10_007)
    with pytest.raises(BadInput, match=r"2 x annotation id used more than once, e\.g\. .*: id 309, .*: id 4040; give"):
        found.refuse("taco")
    assert (len(source.images), len(source.boxes), len(source.classes)) == (1500, 4784, 60)
    content = json.loads(gzip.decompress(file.read_bytes()))
    for new, entry in enumerate(content["annotations"], 1):
        entry["id"] = new
    assert_same(source, json.dumps(content).encode())


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
    found = Findings(params.problems)
    index = check(formats.read(params, found), params, found)
    counts = {s: (c["images"], c["boxes"], c["crowd"]) for s, c in index.facts["counts"].items()}
    assert counts == expected
    assert all(p.level == "note" for p in found)
    assert ("id_gaps" in kinds(found)) == (name == "coco_mini")


def test_broken_files_give_a_clear_error_or_a_sound_reading(one_file: Path) -> None:
    content = instances() | {"info": {"year": 2017}, "licenses": []}
    content["annotations"][0]["segmentation"] = [[1.5, 2, 3.25, 4, 5, 6e0]]
    read_well = 0
    for data in broken_json(content, 600):
        one_file.write_bytes(data)
        params = CocoParams(name="a", root=str(one_file.parent), subsets={"train": "f.json"})
        try:
            source = coco.read(params, Findings())
        except BadInput as refused:
            assert "f.json" in str(refused) and ";" in str(refused)
        else:
            assert_trustworthy(source)
            read_well += 1
    assert 50 < read_well < 550  # both happen


@pytest.mark.parametrize("name", ["coco", "coco_35k", "coco_unlabeled"])
def test_committed_parameters_are_valid(name: str) -> None:
    params = DataParams.load(ROOT / f"params/data/{name}.yaml")
    assert len(params.files()) == len(params.folders()) and "test" in params.subsets
