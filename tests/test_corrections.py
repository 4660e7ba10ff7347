"""From a review to a tool and back: what nobody touched stays, what a person did wins in polish and retrain."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from scantling.augment.views import ViewParams
from scantling.corrections import main
from scantling.data import corrections
from scantling.data import index as indexes
from scantling.data.index import XYXY
from scantling.data.loader import Pool
from scantling.export.__main__ import main as export
from scantling.methods import MethodParams
from scantling.review.__main__ import main as review
from scantling.stage import BadInput
from stages.polish import polish
from tests import toy
from tests.review import made

FILES = {"cvat": "annotations.xml", "label_studio": "tasks.json", "coco": "annotations/instances_review.json"}
INDEX = ["--index", "results/prepare/mine"]
SHOWN = f"results/review/{made.KEY}"


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A review of five images, exported for every tool."""
    folder = tmp_path_factory.mktemp("corrections")
    made.run(folder)
    made.table_of(folder / "found.parquet", folder)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        run = ["--run", f"results/retrain/{made.KEY}", "--detections", "found.parquet"]
        review([*run, "--params", str(toy.ROOT / "params/review.yaml")])
        for form in FILES:
            export(["--review", SHOWN, "--format", form, "--out", f"exported/{form}", "--images", "none"])
    return folder


