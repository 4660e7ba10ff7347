"""split.html and its words: numbers as in split.json, bounded, nothing of the data set as markup."""

from __future__ import annotations

import re
from pathlib import Path
from xml.etree import ElementTree

import pandas as pd
import pytest

from scantling.data import protocols, sparse, split_page
from scantling.data.index import Index
from tests.data.tables import index_of, long_tailed
from tests.data.test_protocols import EVERY


def page(facts: dict, folder: Path) -> str:
    split_page.write(facts, folder / "split.html")
    return (folder / "split.html").read_text()


def drawings(text: str) -> list[ElementTree.Element]:
    return [ElementTree.fromstring(svg) for svg in re.findall(r"<svg.*?</svg>", text, re.S)]


@pytest.mark.parametrize("name", EVERY)
def test_words_and_page_of_every_protocol(name: str, tmp_path: Path) -> None:
    index = long_tailed(80, 5, 1)
    subsets = ["train"] * 60 + ["unlabeled"] * 20
    index = Index(**{**vars(index), "classes": tuple("abcde"), "images": index.images.assign(subset=subsets)})
    if name == "transfer":
        assert index.boxes is not None
        seen = index.boxes[(index.boxes.image_id > 5 + 2 * 59) | (index.boxes.label < 3)]
        index = Index(**{**vars(index), "boxes": seen})
    _, facts = protocols.make(index, EVERY[name], 1)
    words, text = split_page.words(facts), page(facts, tmp_path)
    count = facts["counts"]
    assert f"{count['kept']:,} kept" in words["boxes"] and f"{count['labeled']} labeled" in words["images"]
    assert facts["sha256"] in text and EVERY[name].protocol in words["protocol"]
    (drawing,) = drawings(text)
    shown = [t.text for t in drawing.iter("text") if t.text and " of " in t.text]
    assert shown == [f"{k:,} of {k + h:,}" for _, k, h, _ in split_page.rows(facts)]


def test_bars_are_as_long_as_the_numbers_say(tmp_path: Path) -> None:
    _, facts = protocols.make(long_tailed(100, 4, 1), EVERY["drop_category"], 1)
    (drawing,) = drawings(page(facts, tmp_path))
    bars = {kind: [r for r in drawing.iter("rect") if r.get("class") == kind] for kind in ("kept", "hidden")}
    rows = split_page.rows(facts)
    longest = max(k + h for _, k, h, _ in rows)
    for (_, kept, hidden, _), a, b in zip(rows, bars["kept"], bars["hidden"], strict=True):
        for bar, n in ((a, kept), (b, hidden)):
            assert float(bar.get("width", "")) == pytest.approx(n / longest * split_page.BAR_PX, abs=0.06)
        assert float(b.get("x", "")) == pytest.approx(float(a.get("x", "")) + float(a.get("width", "")), abs=0.11)


def test_many_classes_are_bounded(tmp_path: Path) -> None:
    boxes = pd.DataFrame({"box_id": range(3000), "image_id": 1, "label": range(3000)})
    index = index_of({"image_id": [1]}, boxes, tuple(f"class {k}" for k in range(3500)))
    _, facts = protocols.make(index, EVERY["full"], 1)
    text = page(facts, tmp_path)
    assert len(drawings(text)) == 2 and len(text) < 400_000
    assert "1,000 more in split.json" in text and "500 classes have no box in these images" in text
    assert "3,000 keep fewer than 10 boxes: class 0, class 1" in split_page.words(facts)["at risk"]
    assert "and 2,990 more" in split_page.words(facts)["at risk"]


def test_lost_classes_and_classes_at_risk_are_told_apart() -> None:
    boxes = pd.DataFrame({"box_id": range(40), "image_id": [1] * 38 + [2, 3], "label": [0] * 30 + [1] * 8 + [2, 2]})
    index = index_of({"image_id": [1, 2, 3, 4]}, boxes)
    _, facts = protocols.make(index, sparse.ExtremeParams(protocol="extreme", allow_missing_class=True), 2)
    words = split_page.words(facts)
    assert words["left empty"] == "1 labeled images keep no box, 0 of them lost all they had"
    lost = {n for n, c in facts["per_class"].items() if not c["kept"]}
    assert words["lost"].startswith(f"{len(lost)} keep no box: ") and all(n in words["lost"] for n in lost)
    assert words["at risk"].startswith(f"{3 - len(lost)} keep fewer than 10 boxes")


def test_names_are_no_markup(tmp_path: Path) -> None:
    evil = '<script>alert("x")</script>&'
    boxes = {"box_id": [1, 2], "image_id": [1, 1], "label": [0, 1]}
    index = index_of({"image_id": [1]}, boxes, (evil, "b"), name=evil)
    text = page(protocols.make(index, EVERY["full"], 1)[1], tmp_path)
    assert "<script" not in text and "&lt;script&gt;" in text
    assert drawings(text)
