"""Portions of images: together they are the tables, and what is counted in them adds up to what is counted at once."""

import json
from pathlib import Path
from unittest import mock

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from scantling.data.index import IMAGE_LABEL_COLUMNS, table
from scantling.evaluate import label_quality, portions
from scantling.evaluate.params import QualityParams
from scantling.evaluate.portions import Held, Stored
from scantling.stage import BadInput
from tests.evaluate.made import found, index, measure, refined, split

PARAMS = QualityParams(iou_threshold=0.5, headline_threshold=0.6, thresholds=(0.3, 0.6, 0.9), calibration_bins=4)
SIDES = [20.0, 40.0, 100.0]
# 7 and 9 are in no split; 5 is held out; 30 is an unlabeled pool without truth
IMAGES = {3: "train", 1: "train", 4: "train", 2: "train", 5: "val", 6: "val", 8: "train", 30: "unlabeled"}
ids = st.sampled_from([*IMAGES, 7, 9])
box = st.tuples(st.sampled_from([0.0, 3.0, 50.0]), st.sampled_from(SIDES)).map(lambda p: (p[0], p[0], *[sum(p)] * 2))
score = st.one_of(st.floats(0, 1, width=32), st.sampled_from([0.0, 0.3, 0.6, 1.0]))
guesses = st.lists(st.tuples(ids, st.integers(0, 1), score, box), max_size=25)
true = st.tuples(
    st.sampled_from(list(IMAGES)[:-1]), st.integers(0, 1), box, st.sampled_from(["", "", "crowd", "difficult"])
)


def polished(rows: list, draw: st.DataObject) -> pd.DataFrame:
    """A refined table of found rows: some used, some moved, some of another class or score, some mined."""
    rows = found(*rows)
    n = len(rows)

    def drawn(of: st.SearchStrategy) -> list:
        return draw.draw(st.lists(of, min_size=n, max_size=n))

    flags = {
        name: np.array(drawn(st.booleans()), bool) for name in ("for_objectness", "for_class", "for_box", "ignore")
    }
    other = pd.DataFrame(
        {
            f"refined_{x}": rows[x] + np.float32(move)
            for x, move in zip(["x1", "y1", "x2", "y2"], (0, 0, 4, 0), strict=True)
        }
    )
    return refined(
        rows,
        **flags,
        **other,
        source=np.array(drawn(st.sampled_from(["teacher", "teacher", "mined", "corrected", "label"])), dtype=object),
        weight=np.array(drawn(st.sampled_from([0.0, 0.5, 1.0])), np.float32),
        refined_label=np.array(drawn(st.integers(0, 1)), np.int32),
        refined_score=np.array(drawn(score), np.float32),
    )  # fmt: skip


def stored(rows: pd.DataFrame, file: Path) -> portions.Table:
    """As stages write them, in row groups of three rows."""
    rows.sort_values("image_id", kind="stable", ignore_index=True).to_parquet(file, row_group_size=3, index=False)
    return portions.of_file(file)


def close(one: object, other: object) -> None:
    """Equal to six decimals, wherever there is a number."""
    if isinstance(one, dict):
        assert list(one) == list(other)
        for name, value in one.items():
            close(value, other[name])
    elif isinstance(one, list):
        assert len(one) == len(other)
        for pair in zip(one, other, strict=True):
            close(*pair)
    elif isinstance(one, float):
        assert one == pytest.approx(other, abs=1.5e-6)
    else:
        assert one == other


