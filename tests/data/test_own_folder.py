"""What a person's own folder holds: few labels and no split, spaces in names, several sizes, turned, see-through and
upper-case files. The stage reads it, and training sees the same pixels that the boxes were drawn on."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest
import torch
from PIL import Image

from scantling.data import formats, index, source
from scantling.data.check import inspect
from scantling.data.formats import DataParams
from scantling.data.images import decode
from scantling.data.problems import Findings

ROWS = """file_name,class,x1,y1,x2,y2
UPPER.JPG,ace of spades,1,2,11,12
large.Png,ace of spades,0,0,200,100
turned.jpeg,jack ♠,2,3,20,38
see through.PNG,jack ♠,5,5,30,20
TIFF.TIF,ace of spades,1,1,9,9
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    root = tmp_path / "my images"
    (root / "more of them").mkdir(parents=True)
    Image.new("RGB", (40, 30), "red").save(root / "UPPER.JPG")
    Image.new("RGB", (300, 100), "green").save(root / "large.Png")
    exif = Image.Exif()
    exif[0x0112] = 6  # 40 x 30 stored, 30 x 40 seen
    Image.new("RGB", (40, 30), "blue").save(root / "turned.jpeg", exif=exif)
    Image.new("RGBA", (40, 30), (250, 10, 20, 0)).save(root / "see through.PNG")
    Image.new("L", (40, 30), 7).save(root / "TIFF.TIF")
    Image.new("P", (40, 30)).save(root / "more of them" / "palette.GIF")
    (root / "boxes.csv").write_text(ROWS, encoding="utf-8")
    return root


def prepared(root: Path, params: str = "") -> index.Index:
    file = root / "own.yaml"
    file.write_text(f"format: folder\nroot: {root}\nboxes: boxes.csv\n{params}")
    loaded = DataParams.load(file)
    found = Findings(loaded.problems)
    made = inspect(formats.read(loaded, found), loaded, found)
    found.refuse(loaded.name)
    return made


def test_all_of_it_is_read(folder: Path) -> None:
    made = prepared(folder, "val_share: 0\ntest_share: 0\n")
    sizes = {row.file_name: (row.width, row.height, row.subset) for row in made.images.itertuples()}
    assert sizes == {
        "UPPER.JPG": (40, 30, "train"), "large.Png": (300, 100, "train"), "turned.jpeg": (30, 40, "train"),
        "see through.PNG": (40, 30, "train"), "TIFF.TIF": (40, 30, "train"),
        "more of them/palette.GIF": (40, 30, "unlabeled"),
    }  # fmt: skip
    assert made.classes == ("ace of spades", "jack ♠") and made.boxes is not None
    assert made.boxes["y2"].max() == 100 and 38 in made.boxes["y2"].tolist()  # inside the turned picture, not clipped
    for name, (width, height, _) in sizes.items():
        assert decode(folder / name).shape == (3, height, width)
    assert torch.equal(decode(folder / "see through.PNG")[:, 0, 0], torch.tensor([250, 10, 20], dtype=torch.uint8))


def test_few_labels_without_a_split_reach_every_subset(folder: Path) -> None:
    made = prepared(folder)  # the shares of params/data/own_data.yaml are these defaults
    counts = made.images["subset"].value_counts()
    assert counts["test"] >= 1 and counts["val"] >= 1 and counts["train"] >= 1 and counts["unlabeled"] == 1


@pytest.mark.parametrize("count", [1, 2, 3, 4, 10])
def test_each_share_gets_an_image_as_soon_as_there_are_three(count: int) -> None:
    for start in range(40):
        names = [f"{start + i}.jpg" for i in range(count)]
        images = pd.DataFrame({"file_name": [*names, "z.jpg"], "subset": ["train"] * count + ["unlabeled"]})
        kept = source.divide(images, 0.15, 0.15)["subset"].value_counts()
        assert kept.sum() == count + 1 and kept["unlabeled"] == 1
        if count >= 3:
            assert min(kept["train"], kept["val"], kept["test"]) >= 1
        none = source.divide(images, 0.0, 0.0)["subset"]
        assert none.tolist() == images["subset"].tolist()
    most = source.divide(images, 0.0, 0.9)["subset"].value_counts()
    assert count < 3 or most["train"] >= 1
