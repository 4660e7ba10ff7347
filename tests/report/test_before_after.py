import numpy as np
import pandas as pd
import pytest
from PIL import Image

from scantling.data.index import BOX_COLUMNS, XYXY, table
from scantling.evaluate.truth import Truth
from scantling.report import before_after


def key_of(made, method):
    return next(key for key, run in made.study.runs.items() if run.method == method)


def test_the_picture_of_a_run(made, tmp_path):
    out = tmp_path / "labels.jpg"
    given = [key_of(made, "soft"), "--results", str(made.results), "--out", str(out)]
    before_after.main(given)
    first = out.read_bytes()
    with Image.open(out) as picture:
        assert picture.width > 2 * picture.height * 0.9 and max(picture.size) <= 2 * before_after.SIDE_PX + 8
    before_after.main([*given, "--score", "0.9"])
    assert out.read_bytes() != first, "other boxes are drawn"
    assert list(tmp_path.iterdir()) == [out]


@pytest.mark.parametrize(
    ("key", "more", "said"),
    [("nothing", [], "nothing/provenance.json: there is no such file"), (None, ["--image", "999"], "--image 999: ")],
)
def test_what_cannot_be_drawn_is_named(made, tmp_path, key, more, said):
    given = [key or key_of(made, "soft"), "--results", str(made.results), "--out", str(tmp_path / "x.jpg"), *more]
    with pytest.raises(SystemExit, match=said):
        before_after.main(given)


def test_every_box_is_of_one_kind():
    def rows(*boxes):
        corners = pd.DataFrame(boxes, columns=["label", *XYXY])
        return table(
            corners.assign(box_id=range(len(boxes)), image_id=3, area=100, crowd=False, difficult=False), BOX_COLUMNS
        )

    hidden, kept = rows((0, 0, 0, 10, 10), (1, 20, 0, 30, 10), (0, 40, 0, 50, 10)), rows((0, 60, 0, 70, 10))
    truth = Truth(np.array([3]), hidden, kept, rows(), rows(), np.array([]), pd.DataFrame({"image_id": []}))
    labels = rows((0, 0, 0, 10, 9), (0, 20, 0, 30, 10), (0, 1, 0, 10, 10), (0, 60, 0, 70, 10))
    labels = labels.assign(score=[0.9, 0.8, 0.7, 0.6])
    found = before_after.kinds(truth, 3, labels, rows((0, 80, 0, 90, 10)).assign(score=0.2))
    left = {kind: sorted(boxes[:, 0].tolist()) for kind, boxes in found.items()}
    # the third repeats the first, the fourth the kept box: that is no news
    assert left == {"ignored": [80], "missed": [20, 40], "wrong": [1, 20], "right": [0], "kept": [60]}
