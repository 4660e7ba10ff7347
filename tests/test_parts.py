"""A table in parts: the same for any number of processes, and a killed run makes only what is missing or damaged."""

import tracemalloc
from collections.abc import Iterator
from pathlib import Path

import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from scantling import parts, predict, pseudo, pseudo_files
from scantling.data.index import table
from scantling.pseudo import PseudoLabelParams
from scantling.stage import Stopped
from tests import tiny, toy


@settings(deadline=None)
@given(st.integers(0, 20_000), st.integers(1, 9))
def test_parts_are_the_batches_in_order(rows: int, batch_size: int) -> None:
    batches = parts.batches_of(rows, batch_size)
    groups = parts.parts_of(batches)
    assert [i for batch in batches for i in batch] == list(range(rows))
    assert [batch for group in groups for batch in group] == batches
    assert len(groups) <= parts.PARTS and all(groups)
    assert len(groups) >= min(len(batches), parts.PARTS / 2), "64 processes have 8 parts each, or all that there are"


def test_a_part_has_a_limit() -> None:
    batches = parts.batches_of(8 * 2 * parts.PARTS * parts.BATCHES, 8)
    assert {len(group) for group in parts.parts_of(batches)} == {parts.BATCHES}


class Killed(Exception):
    pass


class Making:
    """Makes tables of row numbers, and remembers of which batches."""

    def __init__(self, until: int = 99):
        self.made: list[range] = []
        self.until = until

    def __call__(self, chosen: list[range]) -> Iterator[pd.DataFrame]:
        for number, batch in enumerate(chosen):
            if number == self.until:
                raise Killed
            self.made.append(batch)
            yield pd.DataFrame({"row": list(batch)})


@pytest.fixture
def batches(monkeypatch: pytest.MonkeyPatch) -> list[range]:
    monkeypatch.setattr(parts, "PARTS", 5)  # of the 40 batches 8 each
    return parts.batches_of(200, 5)


def rows(made: parts.Parts) -> list[int]:
    return pd.concat(list(made))["row"].tolist()


def test_what_is_done_is_not_done_again(tmp_path: Path, batches: list[range]) -> None:
    with pytest.raises(Killed):
        parts.make(batches, tmp_path, Making(until=20), pd.concat)
    there = sorted(p.name.rpartition("_")[0] for p in tmp_path.glob("*_*"))
    assert there == ["rows_000000000_000000040", "rows_000000040_000000080"], "whole parts only"
    (tmp_path / "rows_000000080_000000120.part").write_bytes(b"half a part")
    rest = Making()
    assert rows(parts.make(batches, tmp_path, rest, pd.concat)) == list(range(200)) and rest.made == batches[16:]
    nothing = Making()
    assert rows(parts.make(batches, tmp_path, nothing, pd.concat)) == list(range(200)) and not nothing.made


