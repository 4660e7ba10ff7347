"""params/review.yaml: complete, every value commented, what contradicts itself refused."""

import re
from pathlib import Path

import pytest

from scantling.params import ParamsError
from scantling.review.params import ReviewParams
from tests import toy

FILE = toy.ROOT / "params/review.yaml"


def test_the_committed_file_is_complete_and_commented() -> None:
    assert set(ReviewParams.load(FILE).resolved()) == set(ReviewParams.model_fields)
    lines = FILE.read_text().splitlines()
    for above, line in zip(lines, lines[1:], strict=False):
        assert line.startswith("#") or not line or "#" in line or above.startswith("#"), line


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("apart_iou: 0.6", "apart_iou 0.6 is above match_iou 0.5; exchange them"),
        ("found_score: 0.8", "found_score 0.8 is above score_threshold 0.7; lower it"),
        ("images: 0", "`images` = 0"),
    ],
)
def test_values_that_cannot_be(tmp_path: Path, change: str, message: str) -> None:
    name = change.partition(":")[0]
    file = tmp_path / "review.yaml"
    file.write_text(re.sub(rf"^{name}: [\d.]+", change, FILE.read_text(), flags=re.M))
    with pytest.raises(ParamsError, match=message):
        ReviewParams.load(file)
