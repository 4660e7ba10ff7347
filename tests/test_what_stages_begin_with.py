"""What burn_in and retrain begin their training with: images of the split, weights of the start or of the backbone."""

from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import torch

from scantling import checkpoint, train
from scantling.augment.settings import View
from scantling.data import index as indices
from scantling.data.loader import Pool
from scantling.data.split import SPLIT_COLUMNS
from scantling.methods import MethodParams, supervised
from scantling.pseudo import COLUMNS, PseudoLabelParams
from scantling.stage import BadInput
from stages.burn_in import burn_in
from stages.pseudo_label import pseudo_label
from stages.retrain import retrain
from tests import toy


class Begins(Exception):
    """Ends a stage where its training would begin, with what it gives to it."""


@pytest.fixture
def drawn(begun: Any) -> Any:
    """The images that a stage would draw from, as a function of its name, its training and its method."""
    return lambda *words, **changes: begun(*words, **changes)["pool"]


@pytest.fixture
def begun(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """What a stage would begin with, as a function of its name, its training and its method.

    Images 0 to 3 are labeled, 3 is empty; 4 to 7 are not; 0 and 7 are 20 pixels high.
    """
    images, split = toy.tables(tmp_path)
    images.loc[images["image_id"].isin([0, 7]), "height"] = 20
    known = indices.table(images.assign(subset="train", bytes=0, mtime_ns=0), indices.IMAGE_COLUMNS)
    toys = indices.Index("toy", tmp_path, ("square", "bar"), (1, 2), known, indices.table([], indices.BOX_COLUMNS), {})
    indices.save(toys, tmp_path)
    indices.table(split, SPLIT_COLUMNS).to_parquet(tmp_path / "split.parquet")
    params = toy.detector_params("retinanet_lite")
    for role in ("student", "teacher"):
        model = toy.detector("retinanet_lite")
        checkpoint.save_weights(tmp_path / f"{role}.safetensors", model, params, step=1, role=role)
    labels = supervised.unused(indices.table([], COLUMNS))
    labels.to_parquet(tmp_path / "refined.parquet", index=False)
    checkpoint.save_polishing(tmp_path / "polishing.safetensors", torch.nn.ModuleDict(), teacher="", facts={})
    monkeypatch.chdir(tmp_path)

    def run(**given: Any) -> None:
        raise Begins(given)

    monkeypatch.setattr(train, "run", run)

    def begin(
        stage: str, method: str = "supervised", begin: str = "weights", view: View = toy.VIEWS.labeled, **changes: Any
    ) -> dict[str, Any]:
        places = {"index": tmp_path, "split": tmp_path, "out": tmp_path / "out", "seed": 0}
        given: dict[str, Any] = places | {"training": toy.training(1, **changes)}
        with pytest.raises(Begins) as caught:
            if stage == "burn_in":
                burn_in(detector=params, labeled=view, **given)
            else:
                asked = MethodParams.load(toy.ROOT / f"params/methods/{method}.yaml")
                given |= {"start": tmp_path, "teacher": tmp_path, "refined": tmp_path, "views": toy.VIEWS}
                retrain(begin=begin, method=asked, **given)
        return caught.value.args[0]

    return begin


def test_burn_in_sees_one_view_and_says_what_such_a_view_cannot_have(begun: Any) -> None:
    assert begun("burn_in")["views"].labeled == toy.VIEWS.labeled
    with pytest.raises(BadInput, match="--labeled: `same_geometry` follows the weak view, only `strong` can have it"):
        begun("burn_in", view=View(same_geometry=True))


def test_by_default_all_images_are_drawn(drawn: Any) -> None:
    for pool in (drawn("burn_in"), drawn("retrain")):
        assert pool.labeled == [0, 1, 2, 3] and pool.unlabeled == [4, 5, 6, 7]
        assert pool.truth(3)[0].shape == (0, 4), "that nothing is in it is learned"


def test_empty_images_are_left_out_where_the_training_or_the_method_refuses_them(drawn: Any) -> None:
    for pool in (
        drawn("burn_in", empty_images=False),
        drawn("retrain", empty_images=False),
        drawn("retrain", "co_mining"),
        drawn("retrain", "co_mining", empty_images=False),
    ):
        assert pool.labeled == [0, 1, 2] and pool.unlabeled == [4, 5, 6, 7]
    assert drawn("retrain", "sparsedet").labeled == [0, 1, 2, 3]


def test_small_images_are_left_out_labeled_or_not(drawn: Any) -> None:
    for stage in ("burn_in", "retrain"):
        assert drawn(stage, min_side_px=20).labeled == [0, 1, 2, 3], "a side of as many pixels is enough"
        pool = drawn(stage, min_side_px=21)
        assert pool.labeled == [1, 2, 3] and pool.unlabeled == [4, 5, 6]
        assert pool.ids.tolist() == [1, 2, 3, 4, 5, 6] and len(pool.truth(1)[0]) == 2
        assert drawn(stage, min_side_px=21, empty_images=False).labeled == [1, 2]


def test_none_left_is_an_error_that_names_the_remedy(drawn: Any) -> None:
    with pytest.raises(BadInput, match=r"none of the 4 labeled images is drawn, each has a side below 65 px \(lower"):
        drawn("burn_in", min_side_px=65)
    with pytest.raises(BadInput, match=r"side below 65 px .* or no box .*set `empty_images: true`, and `keep_empty_im"):
        drawn("retrain", min_side_px=65, empty_images=False)


def test_none_left_of_one_kind(tmp_path: Path) -> None:
    images, split = toy.tables(tmp_path, labeled=2, unlabeled=2)
    images.loc[images["image_id"] >= 2, "width"] = 9
    with pytest.raises(BadInput, match="none of the 2 unlabeled images is drawn, each has a side below 10 px"):
        Pool.of(tmp_path, images, split, keep_empty=True, min_side_px=10)
    with pytest.raises(BadInput, match="none of the 1 labeled images is drawn, each has no box"):
        Pool.of(tmp_path, images, split[split["image_id"] >= 1], keep_empty=False)
    labeled = split[split["labeled"]]
    assert Pool.of(tmp_path, images, labeled, keep_empty=True, min_side_px=10).unlabeled == []


def weights(model: torch.nn.Module) -> dict[str, torch.Tensor]:
    return {name: value for name, value in model.state_dict().items() if value.is_floating_point()}


def same(one: torch.nn.Module, other: torch.nn.Module, part: str) -> bool:
    pairs = zip(weights(one).items(), weights(other).values(), strict=True)
    return all(torch.equal(a, b) for (name, a), b in pairs if name.startswith(part))


def test_a_student_begins_with_the_weights_of_the_start(begun: Any) -> None:
    given = begun("retrain", "soft_teacher_frozen")
    assert same(given["student"], toy.detector("retinanet_lite"), "") and same(given["student"], given["average"], "")


@pytest.mark.parametrize("method", ["supervised", "soft_teacher_frozen", "soft_teacher_cached"])
def test_or_with_the_backbone_alone_and_learns_from_the_same_teacher(begun: Any, method: str) -> None:
    """The backbone is the package's, the heads are drawn anew, by the seed: not those that burn_in began with."""
    given, again = begun("retrain", method, begin="backbone"), begun("retrain", method, begin="backbone")
    student, made = given["student"], toy.detector("retinanet_lite")
    assert same(student, again["student"], "") and same(student, given["average"], "")
    assert not same(student, made, "class_head") and not same(student, made, "box_head")
    if method == "soft_teacher_frozen":
        assert same(given["labeler"], made, "")


def test_another_beginning_is_an_error(begun: Any) -> None:
    with pytest.raises(BadInput, match="--begin teacher: a student begins with `weights` or `backbone`"):
        begun("retrain", begin="teacher")


def test_a_split_of_another_data_set_is_refused(begun: Any, tmp_path: Path) -> None:
    """Ids that the index lacks must not be looked up as if they were those of their neighbors."""
    file = tmp_path / "split.parquet"
    split = pd.read_parquet(file)
    pd.concat([split, split.tail(1).assign(image_id=99)]).to_parquet(file)
    for stage in ("burn_in", "retrain"):
        with pytest.raises(BadInput, match=r"names 1 of 9 images that the index does not have \(the first is 99\)"):
            begun(stage)
    with pytest.raises(BadInput, match="made of another data set"):
        labeling = PseudoLabelParams.load(toy.ROOT / "params/pseudo_label.yaml")
        pseudo_label(index=tmp_path, split=tmp_path, teacher=tmp_path, params=labeling, out=tmp_path / "out")
