import copyreg
import os
import pickle
import struct
import tracemalloc

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from scantling.detectors import detectron_pickle, weights
from scantling.detectors.detectron_pickle import Refused
from scantling.stage import BadInput
from tests.detectors.caffe import python2_pickle

RNG = np.random.default_rng(0)
SMALL = {"conv1_w": RNG.standard_normal((4, 3, 7, 7)).astype("f4"), "res_conv1_bn_s": np.linspace(0, 1, 4, dtype="f4")}


def read(tmp_path, content):
    path = tmp_path / "w.pkl"
    path.write_bytes(content)
    return detectron_pickle.read(path)


def assert_same(found, blobs):
    assert list(found) == list(blobs)
    for name, array in blobs.items():
        assert found[name].dtype == array.dtype and np.array_equal(found[name], array)


@pytest.mark.parametrize("protocol", range(6))
def test_arrays_of_every_protocol(tmp_path, protocol):
    assert_same(read(tmp_path, pickle.dumps(SMALL, protocol=protocol)), SMALL)


@pytest.mark.parametrize("protocol", [0, 2])
def test_arrays_that_python_2_wrote(tmp_path, protocol):
    content = python2_pickle(SMALL, protocol)
    assert_same(pickle.loads(content, encoding="latin1"), SMALL)  # it is what it says
    assert_same(read(tmp_path, content), SMALL)


@pytest.mark.parametrize("kind", ["<f2", ">f4", "<f8", "<i8", "|u1"])
@pytest.mark.parametrize("protocol", [2, 4])
def test_numbers_of_every_kind_and_order(tmp_path, kind, protocol):
    blobs = {"a": np.arange(6).reshape(2, 3).astype(kind), "b": np.asfortranarray(np.arange(6.0).reshape(2, 3))}
    found = read(tmp_path, pickle.dumps({**blobs, "scalar": np.array(3)}, protocol=protocol))
    assert found.pop("scalar") == 3
    assert_same(found, blobs)


def test_what_surrounds_the_arrays_of_published_files_is_read(tmp_path):
    content = {"model": dict(SMALL), "__author__": "torchvision", "matching_heuristics": True, "lr": 0.1, "n": [1, 2]}
    found = read(tmp_path, pickle.dumps(content))
    assert_same(found.pop("model"), SMALL)
    assert found == {k: v for k, v in content.items() if k != "model"}


class Bomb:
    def __init__(self, function, *arguments):
        self.call = (function, arguments)

    def __reduce__(self):
        return self.call


def boom(*_):
    raise AssertionError("the file was executed")


BOMBS = {
    "os.system": Bomb(os.system, "touch executed"),
    "eval": Bomb(eval, "open('executed', 'w')"),
    "exec": Bomb(exec, "open('executed', 'w')"),
    "getattr": Bomb(getattr, "", "join"),
    "own function": Bomb(boom),
    "nested": {"model": {"a": [({"deep": Bomb(os.system, "touch executed")},)]}},
    "in an array": {"a": np.array([Bomb(os.system, "touch executed")], dtype=object)},
    "numpy's own loader": Bomb(np.load, "executed"),
    "codecs": Bomb(copyreg._reconstructor, dict, object, None),
}


@pytest.mark.parametrize("protocol", [0, 2, 4, 5])
@pytest.mark.parametrize("name", BOMBS)
def test_nothing_is_executed(tmp_path, monkeypatch, name, protocol):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(Refused, match="which named arrays do not need|arrays of numbers are expected"):
        read(tmp_path, pickle.dumps(BOMBS[name], protocol=protocol))
    assert not (tmp_path / "executed").exists()


RECONSTRUCT = b"cnumpy.core.multiarray\n_reconstruct\n"
HARMFUL = {
    "encode with another codec": b"c_codecs\nencode\n(X\x01\x00\x00\x00aX\x03\x00\x00\x00zipt\x52.",
    "encode of no text": b"c_codecs\nencode\n(K\x01X\x06\x00\x00\x00latin1tR.",
    "array of another type": RECONSTRUCT + b"(cnumpy\ndtype\n(K\x00tU\x01btR.",
    "array type called": b"cnumpy\nndarray\n((J\xff\xff\xff\x7fttR.",
    "state of a name": RECONSTRUCT + b"(N}tb.",
    "call of a number": b"K\x01)R.",
    "persistent object": b"Pexecuted\n.",
    "extension": b"\x82\x01.",
    "instance": b"(ios\nsystem\n.",
    "new object": b"cos\nsystem\n)\x81.",
    "name with a space": b"cos system\nx y\n.",
    "structured numbers": b"cnumpy\ndtype\n(U\x02V8K\x00K\x01tR.",
    "unknown operation": b"\xff.",
    "no names": b"K\x01.",
    "a list": b"].",
    "unhashable key": b"}]K\x01s.",
    "tuple as key": b"})K\x01s.",
    "nothing on the stack": b".",
    "no mark": b"K\x01t.",
    "no such memo": b"h\x07.",
    "odd items": b"}(K\x01K\x02K\x03u.",
    "empty": b"",
    "no pickle": b"not a pickle at all",
}


@pytest.mark.parametrize("name", HARMFUL)
def test_what_arrays_do_not_need_is_refused(tmp_path, name):
    with pytest.raises(Refused):
        read(tmp_path, HARMFUL[name])


def array_of(shape, content, dtype=b"f4"):
    """A hand-made pickle of {"a": array} that claims `shape`."""
    numbers = b"".join(b"\x8a\x08" + struct.pack("<q", n) for n in shape)
    made = b"cnumpy\ndtype\n(U\x02" + dtype + b"K\x00K\x01tR(K\x03U\x01<NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb"
    data = b"B" + struct.pack("<I", len(content)) + content
    return RECONSTRUCT + b"(cnumpy\nndarray\n(K\x00tU\x01btR(K\x01(" + numbers + b"t" + made + b"\x89" + data + b"tb"


