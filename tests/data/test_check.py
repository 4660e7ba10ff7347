"""Every kind of problem: it is found, and ends the stage or is repaired as its rule says, as a parameter tells."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageOps

from scantling.data import formats
from scantling.data.check import boxes as box_checks
from scantling.data.check import check, counts
from scantling.data.check import inspect as look_at
from scantling.data.formats import DataParams
from scantling.data.index import BOX_COLUMNS, XYXY, table
from scantling.data.problems import KINDS, Findings
from scantling.data.source import Source, SourceParams
from scantling.stage import BadInput
from tests.data.cases import CASES, ORIENTATION, ids, kinds, run, sound
from tests.data.made import instances, photo

Make = Callable[..., Path]
IMAGE_SIDES = ("width", "height")


def parameters(folder: Path, kind: str, action: str | None) -> Path:
    """The parameter file of the case of a kind; None: nothing is said of it."""
    lines = CASES[kind].make(folder / "set")
    file = folder / "bolts.yaml"
    file.write_text(lines + (f"problems: {{{kind}: {action}}}\n" if action else ""))
    return file


def with_boxes(*boxes: list[float], category: int = 3) -> dict[str, Any]:
    """Image 1 with these boxes (x, y, width, height)."""
    content = instances()
    content["annotations"] = [
        {"id": i, "image_id": 1, "category_id": category, "bbox": box} for i, box in enumerate(boxes, 1)
    ]
    return content


def test_every_kind_has_a_case() -> None:
    assert set(CASES) == set(KINDS)
    assert {k for k, case in CASES.items() if case.repaired} >= {k for k in KINDS if KINDS[k].default == "repair"}
    assert {k for k, case in CASES.items() if case.repaired} == {k for k in KINDS if KINDS[k].repair}


@pytest.mark.parametrize("kind", KINDS)
def test_by_default(kind: str, tmp_path: Path) -> None:
    file = parameters(tmp_path, kind, None)
    if KINDS[kind].default == "error":
        with pytest.raises(BadInput, match=f"{CASES[kind].count} x {KINDS[kind].title}, e.g. "):
            run(file)
    else:
        index, found = run(file)
        assert kinds(found)[kind] == (KINDS[kind].default, CASES[kind].count)
        sound(index)


@pytest.mark.parametrize("kind", KINDS)
def test_as_an_error(kind: str, tmp_path: Path) -> None:
    with pytest.raises(BadInput) as caught:
        run(parameters(tmp_path, kind, "error"))
    assert f"{CASES[kind].count} x {KINDS[kind].title}, e.g. " in str(caught.value)
    assert KINDS[kind].remedy in str(caught.value)


@pytest.mark.parametrize("kind", [kind for kind in KINDS if KINDS[kind].repair])
def test_repaired(kind: str, tmp_path: Path) -> None:
    index, found = run(parameters(tmp_path, kind, "repair"))
    assert kinds(found)[kind] == ("repair", CASES[kind].count)
    assert next(p for p in found if p.kind == kind).what == KINDS[kind].repair
    repaired = CASES[kind].repaired
    assert repaired is not None and repaired(index), (index.images, index.boxes)
    sound(index)


def test_a_clean_set_has_no_problem_and_true_counts(coco_set: Make) -> None:
    index, found = run(coco_set(train=instances()))
    assert found == []
    assert index.facts["counts"] == {"train": {"images": 2, "boxes": 3, "crowd": 0, "classes": {"nut": 2, "bolt": 1}}}
    assert index.images.bytes.gt(0).all() and index.images.mtime_ns.eq(0).all()


def test_everything_wrong_is_said_at_once(coco_set: Make, tmp_path: Path) -> None:
    content = instances()
    content["images"][1]["width"] = 80
    file = coco_set(train=content, val=instances(11))
    (tmp_path / "set/images/11.jpg").unlink()
    (tmp_path / "set/images/12.jpg").write_text("no picture")
    with pytest.raises(BadInput) as caught:
        run(file)
    first, second, third = str(caught.value).split("\n")
    assert "image without file" in first and "11.jpg (No such file or directory)" in first
    assert "unreadable" in second and "size differs from the file, e.g. images/2.jpg (stated 80 x 30, file 40" in third


def test_without_raising_what_is_refused_is_left_out(coco_set: Make, tmp_path: Path) -> None:
    file = coco_set(train=instances())
    (tmp_path / "set/images/1.jpg").unlink()
    params, found = DataParams.load(file), Findings()
    index = look_at(formats.read(params, found), params, found)
    assert [p.kind for p in found.errors] == ["missing_file"] and ids(index) == ([2], [3])


# boxes


def test_boxes_are_clipped_dropped_and_taken_once(coco_set: Make) -> None:
    content = with_boxes([30, 20, 20, 20], [5, 5, 0, 4], [60, 5, 4, 4], [1, 1, 9, 9], [1, 1, 9, 9], [0, 0, 40.005, 30])
    index, found = run(coco_set(train=content))
    assert index.boxes is not None
    assert index.boxes.box_id.tolist() == [1, 4, 6]
    assert index.boxes[XYXY].to_numpy().tolist()[0] == [30, 20, 40, 30]
    assert index.boxes.area.tolist() == [100, 81, 1200]
    assert kinds(found) == {
        "box_outside": ("repair", 2),
        "box_without_area": ("repair", 2),
        "repeated_box": ("repair", 1),
        "image_without_boxes": ("note", 1),
        "class_without_boxes": ("note", 1),
    }


def test_the_same_corners_with_another_class_or_image_or_as_crowd_are_no_repetition(coco_set: Make) -> None:
    content = with_boxes([1, 1, 9, 9], [1, 1, 9, 9], [1, 1, 9, 9], [1, 1, 9, 9])
    content["annotations"][1]["category_id"] = 7
    content["annotations"][2]["image_id"] = 2
    content["annotations"][3]["iscrowd"] = 1
    index, found = run(coco_set(train=content))
    assert index.boxes is not None and len(index.boxes) == 4 and "repeated_box" not in kinds(found)


finite = st.floats(-50, 90, width=32)


@settings(max_examples=60, deadline=None)
@given(
    boxes=st.lists(
        st.tuples(
            st.integers(0, 3),  # image; there are 1, 2 and 3
            st.integers(0, 1),
            st.lists(finite | st.sampled_from([np.nan, np.inf, -np.inf, 3e38, -0.0]), min_size=4, max_size=4),
            st.sampled_from([np.nan, 5.0, -1.0, np.inf]),
            st.booleans(),
        ),
        max_size=20,
    ),
    rows=st.sampled_from([1, 2, 3, 1 << 20]),
)
def test_any_boxes_become_sound_ones_in_any_chunks(boxes: list, rows: int) -> None:
    table_of = [
        dict(zip(XYXY, corners, strict=True))
        | {"box_id": n, "image_id": image, "label": label, "area": area, "crowd": crowd, "difficult": False}
        for n, (image, label, corners, area, crowd) in enumerate(boxes)
    ]
    images = pd.DataFrame(
        {"image_id": [1, 2, 3], "subset": "train", "file_name": ["a", "b", "c"], "width": 40, "height": [30, 30, 60]}
    )
    source = Source("a", "coco", ".", (), ("x", "y"), (1, 2), images, table(table_of, BOX_COLUMNS)).tidy()
    params, found = SourceParams(name="a", root=".", verify="none"), Findings({"box_not_numbers": "repair"})
    before, box_checks.ROWS = box_checks.ROWS, rows
    try:
        index = check(source, params, found)
    finally:
        box_checks.ROWS = before
    sound(index)
    assert index.boxes is not None
    assert not index.boxes.duplicated(["image_id", "label", "crowd", *XYXY]).any()
    drawn = source.boxes.set_index("box_id").loc[index.boxes.box_id]
    width, height = (index.images.set_index("image_id").loc[index.boxes.image_id, s].to_numpy() for s in IMAGE_SIDES)
    for side, most in zip(XYXY, (width, height) * 2, strict=True):
        assert (index.boxes[side].to_numpy() == np.clip(drawn[side].to_numpy(), 0, most)).all()
    lost = set(source.boxes.box_id) - set(index.boxes.box_id)
    shown = kinds(found)
    assert len(lost) == (source.boxes.image_id == 0).sum() + sum(
        shown.get(kind, ("", 0))[1] for kind in ("box_not_numbers", "box_without_area", "repeated_box")
    )


def test_keys_that_collide_cost_no_box(coco_set: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    """Repetitions are compared, not believed: with one key for all boxes the result is the same."""
    monkeypatch.setattr(box_checks, "_keys", lambda columns: np.zeros(len(columns[0]), np.uint64))
    index, found = run(coco_set(train=with_boxes([1, 1, 9, 9], [1, 1, 9, 9], [1, 1, 9, 8])))
    assert ids(index)[1] == [1, 3] and kinds(found)["repeated_box"] == ("repair", 1)


# sizes and EXIF


@pytest.mark.parametrize("scale", [1, 2])
@pytest.mark.parametrize("turn", range(1, 9))
def test_boxes_drawn_before_exif_turns_the_image_follow_it(
    coco_set: Make, tmp_path: Path, turn: int, scale: int
) -> None:
    """On the pixels as stored, 40 x 30, or on a version of them of twice the size."""
    content = with_boxes([4 * scale, 6 * scale, 10 * scale, 3 * scale])
    content["images"] = [{**content["images"][0], "width": 40 * scale, "height": 30 * scale}]
    file = coco_set(train=content, images=False, params="problems: {wrong_size: repair}\n")
    exif = Image.Exif()
    exif[ORIENTATION] = turn
    stored = np.zeros((30, 40), dtype=np.uint8)
    stored[6:9, 4:14] = 255
    path = tmp_path / "set/images/1.jpg"
    path.parent.mkdir()
    Image.fromarray(stored).save(path, "PNG", exif=exif)
    index, found = run(file)
    with Image.open(path) as image:
        rows, columns = np.nonzero(np.asarray(ImageOps.exif_transpose(image)))
    assert index.boxes is not None
    lying = turn >= 5  # 2, 3 and 4 cannot be told from boxes drawn on the upright picture
    upright = [columns.min(), rows.min(), columns.max() + 1, rows.max() + 1]
    assert index.boxes[XYXY].to_numpy()[0].tolist() == (upright if lying else [4, 6, 14, 9])
    assert index.images[["width", "height"]].to_numpy().tolist() == [[30, 40] if lying else [40, 30]]
    assert index.boxes.area.tolist() == [30]
    assert {k: v for k, v in kinds(found).items() if k.startswith("exif")} == (
        {"exif_turned": ("repair", 1)} if lying else {"exif": ("note", 1)} if turn > 1 else {}
    )
    assert ("wrong_size" in kinds(found)) == (scale == 2)


def test_boxes_drawn_on_the_upright_image_stay(coco_set: Make, tmp_path: Path) -> None:
    content = instances()
    content["images"][0] |= {"width": 30, "height": 40}
    file = coco_set(train=content)
    exif = Image.Exif()
    exif[ORIENTATION] = 6
    photo(tmp_path / "set/images/1.jpg", exif=exif)
    index, found = run(file)
    assert index.boxes is not None and index.boxes.x1.tolist()[:2] == [1, 5]
    assert kinds(found) == {"exif": ("note", 1)}


def test_sizes_that_are_not_stated_come_from_the_files(coco_set: Make) -> None:
    content = instances()
    for entry in content["images"]:
        del entry["width"], entry["height"]
    index, _ = run(coco_set(train=content))
    assert index.images[["width", "height"]].to_numpy().tolist() == [[40, 30]] * 2
    with pytest.raises(BadInput, match="2 x image of unknown size.*set `verify: header`"):
        run(coco_set(train=content, params="verify: none\n"))


def test_published_areas_are_kept_and_scaled_with_the_box(coco_set: Make) -> None:
    content = instances()
    content["annotations"][0]["area"] = 7
    index, _ = run(coco_set(train=content))
    assert index.boxes is not None and index.boxes.area.tolist() == [7, 400, 1200]
    content["images"][0] |= {"width": 20, "height": 30}
    index, _ = run(coco_set(train=content, params="problems: {wrong_size: repair}\n"))
    assert index.boxes is not None and index.boxes.area.tolist() == [14, 600, 1200]  # 25 px of 20 were beyond


# counts


def test_counts_of_subsets_sizes_and_boxes_an_image() -> None:
    images = pd.DataFrame({"subset": ["train", "val", "train"]})
    corners = [[0, 0, 32, 32], [0, 0, 8, 8], [0, 0, 8, 8], [0, 0, 300, 300]]
    boxes = pd.DataFrame(corners, columns=XYXY, dtype="float32").assign(label=[0, 2, 2, 1], crowd=[False] * 3 + [True])
    made = counts.count(images, boxes, np.array([2, 1, 2, 2]), 3)
    assert made.subsets == ("train", "val")
    assert (made.images.tolist(), made.boxes.tolist(), made.crowd.tolist()) == ([2, 1], [3, 1], [1, 0])
    assert made.classes.tolist() == [[1, 0, 1], [0, 0, 1]]
    assert made.on_image[:, :4].tolist() == [[1, 0, 0, 1], [0, 1, 0, 0]]
    assert made.side_quantile(0, 0.5) == pytest.approx(32, rel=0.05)
    assert made.side_quantile(1, 0.9) == pytest.approx(8, rel=0.05)
    none = counts.count(images[:0], boxes[:0], np.zeros(0, np.int32), 3)
    assert none.subsets == () and none.facts(("a", "b", "c")) == {} and counts.quantile(none.sides.sum(0), 0.5) == 0
