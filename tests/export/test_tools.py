"""CVAT and Label Studio: what is written is read back, a machine's boxes marked as such."""

from __future__ import annotations

import json
from pathlib import Path
from xml.etree import ElementTree

import globox
import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from scantling.data import corrections, cvat, index, label_studio
from scantling.data.drawn import Drawn
from scantling.data.index import XYXY, Index
from scantling.export import cvat as to_cvat
from scantling.export import label_studio as to_label_studio
from scantling.export.__main__ import main
from scantling.export.content import choose
from tests.export.made import small

READERS = {"cvat": (cvat.read, "annotations.xml"), "label_studio": (label_studio.read, "tasks.json")}
SIDES = st.just(0.0) | st.floats(0.125, 4000, width=32)
WRITERS = {"cvat": to_cvat, "label_studio": to_label_studio}


@pytest.fixture
def made(tmp_path: Path) -> Index:
    return small(tmp_path)


def export(folder: Path, form: str, *more: str) -> list[Drawn]:
    main(["--index", str(folder / "index"), "--format", form, "--out", str(folder / form), *more])
    reader, name = READERS[form]
    return reader(folder / form / name)


def rows(found: list[Drawn], data: Index, *, proposed: bool = False) -> pd.DataFrame:
    """Boxes as the index has them."""
    find = corrections.finder(data)
    made = [
        (find(image.name), data.classes.index(box.name), *np.float32(box.corners))
        for image in found
        for box in image.boxes
        if box.proposed == proposed
    ]
    return ordered(pd.DataFrame(made, columns=["image_id", "label", *XYXY]))


def ordered(table: pd.DataFrame) -> pd.DataFrame:
    columns = ["image_id", "label", *XYXY]
    return table[columns].sort_values(columns, ignore_index=True).astype("float64")


@pytest.mark.parametrize("form", READERS)
def test_the_whole_truth_comes_back_to_the_last_bit(made: Index, tmp_path: Path, form: str) -> None:
    found = export(tmp_path, form)
    assert made.boxes is not None
    pd.testing.assert_frame_equal(rows(found, made), ordered(made.boxes[~made.boxes["crowd"]]), check_exact=True)
    assert [image.labeled for image in found] == [True] * 5 + [False]  # more/u.jpg: nobody looked
    assert all((tmp_path / form / "images").joinpath(name).exists() for name in made.images["file_name"])


@pytest.mark.parametrize("form", READERS)
def test_boxes_of_a_machine_are_marked(made: Index, tmp_path: Path, form: str) -> None:
    table = pd.DataFrame({"image_id": [30], "label": [1], "score": np.float32(0.9)})
    table.assign(x1=1.0, y1=1.0, x2=9.0, y2=8.0).to_parquet(tmp_path / "pseudo.parquet")
    found = export(tmp_path, form, "--pseudo", str(tmp_path / "pseudo.parquet"))
    assert len(found) == 1 and not found[0].counts() and not found[0].accepted()
    if form == "cvat":
        assert found[0].boxes[0].proposed
        box = ElementTree.parse(tmp_path / "cvat/annotations.xml").find("image/box")
        assert box is not None and box.get("source") == "auto"
        assert [(a.get("name"), a.text) for a in box] == [("proposed", "true"), ("score", "0.900")]
    else:
        (task,) = json.loads((tmp_path / "label_studio/tasks.json").read_text())
        assert task["annotations"] == [] and task["predictions"][0]["score"] == pytest.approx(0.9)
        assert task["predictions"][0]["result"][0]["value"]["x"] == pytest.approx(2.5)


def test_globox_reads_the_same_from_cvat(made: Index, tmp_path: Path) -> None:
    export(tmp_path, "cvat")
    found = globox.AnnotationSet.from_cvat(tmp_path / "cvat/annotations.xml")
    theirs = sorted((str(a.image_id), b.label, *(round(v, 3) for v in b.ltrb)) for a in found for b in a.boxes)
    assert made.boxes is not None
    names = made.images.set_index("image_id")["file_name"]
    ours = sorted(
        (names[row.image_id], made.classes[row.label], *(round(float(v), 3) for v in (row.x1, row.y1, row.x2, row.y2)))
        for row in made.boxes[~made.boxes["crowd"]].itertuples()
    )
    assert theirs == ours


def test_what_the_tools_need_to_know_of_classes(made: Index, tmp_path: Path) -> None:
    export(tmp_path, "cvat")
    export(tmp_path, "label_studio")
    labels = json.loads((tmp_path / "cvat/labels.json").read_text())
    assert [(label["name"], label["type"]) for label in labels] == [
        ("a/b", "rectangle"), ("two words", "rectangle"), ("labeled", "tag")
    ]  # fmt: skip
    config = ElementTree.parse(tmp_path / "label_studio/label_config.xml")
    assert [label.get("value") for label in config.iter("Label")] == ["a/b", "two words"]


@pytest.mark.parametrize("form", READERS)
@given(
    corners=st.lists(
        st.tuples(SIDES, SIDES, st.floats(1, 2000), st.floats(1, 2000)),
        max_size=5,
    )
)
@settings(max_examples=15, deadline=None)
def test_no_corner_moves(form: str, tmp_path_factory: pytest.TempPathFactory, corners: list[tuple]) -> None:
    boxes = np.array([(x, y, x + w, y + h) for x, y, w, h in corners], dtype=np.float32).reshape(-1, 4)
    images = pd.DataFrame({"image_id": [1], "file_name": "a.jpg", "width": 6007, "height": 6001, "subset": "train"})
    table = pd.DataFrame(boxes, columns=XYXY).assign(image_id=1, label=0, area=1.0, crowd=False, difficult=False)
    data = Index("x", Path("."), ("a",), (1,), images, table.assign(box_id=range(len(table))), {})
    out = tmp_path_factory.mktemp("tool")
    WRITERS[form].write(choose(data, None, None, None), out)
    reader, name = READERS[form]
    found = np.array([box.corners for box in reader(out / name)[0].boxes], dtype=np.float32).reshape(-1, 4)
    np.testing.assert_array_equal(found, boxes)


def test_what_cannot_be_written_is_said(made: Index, tmp_path: Path) -> None:
    facts = json.loads((tmp_path / "index/data.json").read_text())
    (tmp_path / "index/data.json").write_text(json.dumps(facts | {"classes": ["labeled", "b"]}))
    with pytest.raises(SystemExit, match="a class is called `labeled`"):
        export(tmp_path, "cvat")
    (tmp_path / "index/data.json").write_text(json.dumps(facts | {"classes": ["\x07", "b"]}))
    for form in READERS:
        with pytest.raises(SystemExit, match="cannot be written as XML; rename it"):
            export(tmp_path, form)
    with pytest.raises(SystemExit, match="name what to write with --index or --review"):
        main(["--format", "cvat", "--out", str(tmp_path / "x")])
    with pytest.raises(SystemExit, match=r"--review .*: was not written by python -m scantling\.review"):
        main(["--review", str(tmp_path), "--format", "cvat", "--out", str(tmp_path / "x")])
    with pytest.raises(SystemExit, match="has no mark for proposed boxes"):
        main(["--review", str(tmp_path), "--format", "yolo", "--out", str(tmp_path / "x")])
    assert not (tmp_path / "x").exists() and index.load(tmp_path / "index", truth=True).name == "small"