def test_the_hand_made_array_is_a_good_one(tmp_path):
    content = b"\x80\x02}U\x01a" + array_of((2, 1), b"\0\0\x80?" * 2) + b"s."
    assert_same(pickle.loads(content, encoding="latin1"), {"a": np.ones((2, 1), "f4")})
    assert_same(read(tmp_path, content), {"a": np.ones((2, 1), "f4")})


@pytest.mark.parametrize(
    "array",
    [
        array_of((2**40,), b"\0" * 8),
        array_of((2**31, 2**31, 2**31), b""),
        array_of((0, 2**60), b""),
        array_of((-1, -2), b"\0" * 8),
        array_of((1,) * 40, b"\0" * 4),
        array_of((2,), b"\0" * 8, b"O8"),
        array_of((2,), b"\0" * 7),
        b"B\xff\xff\xff\x7fabc",  # two GB of bytes announced, three there
        b"\x8e" + struct.pack("<Q", 2**62) + b"abc",
        b"\x8e" + struct.pack("<Q", 2**64 - 1) + b"abc",
        b"\x96" + struct.pack("<Q", 2**40) + b"abc",
        b"T\xff\xff\xff\x7fabc",
        b"T\xff\xff\xff\xffabc",
        b"X\xff\xff\xff\x7fabc",
        b"\x8b\xff\xff\xff\x7fabc",
        b"K\x01r\xff\xff\xff\x7f" * 3,  # a memo of two billion places for unpicklers that keep a list
    ],
)
def test_a_small_file_never_makes_a_large_allocation(tmp_path, array):
    tracemalloc.start()
    try:
        read(tmp_path, b"}U\x01a" + array + b"s.")
    except Refused:
        pass
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 5_000_000


def test_many_names_for_the_same_bytes_are_refused(tmp_path):
    once = b"B" + struct.pack("<I", 4000) + b"\0" * 4000 + b"q\x00"
    first, rest = array_of((1000,), b"\0" * 4000).replace(once[:-2], once), array_of((1000,), b"\0" * 4000)
    rest = rest.replace(once[:-2], b"h\x00")
    content = b"}(" + b"U\x01a" + first + b"".join(b"U\x01" + bytes([98 + i]) + rest for i in range(20)) + b"u."
    assert len(content) < 10_000
    with pytest.raises(Refused, match="its arrays would be larger than the file"):
        read(tmp_path, content)


def test_endless_and_nested_things_end_soon(tmp_path):
    doubling = b"]" + b"q\x00h\x00\x86" * 200  # 2**200 leaves if anything walked over them
    assert "a" in read(tmp_path, b"}U\x01a" + doubling + b"s.")
    with pytest.raises(Refused, match="has tuple where str belongs"):
        read(tmp_path, b"}" + doubling + b"K\x01s.")  # their hash would never be ready
    assert "a" in read(tmp_path, b"}q\x00U\x01ah\x00s.")  # holds itself
    wide = b"}q\x00(" + b"".join(b"X\x06\0\0\0%06dN" % i for i in range(100_000)) + b"u"
    names = b"".join(b"X\x06\0\0\0%06dh\x00" % i for i in range(50_000))
    assert len(read(tmp_path, wide + b"}(" + names + b"u.")) == 50_000  # one dictionary everywhere
    assert "a" in read(tmp_path, b"}U\x01a" + b"(" * 100_000 + b"l" * 100_000 + b"s.")  # as deep as that
    with pytest.raises(Refused, match="more than 500000 steps"):
        read(tmp_path, b"N" * 600_000)


def test_files_beyond_all_sizes_are_not_even_opened(tmp_path):
    path = tmp_path / "large.pkl"
    with path.open("wb") as file:
        file.truncate(3 * 2**30)  # takes no place on the disk
    with pytest.raises(Refused, match="3.0 GiB are more than the 2 GiB"):
        detectron_pickle.read(path)


@given(cut=st.integers(0, 3000), protocol=st.sampled_from([0, 2, 4, 5]))
@settings(max_examples=60, deadline=None)
def test_truncated_files_are_refused(tmp_path_factory, cut, protocol):
    content = pickle.dumps(SMALL, protocol=protocol)
    with pytest.raises(Refused):
        read(tmp_path_factory.mktemp("cut"), content[: min(cut, len(content) - 1)])


@given(
    st.lists(st.tuples(st.integers(0, 400), st.integers(0, 255)), min_size=1, max_size=4), st.sampled_from([0, 2, 4])
)
@settings(max_examples=150, deadline=None)
def test_damaged_files_are_read_or_refused(tmp_path_factory, changes, protocol):
    content = bytearray(pickle.dumps(SMALL, protocol=protocol))
    for place, value in changes:
        content[place] = value
    try:
        found = read(tmp_path_factory.mktemp("damaged"), bytes(content))
    except Refused as error:
        assert len(str(error)) < 200
    else:
        assert all(isinstance(k, str) for k in found)


def test_a_file_that_cannot_be_used_is_bad_input_with_what_belongs_there(tmp_path):
    (tmp_path / "R-50.pkl").write_bytes(pickle.dumps(BOMBS["os.system"]))
    with pytest.raises(
        BadInput, match=r"R-50.pkl: not a readable weights file \(asks for `posix.system`.*; expected X"
    ):
        weights.read_pickle(tmp_path / "R-50.pkl", "X")
    with pytest.raises(BadInput, match="none.pkl: there is no such weights file; expected X"):
        weights.read_pickle(tmp_path / "none.pkl", "X")
