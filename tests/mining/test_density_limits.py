"""As many pseudo boxes of a class an image as people drew."""

import pandas as pd
import pytest
import torch

from scantling.mining.density_limits import thresholds

DEFAULT = torch.tensor([0.7, 0.7, 0.7])
WIDE = (0.0, 1.0)


def split(labels: list[list[int]], unlabeled: int) -> pd.DataFrame:
    """Labeled images with boxes of these classes, then unlabeled ones."""
    rows = [
        {"image_id": i, "labeled": True, "box_id": -1 if c < 0 else 10 * i + k, "label": c}
        for i, own in enumerate(labels)
        for k, c in enumerate(own or [-1])
    ]
    rows += [{"image_id": 1000 + i, "labeled": False, "box_id": -1, "label": -1} for i in range(unlabeled)]
    return pd.DataFrame(rows)


def found(scores: dict[int, list[float]]) -> pd.DataFrame:
    rows = [{"label": c, "score": s} for c, own in scores.items() for s in own]
    return pd.DataFrame(rows, columns=["label", "score"])


def test_as_many_as_the_labeled_images_have() -> None:
    """Two labeled images with 3 and 1 boxes of class 0, one of class 1: 4 images need 8 and 2."""
    known = split([[0, 0, 0, 1], [0]], 4)
    table = found({0: [k / 20 for k in range(20)], 1: [0.9, 0.8, 0.3], 2: [0.99]})
    limits = thresholds(table, known, 3, default=DEFAULT, limits=WIDE)
    above = [int((table["score"][table["label"] == c] > float(limits[c])).sum()) for c in range(3)]
    assert above[:2] == [8, 2]
    assert limits[2] == DEFAULT[2], "no label is of this class"


def test_too_few_are_all_taken_down_to_the_limit() -> None:
    known = split([[0, 0]], 3)
    assert thresholds(found({0: [0.9, 0.5]}), known, 3, default=DEFAULT, limits=(0.3, 0.9))[0] == pytest.approx(0.3)
    assert thresholds(found({}), known, 3, default=DEFAULT, limits=(0.3, 0.9))[0] == pytest.approx(0.3)
    many = found({0: [0.99] * 50})
    assert thresholds(many, known, 3, default=DEFAULT, limits=(0.3, 0.9))[0] == pytest.approx(0.9)


@pytest.mark.parametrize("known", [split([], 3), split([[0]], 0), split([[]], 3)])
def test_nothing_to_count_leaves_the_default(known: pd.DataFrame) -> None:
    assert torch.equal(thresholds(found({0: [0.9]}), known, 3, default=DEFAULT, limits=WIDE), DEFAULT)