@settings(max_examples=12, deadline=None)
@given(st.data(), st.lists(true, max_size=15), guesses, guesses, st.integers(1, 20))
def test_many_portions_are_one(tmp_path_factory, draw, truth, labels, on_val, rows):
    folder = tmp_path_factory.mktemp("tables")
    boxes = [{"image_id": i, "label": k, "xyxy": b} | ({kind: True} if kind else {}) for i, k, b, kind in truth]
    data = index(boxes, IMAGES)
    facts = draw.draw(
        st.lists(
            st.tuples(st.sampled_from([1, 2, 5]), st.integers(0, 1), st.sampled_from(["negative", "not_exhaustive"])),
            max_size=3,
        )
    )
    data = type(data)(
        **{
            **vars(data),
            "image_labels": table(pd.DataFrame(facts, columns=list(IMAGE_LABEL_COLUMNS)), IMAGE_LABEL_COLUMNS),
        }
    )
    plain = data.boxes.index[(data.boxes["image_id"] != 5) & ~data.boxes["crowd"]].tolist()
    kept = draw.draw(st.lists(st.sampled_from(plain), unique=True)) if plain else []
    known = split(data, kept, draw.draw(st.lists(st.sampled_from([1, 2, 3, 4, 8]), unique=True)))
    known = pd.concat([known, known[:0].reindex([0]).assign(image_id=30, labeled=False, box_id=-1, label=-1)]).astype(
        known.dtypes
    )
    pseudo, val = found(*labels), found(*on_val)
    tables = {"pseudo": pseudo, "refined": polished(labels, draw), "before": polished(draw.draw(guesses), draw)}
    once = measure(data, known, *list(tables.values())[:2], PARAMS, before=tables["before"], on_held_out=("val", val))
    files = {name: stored(rows, folder / f"{name}.parquet") for name, rows in tables.items()}
    files |= {"boxes": Held(data.boxes), "split": stored(known, folder / "split.parquet")}
    with mock.patch.object(portions, "ROWS", rows):
        seen = ("val", stored(val, folder / "val.parquet"))
        parts = label_quality.measure(data, label_quality.Tables(**files), PARAMS, on_held_out=seen)
    close(once, parts)
    json.dumps(parts, allow_nan=False)


@settings(max_examples=15, deadline=None)
@given(guesses, guesses, st.integers(1, 8))
def test_each_row_is_in_one_portion(tmp_path_factory, labels, others, most):
    file = tmp_path_factory.mktemp("tables") / "rows.parquet"
    first, second = found(*labels), found(*others)
    tables = {"first": stored(first, file), "second": Held(second)}
    data = index([], IMAGES)
    with mock.patch.object(portions, "ROWS", most):
        parts = list(portions.walk(data, Held(data.boxes), **tables, none=None))
    assert sorted(i for part, _ in parts for i in part.images["image_id"]) == sorted(IMAGES)
    seen = [set(rows["first"]["image_id"]) | set(rows["second"]["image_id"]) for _, rows in parts]
    assert sum(map(len, seen)) == len(set().union(*seen))  # no image in two
    for name, whole in (("first", first), ("second", second)):
        joined = pd.concat([rows[name] for _, rows in parts], ignore_index=True)
        pd.testing.assert_frame_equal(joined, whole.sort_values("image_id", kind="stable", ignore_index=True))
    for part, rows in parts:
        assert "none" not in rows
        beginning = part.images["image_id"].min()  # this image may have any number
        assert sum(int((table["image_id"] > beginning).sum()) for table in rows.values()) < most


def test_a_file_in_any_order_is_held_and_gives_the_same(tmp_path):
    rows = found(*((i, 0, 0.1 * n, (0, 0, 9, 9)) for n, i in enumerate([5, 1, 3, 1, 2, 5])))
    rows.to_parquet(tmp_path / "rows.parquet", row_group_size=2)
    mixed, ordered = portions.of_file(tmp_path / "rows.parquet"), stored(rows, tmp_path / "sorted.parquet")
    assert isinstance(mixed, Held) and isinstance(ordered, Stored)
    for pair in ((1, 1), (2, 4), (4, 4), (portions.LOWEST, portions.HIGHEST)):
        pd.testing.assert_frame_equal(mixed.between(*pair), ordered.between(*pair))
    some = np.array([5, 2])
    pd.testing.assert_frame_equal(portions.of_images(mixed, some), portions.of_images(ordered, some))
    assert portions.of_images(mixed, some)["image_id"].tolist() == [2, 5, 5]


def test_row_groups_that_lie_elsewhere_are_not_read(tmp_path):
    rows = found(*((i, 0, 0.5, (0, 0, 9, 9)) for i in range(12)))
    there = stored(rows, tmp_path / "rows.parquet")
    read = portions.pq.ParquetFile.iter_batches
    with mock.patch.object(portions.pq.ParquetFile, "iter_batches", autospec=True, side_effect=read) as asked:
        assert there.between(4, 6)["image_id"].tolist() == [4, 5, 6]
    assert asked.call_args.kwargs["row_groups"] == [1, 2]


def test_nothing(tmp_path):
    empty = stored(found(), tmp_path / "rows.parquet")
    assert portions.cut(np.zeros(0, np.int64), [empty]) == [(portions.LOWEST, portions.HIGHEST)]
    assert len(empty.between(1, 2)) == 0 and list(portions.of_images(empty, np.array([1]))) == list(found())


def test_no_table_is_told_of(tmp_path):
    (tmp_path / "rows.parquet").write_text("no table")
    with pytest.raises(BadInput, match="cannot be read"):
        portions.of_file(tmp_path / "rows.parquet")
