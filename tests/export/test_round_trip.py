"""What is written is read back: by our own readers, by globox and by pycocotools, from real files."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

import globox
import numpy as np
import pandas as pd
import pytest
from pycocotools.coco import COCO

from scantling.data.index import XYXY
from scantling.export.__main__ import main
from tests.export.made import imported, prepare, rows, small

FORMS = {"coco": (), "yolo": (), "voc": ("--decimals",)}
EXACT_PX = {"coco": 0.0, "yolo": 2e-5, "voc": 5e-5}  # YOLO: nine digits of a fraction; both: float32


@pytest.fixture(scope="module", params=["bccd", "coco_mini"])
def real(request: pytest.FixtureRequest, shared_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The index of a real data set; its exports lie beside it."""
    folder = tmp_path_factory.mktemp(request.param)
    prepare(Path(f"params/data/{request.param}.yaml"), folder / "index", root=str(shared_data / request.param))
    for form, more in FORMS.items():
        main(["--index", str(folder / "index"), "--format", form, "--out", str(folder / form), *more])
    return folder / "index"


def truth(folder: Path, form: str) -> pd.DataFrame:
    """What a form can hold of an index."""
    from scantling.data import index

    found = rows(index.load(folder, truth=True))
    return found if form == "coco" else found[~found.crowd].reset_index(drop=True)


@pytest.mark.parametrize("form", FORMS)
def test_our_own_readers_give_the_same_boxes(real: Path, form: str) -> None:
    again, expected = rows(imported(real.parent / form)), truth(real, form)
    # boxes that differ by less than the resolution may change places: order them again by rounded corners
    for found in (again, expected):
        keys = found[XYXY].round(1).assign(file=found.file, cls=found["class"])
        found["place"] = keys.groupby(["file", "cls", *XYXY]).cumcount()
    pd.testing.assert_frame_equal(again.drop(columns=XYXY), expected.drop(columns=XYXY))
    assert np.abs(again[XYXY].to_numpy() - expected[XYXY].to_numpy()).max() <= EXACT_PX[form]


def test_coco_keeps_ids_areas_and_flags(real: Path) -> None:
    from scantling.data import index

    before, again = index.load(real, truth=True), imported(real.parent / "coco")
    assert (again.classes, again.category_ids) == (before.classes, before.category_ids)
    columns = ["image_id", "subset", "width", "height"]
    pd.testing.assert_frame_equal(again.images[columns], before.images[columns])
    pd.testing.assert_frame_equal(again.boxes, before.boxes)


def test_coco_files_say_what_the_published_ones_say(shared_data: Path, real: Path) -> None:
    name = real.parent.name.rstrip("0123456789")
    for subset, file in (("train", "train"), ("test", "test")):
        published = shared_data / name / f"annotations/instances_{file}.json"
        if name == "coco_mini":
            published = shared_data / name / f"annotations/instances_{'train' if subset == 'train' else 'val'}2017.json"
        theirs = json.loads(published.read_text())["annotations"]
        ours = COCO(str(real.parent / f"coco/annotations/instances_{subset}.json"))
        assert set(ours.getAnnIds()) == {a["id"] for a in theirs}
        for entry in theirs:
            again = ours.anns[entry["id"]]
            assert (again["image_id"], again["category_id"], again["iscrowd"]) == (
                entry["image_id"], entry["category_id"], entry["iscrowd"]
            )  # fmt: skip
            # boxes are float32 in the index, and clipped to the image
            assert again["bbox"] == pytest.approx(entry["bbox"], abs=0.011)


def boxes_of(found: globox.AnnotationSet) -> Counter:
    """(image, class, corners to a hundredth of a pixel) of what globox read."""
    return Counter(
        (str(ann.image_id), box.label, *(round(v, 2) + 0.0 for v in box.ltrb)) for ann in found for box in ann.boxes
    )


def near(theirs: Counter, expected: pd.DataFrame, tolerance: float) -> None:
    """The same boxes, image by image and class by class."""
    listed = pd.DataFrame(list(theirs.elements()), columns=["file", "class", *XYXY]).sort_values(
        ["file", "class", *XYXY]
    )
    wanted = expected.sort_values(["file", "class", *XYXY])
    assert listed[["file", "class"]].to_numpy().tolist() == wanted[["file", "class"]].to_numpy().tolist()
    assert np.abs(listed[XYXY].to_numpy() - wanted[XYXY].to_numpy()).max() <= tolerance


@pytest.mark.parametrize("subset", ["train", "test"])
@pytest.mark.parametrize("form", FORMS)
def test_globox_gives_the_same_boxes(real: Path, form: str, subset: str) -> None:
    folder, expected = real.parent / form, truth(real, form)
    expected = expected[expected.subset == subset].copy()
    if form == "coco":
        found = globox.AnnotationSet.from_coco(folder / f"annotations/instances_{subset}.json")
        assert set(found.image_ids) >= set(expected.file)
    elif form == "yolo":
        names = list(imported(folder).classes)
        found = globox.AnnotationSet.from_yolo_darknet(
            folder / f"labels/{subset}", image_folder=folder / f"images/{subset}"
        ).map_labels({str(i): name for i, name in enumerate(names)})
    else:
        found = globox.AnnotationSet.from_pascal_voc(folder / "Annotations")
        mine = set((folder / f"ImageSets/Main/{subset}.txt").read_text().split())
        found = found.filter(lambda ann: ann.image_id.rpartition(".")[0] in mine)
        expected[["x1", "y1"]] += 1  # globox takes the numbers of VOC as they are
    near(boxes_of(found), expected.round({c: 2 for c in XYXY}), 0.0101)


def test_whole_pixels_of_voc_are_at_most_half_a_pixel_off(real: Path, tmp_path: Path) -> None:
    main(["--index", str(real), "--format", "voc", "--out", str(tmp_path / "voc"), "--images", "link"])
    again, expected = imported(tmp_path / "voc"), truth(real, "voc")
    assert (
        again.boxes is not None
        and again.boxes[XYXY].to_numpy().tolist() == np.rint(again.boxes[XYXY]).to_numpy().tolist()
    )
    assert len(again.boxes) > 0.99 * len(expected)  # two that become the same are one
    there = _corners(rows(again))
    for key, part in _corners(expected).items():
        nearest = np.abs(part[:, None] - there[key][None]).max(2).min(1)
        sides = (part[:, 2:] - part[:, :2]).min(1)
        assert (nearest[sides >= 1] <= 0.501).all() and (nearest < 1.001).all()


def _corners(found: pd.DataFrame) -> dict[object, np.ndarray]:
    """(file, class) -> (N, 4) corners."""
    corners = found[XYXY].to_numpy()
    return {key: corners[at] for key, at in found.groupby(["file", "class"]).indices.items()}


def test_flags_and_the_unlabeled_survive_where_there_is_a_place_for_them(tmp_path: Path) -> None:
    before = small(tmp_path)
    for form, flags in (("coco", {"crowd", "difficult"}), ("voc", {"difficult"}), ("yolo", set())):
        main(["--index", str(tmp_path / "index"), "--format", form, "--out", str(tmp_path / form), *FORMS[form]])
        again = imported(tmp_path / form)
        assert again.images.subset.value_counts().to_dict() == {"train": 4, "val": 1, "unlabeled": 1}
        assert again.boxes is not None and before.boxes is not None
        for flag in ("crowd", "difficult"):
            assert again.boxes[flag].sum() == (1 if flag in flags else 0), (form, flag)
        assert len(again.boxes) == len(before.boxes) - (2 - len(flags))
        assert again.classes == ("a/b", "two words")
