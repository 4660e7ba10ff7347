"""The streaming JSON reader gives what json.load gives, whatever the size of its pieces, and says where it is wrong."""

from __future__ import annotations

import gzip
import json
import tracemalloc
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from scantling.data import json_stream
from scantling.stage import BadInput

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner, max_size=4),
    max_leaves=12,
)
CONTENTS = st.dictionaries(st.sampled_from(["a", "b", "other", "", "ü\n"]), st.lists(VALUES, max_size=6) | VALUES)


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("json") / "f.json"


def read(file: Path, piece_bytes: int = 7, **more: Any) -> dict[str, list[Any]]:
    found: dict[str, list[Any]] = {}
    for key, first, entries in json_stream.lists(file, ("a", "b"), piece_bytes=piece_bytes, **more):
        assert len(found.setdefault(key, [])) == first
        found[key] += entries
    return found


@given(CONTENTS, st.integers(1, 40), st.sampled_from([None, 0, 3]), st.booleans(), st.booleans())
@settings(max_examples=150, deadline=None)
def test_it_gives_what_json_load_gives(
    file: Path, content: Any, piece_bytes: int, indent: int | None, ascii: bool, packed: bool
) -> None:
    data = json.dumps(content, indent=indent, ensure_ascii=ascii).encode("utf-8", "surrogatepass")
    file.write_bytes(gzip.compress(data, 1) if packed else data)
    wanted = {key: value for key, value in content.items() if key in ("a", "b")}
    try:
        data.decode()
    except UnicodeDecodeError:
        with pytest.raises(BadInput, match="not UTF-8 text, byte"):
            read(file, piece_bytes)
    else:
        if all(isinstance(value, list) for value in wanted.values()):
            assert read(file, piece_bytes) == wanted
        else:
            with pytest.raises(BadInput, match=r"`[ab]` is not a list of objects \(byte \d+\)"):
                read(file, piece_bytes)


@pytest.mark.parametrize("piece_bytes", [1, 2, 3, 5, 1 << 20])
@pytest.mark.parametrize("mark", [b"", b"\xef\xbb\xbf"])
def test_numbers_and_constants_may_be_cut_by_a_piece(file: Path, piece_bytes: int, mark: bytes) -> None:
    text = '{"b":[12345,-1.5e-3,true ,null,"\\ud83d\\ude00\\"",1e999,-Infinity],"c":123456,"a":[],"d":{"a":[1]}}'
    file.write_bytes(mark + text.encode())
    content = json.loads(text)
    assert read(file, piece_bytes) == {"a": content["a"], "b": content["b"]}


