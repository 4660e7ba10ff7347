import re
from pathlib import Path

import pytest

from scantling.evaluate.params import EvaluateParams
from scantling.params import ParamsError, check, read

FILE = Path(__file__).parents[2] / "params" / "evaluate.yaml"


def test_the_shipped_file_is_valid():
    params = EvaluateParams.load(FILE)
    assert params.limit == 100  # more do not count in COCO's evaluation
    assert params.label_quality.headline_threshold in params.label_quality.thresholds


def test_metrics_are_named():
    content = read(FILE)
    assert check(EvaluateParams, content | {"metrics": ["coco", "voc"]}, FILE).metrics == ("coco", "voc")
    with pytest.raises(ParamsError, match="input should be 'coco', 'voc', 'lvis' or 'auto'"):
        check(EvaluateParams, content | {"metrics": ["coko"]}, FILE)
    with pytest.raises(ParamsError, match="`metrics` = 'voc'"):
        check(EvaluateParams, content | {"metrics": "voc"}, FILE)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"thresholds": [0.5, 0.5, 0.7]}, "each once, in ascending order"),
        ({"thresholds": []}, "at least one score"),
        ({"thresholds": [0.5, 1.5]}, "less than or equal to 1"),
        ({"headline_threshold": 0.71}, "headline_threshold 0.71 is not one of the thresholds; add it there"),
        ({"iou_treshold": 0.5}, "unknown parameter `label_quality.iou_treshold`; did you mean `iou_threshold`"),
    ],
)
def test_refusals(change, says):
    content = read(FILE)
    content["label_quality"] |= change
    with pytest.raises(ParamsError, match=re.escape(says)):
        check(EvaluateParams, content, FILE)