@pytest.mark.parametrize("damage", ["cut", "a bit", "empty", "gone"])
def test_a_damaged_part_is_made_again(tmp_path: Path, batches: list[range], damage: str) -> None:
    made = parts.make(batches, tmp_path, Making(), pd.concat)
    before = [file.read_bytes() for file in made.files]
    content = bytearray(before[2])
    content[len(content) // 2] ^= damage == "a bit"
    made.files[2].write_bytes(content[: {"cut": 100, "empty": 0}.get(damage)])
    if damage == "gone":
        made.files[2].unlink()
    again = Making()
    files = parts.make(batches, tmp_path, again, pd.concat).files
    assert again.made == batches[16:24] and files == made.files
    assert [file.read_bytes() for file in files] == before


def test_a_part_damaged_before_it_is_read_ends_in_a_sentence_and_is_made_the_next_time(
    tmp_path: Path, batches: list[range]
) -> None:
    made = parts.make(batches, tmp_path, Making(), pd.concat)
    made.files[1].write_bytes(made.files[1].read_bytes()[:-1])
    with pytest.raises(Stopped, match=r"rows_000000040_.* was damaged .* the same command makes this part again"):
        list(made)
    again = Making()
    assert rows(parts.make(batches, tmp_path, again, pd.concat)) == list(range(200)) and again.made == batches[8:16]


def test_any_number_of_processes_goes_on_with_the_parts_of_any_other(
    tmp_path: Path, batches: list[range], monkeypatch: pytest.MonkeyPatch
) -> None:
    alone = [file.read_bytes() for file in parts.make(batches, tmp_path / "alone", Making(), pd.concat).files]
    with pytest.raises(Killed):
        parts.make(batches, tmp_path / "many", Making(until=10), pd.concat)  # one part is there
    seen = []
    for rank in range(2):  # one after the other, and each hears that the rest of the parts will be there
        monkeypatch.setattr("scantling.distributed.rank", lambda rank=rank: rank)
        monkeypatch.setattr("scantling.distributed.world", lambda: 2)
        names = {n: p.name for n, p in enumerate(sorted((tmp_path / "alone").glob("rows_*")))}
        heard = iter([{0: names[0]}, names])
        monkeypatch.setattr("scantling.distributed.joined", lambda part, heard=heard: next(heard))
        own = Making()
        made = parts.make(batches, tmp_path / "many", own, pd.concat)
        seen.append(own.made)
    assert seen == [batches[8:16] + batches[24:32], batches[16:24] + batches[32:]], "what is missing is dealt evenly"
    assert [file.read_bytes() for file in made.files] == alone


def found(scores: list[float], first: int = 0) -> pd.DataFrame:
    one = {"label": 0, "x1": 0.0, "y1": 0.0, "x2": 9.0, "y2": 9.0, "spread": float("nan")}
    return table([one | {"image_id": first + n, "score": s} for n, s in enumerate(scores)], pseudo.COLUMNS)


@pytest.mark.parametrize("cut", [[], [0], [7], [3, 0, 4], [1, 1, 1, 1, 1, 1, 1], [6, 1], [5, 1]])
def test_a_table_written_in_pieces_has_the_bytes_of_the_whole(
    tmp_path: Path, cut: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pseudo_files, "ROWS", 3)
    whole = found([n / 10 for n in range(sum(cut))])
    starts = [sum(cut[:n]) for n in range(len(cut))]
    pieces = (whole[start : start + n].reset_index(drop=True) for start, n in zip(starts, cut, strict=True))
    assert pseudo_files.write(pieces, found([]), tmp_path / "pieces") == len(whole)
    whole.to_parquet(tmp_path / "whole", index=False, row_group_size=3)
    assert (tmp_path / "pieces").read_bytes() == (tmp_path / "whole").read_bytes()


def test_memory_does_not_grow_with_the_number_of_images(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Labeling and writing with a detector of no cost, 500 boxes an image, so that tables weigh something."""
    monkeypatch.setattr(pseudo_files, "ROWS", 5000)
    monkeypatch.setattr(parts, "PARTS", 1)
    monkeypatch.setattr(parts, "BATCHES", 2)
    some = found([0.5] * 500)

    def tables(chosen: list[range]) -> Iterator[pd.DataFrame]:
        for batch in chosen:
            yield pd.concat([some.assign(image_id=image) for image in batch], ignore_index=True)

    def peak(images: int) -> int:
        folder = tmp_path / str(images)
        tracemalloc.start()
        made = parts.make(parts.batches_of(images, 2), folder, tables, pseudo.gather)
        pseudo_files.save(folder, made, images, ("a",), [], None, 0)
        top = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert len(made.files) == images // 4 and len(pd.read_parquet(folder / "pseudo.parquet")) == 500 * images
        return top

    peak(4)  # what is imported and cached on the way
    few, many = peak(20), peak(200)
    row = sum(some.dtypes.map(lambda kind: kind.itemsize))
    assert many - few < 0.2 * 180 * len(some) * row, "of 180 more images names of parts stay, not their rows"


@pytest.mark.parametrize("workers", [0, 1])
def test_labels_are_the_same_with_and_without_parts(tmp_path: Path, workers: int) -> None:
    images, _ = toy.tables(tmp_path)
    params = PseudoLabelParams.load(toy.ROOT / "params/pseudo_label.yaml")
    params = params.model_copy(update={"batch_size": 3, "spread_from": 0.3, "workers": workers})

    def label(keep: Path | None, rows: pd.DataFrame = images) -> pd.DataFrame:
        settings = {"input": tiny.params("faster_rcnn").input, "params": params, "device": "cpu", "keep": keep}
        return predict.pseudo_labels(tiny.detector("faster_rcnn"), rows, tmp_path, **settings)

    whole = label(None)
    assert len(whole)
    pd.testing.assert_frame_equal(whole, label(tmp_path / "keep"))
    pd.testing.assert_frame_equal(whole, label(tmp_path / "keep"))  # from the parts alone
    none = label(tmp_path / "none", images.iloc[:0])
    assert len(none) == 0 and none.columns.tolist() == whole.columns.tolist()