def test_batches_are_numbered_and_a_key_is_dropped(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(json_stream, "BATCH", 3)
    file.write_text(json.dumps({"a": [{"id": i, "long": [i] * 9} for i in range(7)] + [[1]]}))
    sizes = [len(entries) for _, _, entries in json_stream.lists(file, ("a",))]
    assert sizes == [3, 3, 2]
    assert read(file, drop="long")["a"] == [{"id": i} for i in range(7)] + [[1]]


def test_memory_does_not_grow_with_the_file(file: Path) -> None:
    polygon = {"segmentation": [[float(i) for i in range(400)]]}
    file.write_text(json.dumps({"other": [polygon] * 500, "a": [polygon] * 1500}))
    tracemalloc.start()
    try:
        count = sum(
            len(entries) for _, _, entries in json_stream.lists(file, ("a",), drop="segmentation", piece_bytes=1 << 14)
        )
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert count == 1500
    assert peak < file.stat().st_size / 8


BROKEN = {
    "empty": (b"", r"f\.json: is empty; it must be \{\.\.\.\} with the lists a, b"),
    "spaces": (b" \n ", r"f\.json: is empty"),
    "a list": (b"[1]", r"f\.json: is no JSON object at its top level; it must be"),
    "a number": (b"12", r"is no JSON object at its top level"),
    "no JSON": (b"<html>", r"is no JSON object at its top level"),
    "cut in an entry": (b'{"a": [{"id": 1}, {"id"', r"not valid JSON \(it ends too early, byte 23\); copy or export"),
    "cut between entries": (b'{"a": [{"id": 1},', r"not valid JSON \(it ends too early, byte 17\)"),
    "cut before the end": (b'{"a": [{"id": 1}]', r"not valid JSON \(it ends too early, byte 17\)"),
    "cut in a text": (b'{"a": ["bolt', r"not valid JSON \(Unterminated string starting at, byte 7\)"),
    "comma before the end": (b'{"a": [1,]}', r"not valid JSON \(Expecting value, byte 9\); export the annotations"),
    "comma before the brace": (b'{"a": [1],}', r"not valid JSON \(a name in quotes is expected, byte 10\)"),
    "no comma": (b'{"a": [{} {}]}', r"not valid JSON \(, or \] is expected, byte 10\)"),
    "no colon": (b'{"a" [1]}', r"not valid JSON \(: is expected, byte 5\)"),
    "no quotes": (b"{a: [1]}", r"not valid JSON \(a name in quotes is expected, byte 1\)"),
    "more behind": (b'{"a": []} {}', r"not valid JSON \(something follows the object, byte 10\)"),
    "behind nothing": (b"{}}", r"not valid JSON \(something follows the object, byte 2\)"),
    "tab in a text": (b'{"a": ["x\ty"]}', r"not valid JSON \(Invalid control character at, byte 9\)"),
    "twice": (b'{"a": [1], "a": [2]}', r"`a` comes twice, again before byte 15; merge the two"),
    "an object": (b'{"a": {"1": 2}}', r"`a` is not a list of objects \(byte 6\); write"),
    "nothing": (b'{"a": null}', r"`a` is not a list of objects \(byte 6\)"),
    "digits": (b'{"a": [' + b"9" * 5000 + b"]}", r"not valid JSON \(a number has thousands of digits, byte 7\)"),
    "deep list": (b'{"a": [' + b"[" * 100_000, r"nested too deeply, byte 7; flatten or remove it"),
    "deep object": (b'{"x": ' + b'{"a":' * 100_000, r"nested too deeply, byte 6"),
    "latin-1": ('{"a": ["ü"]}'.encode("latin-1"), r"not UTF-8 text, byte 8; save it as UTF-8"),
    "UTF-16": ('{"a": []}'.encode("utf-16"), r"not UTF-8 text, byte 0"),
    "half a letter": ('{"a": ["ü'.encode()[:-1], r"not UTF-8 text, byte 8"),
    "no gzip": (b"\x1f\x8b nothing", r"cannot be read \(.+\); copy or compress it again"),
    "half a gzip": (gzip.compress(b'{"a": []}')[:-9], r"cannot be read \(.+\); copy or compress it again"),
}


@pytest.mark.parametrize("piece_bytes", [1, 4, 1 << 20])
@pytest.mark.parametrize("case", BROKEN)
def test_what_is_broken_is_refused_with_its_place(file: Path, case: str, piece_bytes: int) -> None:
    data, message = BROKEN[case]
    file.write_bytes(data)
    with pytest.raises(BadInput, match=message) as caught:
        read(file, piece_bytes)
    assert "\n" not in str(caught.value)


def test_an_endless_entry_is_not_held(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(json_stream, "LONGEST", 3 << 20)
    file.write_text('{"a": [1, "' + "x" * (8 << 20))
    with pytest.raises(BadInput, match=r"f\.json: an entry of more than 3 MiB, byte 10; repair or split it"):
        read(file, 1 << 20)


def test_long_files_show_progress(file: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture) -> None:
    monkeypatch.setattr(json_stream, "LONG_FILE", 1 << 20)
    file.write_text(json.dumps({"a": ["x" * 1000] * 3000}))
    read(file, 1 << 18)
    assert "reading f.json 2/2" in capsys.readouterr().out


def test_files_that_are_not_there_or_no_files(file: Path, tmp_path: Path) -> None:
    for wrong in (tmp_path / "none.json", tmp_path):
        with pytest.raises(BadInput, match=r"there is no such annotation file; correct `root` or `subsets`"):
            read(wrong)
