"""check.html: what it says, that names cannot break it, that it stays small, and that a phone can show it."""

from __future__ import annotations

import html
import re
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml

from scantling.data import formats
from scantling.data.check import check, inspect, page
from scantling.data.check.counts import SIDE_BINS, count
from scantling.data.check.drawing import MOST_BOXES
from scantling.data.check.figures import figures
from scantling.data.formats import DataParams
from scantling.data.index import BOX_COLUMNS, XYXY, table
from scantling.data.problems import KINDS, Findings, check_policy
from scantling.data.source import Source, SourceParams
from tests.data.made import instances
from tests.report.test_browser import FRAME, PHONE_PX, browser, opened  # noqa: F401

Make = Callable[..., Path]
NASTY = (
    "<script>alert(1)</script>",
    '"><img src=x onerror=alert(2)>',
    "a\nb\x00\u202e",
    "x" * 5000,
    "{{ 7 * 7 }}",
    "é 漢 😀",
)


def written(file: Path, folder: Path) -> str:
    """The page of a data set, refused or not."""
    params = DataParams.load(file)
    found = Findings(params.problems)
    page.write(inspect(formats.read(params, found), params, found), found, folder / "check.html")
    return (folder / "check.html").read_text(encoding="utf-8")


def synthetic(folder: Path, classes: int, images: int, boxes: int, names: tuple[str, ...] = ()) -> str:
    """The page of random boxes on images that nobody looks at."""
    random = np.random.default_rng(0)
    subsets = np.array(["train", "val", "test"])[np.arange(images) % 3] if images else []
    listed = pd.DataFrame({"image_id": np.arange(images), "subset": subsets})
    listed = listed.assign(file_name=[f"{i}-{(*names, '')[i % (len(names) + 1)]}.jpg" for i in range(images)])
    corners = random.uniform(-10, 400, (boxes, 2))
    rows = pd.DataFrame(np.hstack([corners, corners + random.lognormal(3, 1.5, (boxes, 2))]), columns=XYXY)
    rows = rows.assign(box_id=np.arange(boxes), label=np.minimum(random.zipf(1.4, boxes), classes) - 1, area=np.nan)
    rows = rows.assign(image_id=random.integers(0, max(images, 1), boxes), crowd=False, difficult=False)
    called = (*names, *(f"class {i}" for i in range(classes)))[:classes]
    source = Source("big", "coco", str(folder), (), called, tuple(range(classes)), listed.assign(width=400, height=300),
                    table(rows, BOX_COLUMNS)).tidy()  # fmt: skip
    found = Findings()
    index = check(source, SourceParams(name="big", root=str(folder), verify="none"), found)
    page.write(index, found, folder / "check.html")
    return (folder / "check.html").read_text(encoding="utf-8")


def test_it_holds_all_it_needs_and_escapes_names(coco_set: Make, tmp_path: Path) -> None:
    content = instances()
    content["categories"][0]["name"] = "<script>alert(1)</script>"
    content["annotations"][0]["iscrowd"] = 1
    text = written(coco_set(train=content), tmp_path)
    assert "<script" not in text and "&lt;script&gt;" in text
    assert "http" not in text and "url(" not in text and "@import" not in text
    assert text.count("data:image/jpeg;base64,") == 2
    assert "Image with a crowd region" in text and "stroke-dasharray=" in text


def test_it_says_what_happened_and_how_to_change_that(coco_set: Make, tmp_path: Path) -> None:
    content = instances()
    content["annotations"][0]["bbox"] = [30, 20, 20, 20]
    content["annotations"][1]["iscrowd"] = 1
    content["images"][1]["width"] = 80
    text = written(coco_set(train=content), tmp_path)
    assert "This data set is refused for one kind of problem." in text
    order = [text.index(KINDS[kind].title[1:]) for kind in ("wrong_size", "box_outside", "crowd")]
    assert order == sorted(order)
    lines = [html.unescape(line) for line in re.findall("<code>(problems: {[^…]*?})</code>", text)]
    assert lines == [f"problems: {{{p}}}" for p in ("wrong_size: repair", "box_outside: error", "crowd: error")]
    for line in lines:
        check_policy(yaml.safe_load(line)["problems"])
    assert "box 1 of images/1.jpg (30, 20, 50, 40)" in text and "images/2.jpg (stated 80 x 30, file 40 x 30)" in text


