"""The picture of a recipe's views, as a user asks for it."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image

from scantling.augment import __main__ as command
from scantling.augment import sheet
from scantling.data import index as tables
from tests import toy

RECIPE = f"{toy.ROOT}/params/training/bccd.yaml:views"


def prepared(folder: Path, *, boxes: bool = True) -> Path:
    """An index as the prepare stage writes it: four images with boxes and four without."""
    images, split = toy.tables(folder)
    rows = split[(split["box_id"] >= 0) & boxes].assign(area=1.0, crowd=False, difficult=False)
    images = images.assign(subset="train", bytes=0, mtime_ns=0)
    (folder / "index").mkdir()
    facts = {"source": "toy"}
    rows = rows if len(rows) else pd.DataFrame([])
    tables.save(tables.Index("toy", folder, ("square", "bar"), (1, 2), images, rows, facts), folder / "index")
    return folder / "index"


def test_a_picture_of_the_views(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    index, out = prepared(tmp_path), tmp_path / "new" / "views.png"
    command.main(["--index", str(index), "--views", RECIPE, "--out", str(out)])
    assert "views.png: " in capsys.readouterr().out and [p.name for p in out.parent.iterdir()] == ["views.png"]
    with Image.open(out) as picture:
        pixels = np.asarray(picture.convert("RGB")).reshape(-1, 3)
    for label in (0, 1):  # boxes of both classes are drawn
        color = [int(sheet.COLORS[label][k : k + 2], 16) for k in (1, 3, 5)]
        assert (pixels == color).all(1).sum() > 500
    other = tmp_path / "again.png"
    command.main(["--index", str(index), "--views", RECIPE, "--out", str(other)])
    assert other.read_bytes() == out.read_bytes()
    command.main(["--index", str(index), "--views", RECIPE, "--seed", "1", "--out", str(other)])
    assert other.read_bytes() != out.read_bytes()


def test_boxes_are_drawn_where_the_objects_are(tmp_path: Path) -> None:
    index = tables.load(prepared(tmp_path), truth=True)
    image_id = int(index.images["image_id"].iloc[0])
    boxes, labels = sheet._truth(index, image_id)
    white = np.full((64, 80, 3), 255, np.uint8)
    cell = sheet._cell(torch.from_numpy(white).permute(2, 0, 1), boxes[:1], labels[:1])
    seen = np.asarray(cell)
    ys, xs = (seen != 255).any(2).nonzero()
    found = np.array([xs.min(), ys.min(), xs.max() + 1, ys.max() + 1]) / (seen.shape[0] / 64)
    assert np.abs(found - boxes[0].numpy()).max() < 0.5


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"--index": "nowhere"}, "no boxes.parquet in it"),
        ({"--views": "params/training/bccd.yaml:view"}, "has no section `view`"),
        ({"--images": "0"}, "must be at least 1"),
        ({"--out": "views.txt"}, "a picture ends in .png"),
    ],
)
def test_bad_input_is_one_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, changed: dict[str, str], said: str
) -> None:
    monkeypatch.chdir(toy.ROOT)
    given = {"--index": str(prepared(tmp_path)), "--views": RECIPE, "--out": str(tmp_path / "v.png")} | changed
    with pytest.raises(SystemExit, match=said) as ended:
        command.main([word for pair in given.items() for word in pair])
    assert "\n" not in str(ended.value)


def test_images_without_boxes_are_refused(tmp_path: Path) -> None:
    with pytest.raises(SystemExit, match="no image has a box"):
        command.main(
            ["--index", str(prepared(tmp_path, boxes=False)), "--views", RECIPE, "--out", str(tmp_path / "v.png")]
        )
