"""Every protocol: only true boxes, everything counted, the same for any order of the rows; what is refused."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from scantling.data import imbalanced, nested, protocols, semi, sparse, split, stratified
from scantling.data.choice import Truth, floor_share, positions
from scantling.data.index import IMAGE_LABEL_COLUMNS, XYXY, Index, table
from scantling.params import ParamsError
from scantling.stage import BadInput
from tests.data.tables import index_of, indexes, shuffled

SPLITS = Path(__file__).parents[2] / "params" / "splits"
FULL = semi.FullParams(protocol="full")


def percent(**given: Any) -> semi.PercentParams:
    return semi.PercentParams(protocol="percent", **given)


def made(images: int = 20, boxes_each: int = 2, first_id: int = 0) -> Index:
    """`images` of train (one of them without boxes), then one each of val and unlabeled."""
    ids = list(range(first_id, first_id + images + 2))
    owners = np.repeat(ids[1:], boxes_each)
    boxes = {"box_id": np.arange(len(owners)), "image_id": owners, "label": np.arange(len(owners)) % 3}
    return index_of({"image_id": ids, "subset": ["train"] * images + ["val", "unlabeled"]}, pd.DataFrame(boxes))


def with_boxes(index: Index, **columns: Any) -> Index:
    assert index.boxes is not None
    return Index(**{**vars(index), "boxes": index.boxes.assign(**columns)})


def every(**given: Any) -> dict[str, Any]:
    """Each protocol that reads no file, a lost class allowed; `given` for all of them."""
    allowed: Any = {"allow_missing_class": True, **given}
    images, boxes = percent(percent=40), sparse.DropParams(protocol="drop_category", percent=50)
    return {
        "full": semi.FullParams(protocol="full", **allowed),
        "percent": percent(percent=40, **allowed),
        "percent by id": percent(percent=40, order="id", **allowed),
        "stac": percent(percent=70, rule="stac", order="id", **allowed),
        "images": percent(images=1, **allowed),
        "stratified": stratified.StratifiedParams(protocol="stratified", percent=50, **allowed),
        "drop_dataset": sparse.DropParams(protocol="drop_dataset", percent=50, **allowed),
        "drop_category": sparse.DropParams(protocol="drop_category", percent=50, **allowed),
        "drop_image_category": sparse.DropParams(protocol="drop_image_category", percent=50, **allowed),
        "missing_50p": sparse.Missing50Params(protocol="missing_50p", **allowed),
        "easy": sparse.EasyHardParams(protocol="easy", **allowed),
        "hard": sparse.EasyHardParams(protocol="hard", **allowed),
        "extreme": sparse.ExtremeParams(protocol="extreme", **allowed),
        "keep1": sparse.Keep1Params(protocol="keep1", **allowed),
        "keep1 random": sparse.Keep1Params(protocol="keep1", select="random", **allowed),
        "keep1 of two": sparse.Keep1Params(protocol="keep1", select="random", k=2, **allowed),
        "imbalanced": imbalanced.ImbalancedParams(
            protocol="imbalanced", minority=("b", "d"), majority_percent=60, minority_shots=1, **allowed
        ),
        "transfer": imbalanced.TransferParams(protocol="transfer", shots=1, **allowed),
        "combined": nested.NestedParams(protocol="combined", images=images, boxes=boxes, **allowed),
    }


BY_FILE_ORDER = {"percent", "images", "keep1", "combined"}  # as published, or drawn by `percent`
EVERY = every()


def attempt(index: Index, params: Any, fold: int) -> tuple[pd.DataFrame, dict[str, Any]] | str:
    """The split, or why there is none."""
    try:
        return protocols.make(index, params, fold)
    except BadInput as error:
        return str(error)


@pytest.mark.parametrize("name", EVERY)
@settings(max_examples=8, deadline=None)
@given(index=indexes(), fold=st.integers(0, 2**31), difficult=st.booleans())
def test_only_true_boxes_and_all_counted(name: str, index: Index, fold: int, difficult: bool) -> None:
    params = every(voc_difficult="keep" if difficult else "drop")[name]
    found = attempt(index, params, fold)
    if isinstance(found, str):
        assert (
            " asks for 0 of " in found
            or "keeps no labeled box" in found
            or "no box of a class that is missing" in found
        )
        return
    rows, facts = found
    assert index.boxes is not None
    assert list(rows.dtypes.astype(str)) == list(split.SPLIT_COLUMNS.values())
    assert rows[["image_id", "box_id"]].apply(tuple, axis=1).is_monotonic_increasing
    images = index.images[index.images.subset.isin(["train", "unlabeled"])]
    assert rows.image_id.drop_duplicates().tolist() == sorted(images.image_id)

    truth = index.boxes[
        index.boxes.image_id.isin(images.image_id) & ~index.boxes.crowd & (index.boxes.y2 > index.boxes.y1)
    ]
    truth = truth if difficult else truth[~truth.difficult]
    kept, bare = rows[rows.box_id >= 0], rows[rows.box_id < 0]
    true = truth.set_index("box_id").loc[kept.box_id]  # unchanged boxes of the truth, each once
    assert kept.box_id.is_unique
    for column in ("image_id", "label", *XYXY):
        assert (true[column].to_numpy() == kept[column].to_numpy()).all()
    assert kept.labeled.all()
    assert not set(bare.image_id) & set(kept.image_id) and bare.image_id.is_unique
    assert bare[XYXY].isna().all(axis=None) and (bare.label == -1).all()

    count = facts["counts"]
    labeled = set(rows.image_id[rows.labeled])
    assert (count["labeled"], count["images"]) == (len(labeled), len(images))
    assert count["unlabeled"] == count["images"] - count["labeled"]
    assert (count["kept"], count["kept"] + count["hidden"]) == (len(kept), len(truth))
    assert count["empty"] == len(labeled - set(kept.image_id))
    assert count["emptied"] == len((labeled - set(kept.image_id)) & set(truth.image_id))
    here = index.boxes[index.boxes.image_id.isin(images.image_id)]
    assert sum(count["dropped"].values()) == len(here) - len(truth)
    for label, own in enumerate(facts["per_class"].values()):
        of_class = kept[kept.label == label]
        assert own["kept"] == len(of_class) and own["images"] == of_class.image_id.nunique()
        assert own["kept"] + own["hidden"] == (truth.label == label).sum()
    whole = truth[truth.image_id.isin(labeled)].box_id.isin(kept.box_id).all()
    assert whole or not facts["complete"]
    if name in {"full", "percent", "percent by id", "stac", "images", "stratified"}:
        assert facts["complete"] and whole


@pytest.mark.parametrize("name", EVERY)
@settings(max_examples=8, deadline=None)
@given(index=indexes(), fold=st.integers(0, 2**31))
def test_the_order_of_the_rows_does_not_matter(name: str, index: Index, fold: int) -> None:
    found, again = (attempt(i, EVERY[name], fold) for i in (index, shuffled(index, fold)))
    if name in BY_FILE_ORDER:
        sources = [f[1]["source_sha256"] for f in (found, again) if not isinstance(f, str)]
        assert len(set(sources)) <= 1
    elif isinstance(found, str) or isinstance(again, str):
        assert found == again
    else:
        pd.testing.assert_frame_equal(found[0], again[0])
        assert json.dumps(found[1]) == json.dumps(again[1])


def test_one_truth_serves_many_splits() -> None:
    index = index_of(
        {"image_id": range(30)}, {"box_id": range(90), "image_id": np.arange(90) % 29, "label": [0, 1, 2] * 30}
    )
    truth = Truth.of(index, difficult=False)
    for name in sorted(set(EVERY) - {"imbalanced", "transfer"}):
        rows, facts = protocols.of(truth, EVERY[name], 1)
        again, same = protocols.make(index, EVERY[name], 1)
        assert rows.equals(again) and facts == same, name


@pytest.mark.parametrize("name", sorted(set(EVERY) - {"full", "keep1", "keep1 of two", "transfer"}))
def test_another_fold_is_another_choice(name: str) -> None:
    index = made(60, 6)
    index = Index(**{**vars(index), "classes": tuple("abcde")})
    hashes = {protocols.make(index, EVERY[name], fold)[1]["sha256"] for fold in (1, 2, 1)}
    assert len(hashes) == 2


def test_subset_unlabeled_stays_unlabeled_although_its_boxes_are_known() -> None:
    rows, facts = protocols.make(made(), FULL, 1)
    assert not rows.labeled[rows.image_id == 21].any() and rows.labeled[rows.image_id < 20].all()
    assert facts["counts"]["hidden"] == 2
    assert facts["per_class"]["c"] == {"kept": 12, "hidden": 1, "images": 12}


def test_labels_of_whole_images_make_no_split_complete() -> None:
    index = made()
    known = table(pd.DataFrame({"image_id": [3], "label": [1], "kind": ["negative"]}), IMAGE_LABEL_COLUMNS)
    federated = Index(**{**vars(index), "image_labels": known})
    assert protocols.make(index, FULL, 1)[1]["complete"]
    assert not protocols.make(federated, FULL, 1)[1]["complete"]


@settings(max_examples=50, deadline=None)
@given(st.lists(st.integers(0, 99), unique=True, max_size=20), st.lists(st.integers(0, 99), max_size=20))
def test_positions(ids: list[int], wanted: list[int]) -> None:
    found = positions(np.array(ids, dtype=np.int64), np.array(wanted, dtype=np.int64))
    assert found.tolist() == [ids.index(w) if w in ids else -1 for w in wanted]


def test_a_share_is_rounded_down_exactly() -> None:
    assert [floor_share(p, 100) for p in (29, 57, 58, 100, 0.5)] == [29, 57, 58, 100, 0]
    assert floor_share(2.3, 1000) == 23 and floor_share(10, 119) == 11


def test_crowd_and_difficult_boxes_are_never_kept_and_take_no_place() -> None:
    index = made(4, 3)
    assert index.boxes is not None
    rank = index.boxes.groupby("image_id").cumcount()
    flagged = with_boxes(index, crowd=rank == 0, difficult=rank == 1)
    for params in (FULL, EVERY["keep1"], EVERY["extreme"]):
        params = params.model_copy(update={"allow_missing_class": True})
        rows, facts = protocols.make(flagged, params, 1)
        assert rows.box_id[rows.box_id >= 0].tolist() == [2, 5, 8]
        assert facts["counts"]["dropped"] == {"crowd": 4, "without_area": 0, "difficult": 4}
        rows, facts = protocols.make(flagged, params.model_copy(update={"voc_difficult": "keep"}), 1)
        assert (rows.box_id >= 0).sum() == {"full": 6, "keep1": 6, "extreme": 3}[params.protocol]
        assert facts["counts"]["dropped"] == {"crowd": 4, "without_area": 0, "difficult": 0}


def test_an_empty_image_of_train_is_labeled_in_a_complete_split() -> None:
    rows, _ = protocols.make(made(), FULL, 1)
    assert rows[rows.image_id == 0][["labeled", "box_id"]].to_numpy().tolist() == [[True, -1]]


def test_zero_labeled_boxes_are_refused() -> None:
    index = made(3)
    with pytest.raises(BadInput, match=r"made: protocol full, fold 1 keeps no labeled box of 0; label more images"):
        protocols.make(with_boxes(index, crowd=True), FULL, 1)
    lonely = Index(**{**vars(index), "images": index.images.assign(subset="val")})
    with pytest.raises(BadInput, match="made: has no image in subset train; label some, or name one"):
        protocols.make(lonely, FULL, 1)


def test_too_few_and_too_many_images_are_refused() -> None:
    with pytest.raises(BadInput, match=r"made: percent 1 asks for 0 of its 20 training images; ask for 1 to 20"):
        protocols.make(made(), percent(percent=1), 1)
    with pytest.raises(BadInput, match=r"made: images 21 asks for 21 of its 20 training images"):
        protocols.make(made(), percent(images=21), 1)
    with pytest.raises(BadInput, match=r"made: fold 4294967296 \+ seed_offset 0: NumPy takes seeds below 4294967296"):
        protocols.make(made(), percent(images=2), 2**32)
    with pytest.raises(BadInput, match=r"--fold -1: must not be negative"):
        protocols.make(made(), FULL, -1)


def test_a_class_that_loses_every_box_is_refused_or_told(capsys: pytest.CaptureFixture[str]) -> None:
    index = made(4, 1)  # three boxes of three classes
    params = percent(images=2)
    rows, _ = protocols.make(index, params, 1)
    assert 0 < (rows.box_id >= 0).sum() < 3
    assert "warning: made: protocol percent, fold 1 keeps no box of class" in capsys.readouterr().out
    with pytest.raises(BadInput, match=r"keeps no box of class .*; keep more or set `allow_missing_class: true`"):
        protocols.make(index, params.model_copy(update={"allow_missing_class": False}), 1)


def test_a_class_without_any_box_in_train_is_not_the_splits_fault() -> None:
    index = made()
    wider = Index(**{**vars(index), "classes": ("a", "b", "c", "d")})
    _, facts = protocols.make(wider, sparse.DropParams(protocol="drop_category", percent=50), 1)
    assert facts["per_class"]["d"] == {"kept": 0, "hidden": 0, "images": 0}


def test_parameter_files_name_the_protocol_and_the_mistake(tmp_path: Path) -> None:
    file = tmp_path / "p.yaml"
    for text, message in (
        ("protocol: drop_categories\n", r"p\.yaml: `protocol` = 'drop_categories' is unknown; did you mean `drop_cat"),
        ("protocol: drop_category\n", r"p\.yaml: parameter `percent` is missing; add it"),
        ("protocol: drop_category\npercent: 120\n", r"p\.yaml: `percent` = 120: .*less than or equal to 99"),
        ("protocol: percent\n", r"give either `percent` or `images`"),
        ("protocol: percent\npercent: 1\nimages: 2\n", r"give either `percent` or `images`"),
        ("protocol: percent\npercent: 1\nrule: stac\nseed_offset: 3\n", r"`seed_offset` belongs to rule soft_teacher"),
        ("protocol: combined\nimages: 3\n", r"p\.yaml: `images` = 3: expected a section with a `protocol`"),
        ("protocol: combined\nimages: {protocol: percnt}\n", r"`images`: `protocol` = 'percnt' .* mean `percent`"),
        (
            "protocol: combined\nimages: {protocol: full}\nboxes: {protocol: easy, gard: image}\n",
            r"`boxes`: unknown parameter `gard`; did you",
        ),
        (
            "protocol: combined\nimages: {protocol: easy}\nboxes: {protocol: easy}\n",
            r"`images`: `protocol` = 'easy' .* known here: percent, l",
        ),
        (
            "protocol: combined\nimages: {protocol: full}\n",
            r"`boxes`: parameter `protocol` is missing; add one of drop_",
        ),
        (
            "protocol: combined\nimages: {protocol: full, voc_difficult: drop}\nboxes: {protocol: easy}\n",
            r"`voc_difficult` belongs to the whole split; say it beside `images` and `boxes`",
        ),
        ("protocol: keep1\nselects: first\n", r"unknown parameter `selects`; did you mean `select`"),
    ):
        file.write_text(text)
        with pytest.raises(ParamsError, match=message):
            protocols.SplitParams.load(file)


SHIPPED = sorted(SPLITS.glob("*.yaml"))


@pytest.mark.parametrize("file", SHIPPED, ids=lambda p: p.stem)
def test_shipped_protocols_are_complete_and_commented(file: Path) -> None:
    params = protocols.SplitParams.load(file)
    content = yaml.safe_load(file.read_text())
    parts = [(content[k], getattr(params, k)) for k in ("images", "boxes") if params.protocol == "combined"]
    for said, loaded in [(content, params), *parts]:
        either = {"percent", "images"} - {k for k in ("percent", "images") if getattr(loaded, k, None) is not None}
        whole = {"allow_missing_class", "voc_difficult"} if said is not content else set()
        assert set(type(loaded).model_fields) - either - whole == set(said)
    lines = [line for line in file.read_text().splitlines() if ":" in line and not line.startswith("#")]
    assert [line for line in lines if "#" not in line and not line.lstrip().startswith("protocol:")] == []


def test_every_protocol_is_shipped_and_documented() -> None:
    shipped = {protocols.SplitParams.load(file).protocol for file in SHIPPED}
    assert shipped == set(protocols.PROTOCOLS)
    page = (SPLITS.parents[1] / "docs" / "splits.md").read_text()
    assert [name for name in protocols.PROTOCOLS if f"`{name}`" not in page] == []
    assert [file.stem for file in SHIPPED if f"`{file.stem}`" not in page] == []