def test_a_clean_set_and_its_numbers(coco_set: Make, tmp_path: Path) -> None:
    text = written(coco_set(train=instances()), tmp_path)
    assert "Usable: nothing had to be repaired." in text and "every file could be read" in text
    assert re.search("<td>2</td><td>3</td><td>1.5</td><td>0</td><td>0</td><td>40 × 30</td>", text)
    assert re.search(r"<b>3</b>boxes", text) and re.search(r"<b>1.5</b>boxes on a labeled image", text)


@pytest.mark.parametrize(("images", "boxes", "classes"), [(0, 0, 1), (0, 0, 1203), (3, 0, 2), (4, 900, 1)])
def test_little_is_shown_as_well(tmp_path: Path, images: int, boxes: int, classes: int) -> None:
    text = synthetic(tmp_path, classes, images, boxes)
    assert f"<b>{images}</b>" in text and "nan" not in text
    assert ("There is no image" in text) == (images == 0)
    if boxes:
        assert f"{MOST_BOXES} of them drawn" not in text  # the images are not there to draw on
        assert "cannot be read (No such file or directory)" in text


def test_its_size_does_not_grow_with_the_data(tmp_path: Path) -> None:
    few = synthetic(tmp_path, 1203, 60, 3000)
    many = synthetic(tmp_path, 6000, 3000, 30000)
    assert len(many) < 1.15 * len(few) < 200_000
    assert "1,003 rarer still" in few


def test_many_boxes_on_one_image_are_drawn_in_part(coco_set: Make, tmp_path: Path) -> None:
    content = instances()
    content["annotations"] = [
        {"id": i, "image_id": 1, "category_id": 3, "bbox": [i % 30, i // 30, 2, 2]} for i in range(MOST_BOXES + 50)
    ]
    text = written(coco_set(train=content), tmp_path)
    assert f"{MOST_BOXES + 50} boxes, {MOST_BOXES} of them drawn" in text
    assert text.count("<title>nut</title>") == MOST_BOXES


def test_an_image_deleted_after_an_unverified_check_does_not_stop_it(coco_set: Make, tmp_path: Path) -> None:
    file = coco_set(train=instances(), params="verify: none\n")
    shutil.rmtree(tmp_path / "set/images")
    text = written(file, tmp_path)
    assert text.count("2.jpg: cannot be read (No such file or directory)") == 1 and "<image" not in text
    assert "every file could be read" not in text


def test_the_shares_of_sizes_are_those_of_coco(coco_set: Make) -> None:
    """Sides of 31.9 and 32.1, 95 and 97 px lie on the two sides of the limits."""
    sides = [8.0, 31.9, 32.1, 95.0, 97.0, 200.0, 300.0, 400.0]
    boxes = pd.DataFrame({"x1": 0.0, "y1": 0.0, "x2": sides, "y2": sides}).astype("float32")
    made = count(pd.DataFrame({"subset": ["train"]}), boxes.assign(label=0, crowd=False), np.zeros(8, np.int32), 1)
    assert made.sides.shape == (1, SIDE_BINS) and made.sides.sum() == 8
    shown = figures(made)
    assert [f.title for f in shown] == ["Box sizes", "Boxes on an image"]  # one class is not spread
    assert shown[0].note.startswith("25% small, 25% medium, 50% large")


def test_a_browser_on_a_phone_has_nothing_to_complain_of(browser: str, tmp_path: Path) -> None:  # noqa: F811
    text = synthetic(tmp_path, 1203, 60, 3000, NASTY)
    assert "{{ 7 * 7 }}" in text and "<script" not in text
    _, console = opened(browser, tmp_path / "check.html", tmp_path / "profile")
    assert console == []
    frame = tmp_path / "frame.html"
    frame.write_text(FRAME.format(width=PHONE_PX, page=html.escape(text)), encoding="utf-8")
    dom, console = opened(browser, frame, tmp_path / "profile")
    width, content, wide = re.search(r'id="answer">width (\d+) content (\d+) wide (.*)', dom).groups()  # type: ignore
    assert int(width) <= PHONE_PX and int(content) <= int(width), wide
    assert wide.startswith("0 ") and console == [], wide
