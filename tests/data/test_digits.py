"""The embedded data set: same bytes for a seed, and knobs that do what they say."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torchvision.ops import box_iou

from scantling.data import digits, formats
from scantling.data.check import check
from scantling.data.formats import DataParams
from scantling.data.problems import Findings
from scantling.params import ParamsError
from scantling.stage import digest

SHIPPED = digits.DigitsParams.load("params/generate/digits.yaml")
FEW = {"scenes": {"train": 6, "val": 2, "test": 2}}


def changed(**values: Any) -> digits.DigitsParams:
    return SHIPPED.model_copy(update=FEW | values)


@pytest.fixture(scope="module")
def stock() -> digits.Material:
    return digits.material("train", 0)


def contents(folder: Path) -> dict[str, bytes]:
    found = {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    assert len(found) > 10
    return found


def test_the_same_seed_gives_the_same_bytes(tmp_path: Path) -> None:
    for folder in ("a", "b"):
        digits.write(changed(), tmp_path / folder)
    assert contents(tmp_path / "a") == contents(tmp_path / "b")
    digits.write(changed(seed=1), tmp_path / "c")
    assert contents(tmp_path / "a") != contents(tmp_path / "c")


def test_a_scene_does_not_depend_on_the_others(tmp_path: Path) -> None:
    digits.write(changed(), tmp_path / "few")
    digits.write(changed(scenes={"train": 8, "val": 1, "test": 2}), tmp_path / "more")
    for name in ("train_00000.jpg", "train_00005.jpg", "test_00001.jpg"):
        assert digest(tmp_path / "few/images" / name) == digest(tmp_path / "more/images" / name)


def test_drawn_digits_are_disjoint_and_complete() -> None:
    stocks = [digits.material(subset, 3) for subset in digits.SUBSETS]
    assert sum(len(s.ink[d]) for s in stocks for d in range(10)) == 1797
    # scikit-learn's set repeats no drawing, so equal pixels would be the same drawing
    seen = [{drawing.tobytes() for drawing in s.ink[3]} for s in stocks]
    assert not (seen[0] & seen[1] or seen[0] & seen[2] or seen[1] & seen[2])


@pytest.mark.parametrize("image_px", [96, 200])
def test_size_count_and_overlap_stay_within_their_ranges(stock: digits.Material, image_px: int) -> None:
    params = changed(image_px=image_px, digit_px=(10, 24), digits_per_scene=(2, 9), max_overlap_iou=0.05)
    for number in range(12):
        pixels, labels, boxes = digits.scene(params, stock, "train", number)
        assert pixels.shape == (image_px, image_px, 3) and pixels.dtype == np.uint8
        assert 1 <= len(labels) == len(boxes) <= 9
        assert boxes.min() >= 0 and boxes.max() <= image_px
        longer = (boxes[:, 2:] - boxes[:, :2]).max(1)
        assert longer.min() >= 10 and longer.max() <= 24
        overlap = box_iou(torch.from_numpy(boxes), torch.from_numpy(boxes)).fill_diagonal_(0)
        assert overlap.max() <= 0.05


def test_imbalance_is_the_ratio_of_the_first_to_the_last_class(stock: digits.Material) -> None:
    def ratio(imbalance: float) -> float:
        params = changed(classes=(4, 0, 9), imbalance=imbalance, image_px=64, digit_px=(8, 10), clutter=(0, 0))
        seen = Counter(label for n in range(60) for label in digits.scene(params, stock, "train", n)[1])
        return seen[0] / seen[2]

    assert 0.6 < ratio(1) < 1.7
    assert 6 < ratio(12) < 24


def test_boxes_fit_their_ink(stock: digits.Material) -> None:
    plain = changed(clutter=(0, 0), noise=0, contrast=(0.5, 0.5), blur_px=0, digits_per_scene=(1, 1))
    for number in range(8):
        drawn, labels, boxes = digits.scene(plain, stock, "train", number)
        # the background is drawn first: without digits, the same scene is its background
        bare, _, _ = digits.scene(plain.model_copy(update={"digits_per_scene": (0, 0)}), stock, "train", number)
        rows, columns = np.nonzero(np.abs(drawn.astype(int) - bare).max(2) > 12)
        found = [columns.min(), rows.min(), columns.max() + 1, rows.max() + 1]
        assert len(labels) == 1
        assert np.abs(boxes[0] - found).max() <= 3


def test_the_unlabeled_share_has_images_and_no_boxes(tmp_path: Path) -> None:
    digits.write(changed(unlabeled_share=0.5), tmp_path)
    read = {f.stem: json.loads(f.read_text()) for f in (tmp_path / "annotations").iterdir()}
    assert {name: len(c["images"]) for name, c in read.items()} == {
        "instances_train": 3,
        "instances_val": 2,
        "instances_test": 2,
        "images_unlabeled": 3,
    }
    assert read["images_unlabeled"]["annotations"] == []


def test_what_is_written_passes_the_check(tmp_path: Path) -> None:
    digits.write(changed(unlabeled_share=0.5), tmp_path)
    params = DataParams.load("params/data/digits.yaml").model_copy(update={"root": str(tmp_path)})
    found = Findings(params.problems)
    index = check(formats.read(params, found), params, found)
    assert index.classes == ("zero", "one", "two", "three")
    assert index.images.subset.value_counts().to_dict() == {"train": 3, "unlabeled": 3, "val": 2, "test": 2}
    assert {p.kind for p in found} <= {"class_without_boxes"}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("digit_px: [4, 20]", r"digits\.yaml: .*`digit_px` = \[4, 20\] must lie within 8 and half of `image_px`"),
        ("clutter: [3, 1]", r"`clutter` = \[3, 1\] must be two ascending numbers"),
        ("classes: [1, 1]", r"`classes` = \[1, 1\] must be different digits 0 to 9"),
        ("scenes: {train: 3, val: 2}", r"`scenes` must give a number from 1 on for each of train, val, test"),
        ("imbalance: 0.5", r"`imbalance` = 0.5: input should be greater than or equal to 1"),
        ("image_pix: 100", r"unknown parameter `image_pix`; did you mean `image_px`"),
    ],
)
def test_values_out_of_range_are_refused(tmp_path: Path, text: str, message: str) -> None:
    file = tmp_path / "digits.yaml"
    key = text.partition(":")[0]
    kept = [f"{k}: {json.dumps(v)}" for k, v in SHIPPED.resolved().items() if k != key]
    file.write_text("\n".join([*kept, text]) + "\n")
    with pytest.raises(ParamsError, match=message):
        digits.DigitsParams.load(file)
