"""CVAT's XML: what a person drew is read, what the file may not hold is refused in a sentence."""

from __future__ import annotations

import zipfile
from pathlib import Path

import pytest

from scantling.data import cvat
from scantling.data.drawn import Box
from scantling.stage import BadInput

HEAD = '<?xml version="1.0" encoding="utf-8"?>\n<annotations><meta><task><name>x</name></task></meta>'


def write(folder: Path, images: str, head: str = HEAD, tail: str = "</annotations>") -> Path:
    file = folder / "annotations.xml"
    file.write_text(head + images + tail, encoding="utf-8")
    return file


def image(*shapes: str) -> str:
    return f'<image id="0" name="deep/a &amp; b.jpg" width="40" height="30">{"".join(shapes)}</image>'


def box(more: str = "", inner: str = "", corners: tuple[float, ...] = (1, 2.5, 10, 20)) -> str:
    sides = " ".join(f'{k}="{v}"' for k, v in zip(("xtl", "ytl", "xbr", "ybr"), corners, strict=True))
    return f'<box label="cat" {sides} {more}>{inner}</box>'


PROPOSED = '<attribute name="proposed">true</attribute>'


def test_boxes_tags_and_marks(tmp_path: Path) -> None:
    shapes = (
        box('source="manual"'),
        box('source="auto"', PROPOSED),
        box('source="semi-auto"', PROPOSED),  # a person moved it
        box('source="auto"', '<attribute name="score">0.8</attribute><attribute name="proposed">false</attribute>'),
    )
    images = cvat.read(
        write(tmp_path, image(*shapes) + image('<tag label="labeled"/>') + image('<tag label="other"/>'))
    )
    assert [(i.name, i.width, i.height, i.labeled) for i in images] == [
        ("deep/a & b.jpg", 40, 30, False), ("deep/a & b.jpg", 40, 30, True), ("deep/a & b.jpg", 40, 30, False)
    ]  # fmt: skip
    assert images[0].boxes[0] == Box("cat", (1, 2.5, 10, 20))
    assert [b.proposed for b in images[0].boxes] == [False, True, False, False]
    assert [i.counts() for i in images] == [True, True, False]


def test_a_turned_box_and_outlines_become_what_surrounds_them(tmp_path: Path) -> None:
    shapes = (
        box('rotation="90"', corners=(10, 10, 20, 14)),
        '<polygon label="dog" points="1.0,2.0;5.5,0.5;3.0,9.0"/>',
        '<polyline label="dog" points="1,2;3,4"/>',
    )
    turned, polygon, line = cvat.read(write(tmp_path, image(*shapes)))[0].boxes
    assert turned.corners == pytest.approx((13, 7, 17, 17))
    assert (polygon.name, polygon.corners, line.corners) == ("dog", (1, 0.5, 5.5, 9), (1, 2, 3, 4))


def test_the_zip_file_of_cvat(tmp_path: Path) -> None:
    write(tmp_path, image(box()))
    packed = tmp_path / "task.zip"
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as to:
        to.write(tmp_path / "annotations.xml", "annotations.xml")
    assert len(cvat.read(packed)[0].boxes) == 1
    with zipfile.ZipFile(packed, "w") as to:
        to.writestr("labels.txt", "x")
    with pytest.raises(BadInput, match=r"task\.zip: holds 0 files annotations\.xml"):
        cvat.read(packed)
    packed.write_bytes(packed.read_bytes()[:-30])
    with pytest.raises(BadInput, match=r"task\.zip"):
        cvat.read(packed)


LAUGHS = '<!DOCTYPE a [<!ENTITY b "bbbb"><!ENTITY c "&b;&b;&b;">]>'


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "not readable as XML"),
        (HEAD + image(), "not readable as XML"),
        (LAUGHS + "<annotations>&c;</annotations>", "document type or entities"),
        ('<!DOCTYPE a SYSTEM "file:///etc/passwd"><annotations/>', "document type or entities"),
        (" " * (cvat.PIECE_BYTES - 5) + LAUGHS + "<annotations/>", "document type or entities"),
        ("<annotation/>", r"starts with <annotation>; export the task"),
        ("<annotations/>", "holds no <image>"),
        ("<annotations><b><image><box label='a'/></image></b></annotations>", "an image lies within <b>"),
        ("<annotations>" + "<a>" * 40, "nested more than 32 deep"),
        ("<annotations><track id='0'/></annotations>", "tracks of a video"),
        ("<annotations><image name='' width='1' height='1'/></annotations>", "image 0 has no name"),
        ("<annotations><image name='a' width='x' height='1'/></annotations>", "`width` of image 'a' is 'x', no number"),
        (HEAD + image(box(corners=("1", "nan", "2", "3"))) + "</annotations>", "`ytl` of image .* is 'nan', no number"),
        (HEAD + image('<polygon label="a" points="1,2;3"/>') + "</annotations>", "no pairs of numbers"),
        (HEAD + image('<ellipse label="a"/>') + "</annotations>", "shape of kind ellipse; only boxes are read"),
        (HEAD + image('<box label="cat"/>') + "</annotations>", "`xtl` of image .* is 'None', no number"),
    ],
)  # fmt: skip
def test_what_cannot_be_read_is_said(tmp_path: Path, text: str, message: str) -> None:
    file = tmp_path / "annotations.xml"
    file.write_text(text)
    with pytest.raises(BadInput, match=message) as error:
        cvat.read(file)
    assert str(file) in str(error.value)


def test_entities_in_another_encoding_are_refused(tmp_path: Path) -> None:
    file = tmp_path / "annotations.xml"
    file.write_bytes((LAUGHS + "<annotations>&c;</annotations>").encode("utf-16"))
    with pytest.raises(BadInput, match="document type or entities"):
        cvat.read(file)