@pytest.fixture(autouse=True)
def _here(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(project)


def back(form: str, edit: Callable[[str], str] = str, *more: str) -> pd.DataFrame:
    """The corrections that come from an export, edited."""
    Path("edited").write_text(edit(Path("exported", form, FILES[form]).read_text()))
    main(["edited", "--out", "mine.json", *INDEX, *more])
    return corrections.load(Path("mine.json"), indexes.load(Path("results/prepare/mine"), truth=False))


def labels(*images: int) -> pd.DataFrame:
    split = pd.read_parquet("results/split/mine-full-f1/split.parquet")
    kept = split[(split["box_id"] >= 0) & split["image_id"].isin(images)]
    return ordered(kept)


def ordered(table: pd.DataFrame) -> pd.DataFrame:
    columns = ["image_id", "label", *XYXY]
    return table[columns].sort_values(columns, ignore_index=True).astype("float64")


@pytest.mark.parametrize("form", FILES)
def test_unchanged_it_is_the_labels(form: str) -> None:
    found = back(form)
    pd.testing.assert_frame_equal(ordered(found), labels(0, 1, 2), check_exact=True)  # 4 and 5: nobody labeled them
    again = back(form, str, "--exported", str(Path("exported", form, FILES[form])))
    assert again.empty


def accept_in_cvat(text: str) -> str:
    """The mark of the proposed box in image 5 is taken away, one label of image 0 gets another class."""
    head, sep, tail = text.partition('name="5.png"')
    tail = tail.replace('<attribute name="proposed">true', '<attribute name="proposed">false', 1)
    text = head + sep + tail
    head, sep, tail = text.partition('name="0.png"')
    other = made.CLASSES[1].replace("<", "&lt;").replace(">", "&gt;")
    return head + sep + re.sub(r'label="square"(?=[^>]*source="manual")', f'label="{other}"', tail, count=1)


def accept_in_label_studio(text: str) -> str:
    tasks = json.loads(text)
    for task in tasks:
        name = task["data"]["file_name"]
        if name == "images/5.png":
            task["annotations"] = [{"result": task["predictions"][0]["result"], "updated_at": "2024-01-01"}]
        if name == "images/0.png":
            square = next(r for r in task["annotations"][0]["result"] if r["value"]["rectanglelabels"] == ["square"])
            square["value"]["rectanglelabels"] = [made.CLASSES[1]]
    return json.dumps(tasks)


def accept_in_coco(text: str) -> str:
    content = json.loads(text)
    ids = {image["file_name"]: image["id"] for image in content["images"]}
    for entry in content["annotations"]:
        if entry["image_id"] == ids["5.png"]:
            del entry["proposed"]
        elif entry["image_id"] == ids["0.png"] and "proposed" not in entry and entry["category_id"] == 3:
            entry["category_id"] = 17
    return json.dumps(content)


EDITS = {"cvat": accept_in_cvat, "label_studio": accept_in_label_studio, "coco": accept_in_coco}


@pytest.mark.parametrize("form", FILES)
def test_an_edit_wins_in_polish_and_retrain(form: str) -> None:
    found = back(form, EDITS[form], "--exported", str(Path("exported", form, FILES[form])))
    assert sorted(set(found["image_id"])) == [0, 5]
    assert found[found["image_id"] == 0]["label"].tolist() == [1, 1]
    (box,) = found[found["image_id"] == 5].itertuples(index=False)
    assert tuple(box)[1:] == (1, 10, 10, 40, 30)

    paths = {"index": Path("results/prepare/mine"), "split": Path("results/split/mine-full-f1")}
    method = MethodParams.load(toy.ROOT / "params/methods/soft_teacher_cached.yaml")
    Path(form).mkdir()
    pseudo = Path("results/pseudo_label") / made.TEACHER
    views = ViewParams.load(f"{toy.ROOT}/params/training/digits.yaml:views")
    (Path(form) / "teacher.safetensors").touch()  # Soft Teacher trains no networks in polish: nobody looks through it
    inputs = {"teacher": Path(form), "pseudo": pseudo, "corrections": Path("mine.json")}
    polish(**paths, **inputs, method=method, views=views, seed=0, out=Path(form))
    refined = pd.read_parquet(Path(form) / "refined.parquet")
    ours = refined[refined["image_id"].isin([0, 5])]
    assert set(ours["source"]) == {"corrected"} and ours["for_class"].all() and len(ours) == 3
    assert json.loads((Path(form) / "aids.json").read_text())["corrected_images"] == 2

    data = indexes.load(paths["index"], truth=False)
    split = pd.read_parquet(paths["split"] / "split.parquet")
    pool = Pool.of(data.root, data.images, corrections.seen(split, refined), keep_empty=True)  # as retrain makes it
    assert 5 in pool.labeled and 5 not in pool.unlabeled
    boxes, classes = pool.truth(5)
    assert classes.tolist() == [1] and boxes.tolist() == [[10, 10, 40, 30]]


def test_a_deleted_label_leaves_an_empty_image() -> None:
    def without(text: str) -> str:
        content = json.loads(text)
        gone = next(image["id"] for image in content["images"] if image["file_name"] == "1.png")
        content["annotations"] = [a for a in content["annotations"] if a["image_id"] != gone]
        return json.dumps(content)

    found = back("coco", without)
    assert found[found["image_id"] == 1]["label"].tolist() == [-1]


def test_proposed_boxes_that_are_left_can_be_taken_as_accepted() -> None:
    found = back("cvat", str, "--with-proposed")
    assert set(found["image_id"]) == {0, 1, 2, 4, 5} and len(found) == len(labels(0, 1, 2)) + 4
    with pytest.raises(BadInput, match="a machine proposed and nobody accepted"):
        corrections.load(Path("exported/coco", FILES["coco"]), indexes.load(Path("results/prepare/mine"), truth=False))


def test_of_several_files_the_last_wins() -> None:
    back("coco")
    main(["mine.json", "exported/cvat/annotations.xml", "--out", "both.json", *INDEX])
    assert json.loads(Path("both.json").read_text())["images"] == json.loads(Path("mine.json").read_text())["images"]
    Path("later").write_text(accept_in_label_studio(Path("exported/label_studio/tasks.json").read_text()))
    main(["mine.json", "later", "--out", "both.json", *INDEX])
    content = json.loads(Path("both.json").read_text())
    assert len(content["images"]) == 4 and len({image["file_name"] for image in content["images"]}) == 4


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("3", "`images` is not a list of objects"),
        ('{"images": [{"id": 1}], "annotations": [], "categories": []}', "image 1 has no `file_name`"),
        ('{"images": [], "annotations": [{"id": 4, "image_id": 2}], "categories": []}', "annotation 4 has an image_id"),
        ('{"images": [{"id": 1, "file_name": "x.png"}], "annotations": [], "categories": []}', "'x.png' is none of"),
        ("[{", "not valid JSON"),
        ("<annotations/>", "holds no <image>"),
    ],
)  # fmt: skip
def test_what_cannot_be_used_is_said(content: str, message: str, tmp_path: Path) -> None:
    file, out = tmp_path / "given", tmp_path / "out.json"
    file.write_text(content)
    with pytest.raises(SystemExit) as stopped:
        main([str(file), "--out", str(out), *INDEX])
    assert str(stopped.value).startswith(f"corrections: {file}: ") and message in str(stopped.value)
    assert not list(tmp_path.glob("*.json")) and not list(tmp_path.glob(".*"))


def test_an_image_in_a_file_twice_is_said() -> None:
    entry: dict[str, Any] = {"annotations": [], "categories": []}
    entry["images"] = [{"id": 1, "file_name": "images/1.png"}, {"id": 2, "file_name": "1.png"}]
    Path("twice.json").write_text(json.dumps(entry))
    with pytest.raises(BadInput, match="image '1.png' is listed twice"):
        corrections.load(Path("twice.json"), indexes.load(Path("results/prepare/mine"), truth=False))
