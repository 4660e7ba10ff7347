"""Arrays out of a Python pickle without unpickling it.

A small interpreter of the pickle operations that hold plain data. A name in the file is compared with the few that
NumPy's own arrays need and stands for a step written here; nothing is imported, looked up or called, so there is
nothing that a file could execute. Whatever else it asks for is refused.
"""

from __future__ import annotations

import codecs
import io
import math
import pickletools
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

MAX_BYTES = 2 * 2**30  # X-101-32x8d.pkl has 0.36 GB
MAX_OPERATIONS = 500_000  # R-101.pkl needs some 20,000
MAX_DIMENSIONS = 8
NUMBERS = {"f2", "f4", "f8", "i1", "i2", "i4", "i8", "u1", "u2", "u4", "u8"}


class Refused(ValueError):
    """Not a pickle of named arrays; the text says why."""


class Name(Enum):
    """What a name in the file stands for."""

    RECONSTRUCT = "an empty array, filled by the next step"
    FROM_BUFFER = "an array of given bytes (protocol 5)"
    ARRAY = "the type of arrays"
    DTYPE = "the type of an array's numbers"
    ENCODE = "text that stands for bytes (protocols 0 to 2, written by Python 3)"


NAMES = {
    ("numpy.core.multiarray", "_reconstruct"): Name.RECONSTRUCT,
    ("numpy._core.multiarray", "_reconstruct"): Name.RECONSTRUCT,
    ("numpy.core.numeric", "_frombuffer"): Name.FROM_BUFFER,
    ("numpy._core.numeric", "_frombuffer"): Name.FROM_BUFFER,
    ("numpy", "ndarray"): Name.ARRAY,
    ("numpy", "dtype"): Name.DTYPE,
    ("_codecs", "encode"): Name.ENCODE,
}
OPERATIONS = {operation.code: operation for operation in pickletools.opcodes}
# Operations that only put their argument on the stack.
VALUES = {"INT", "BININT", "BININT1", "BININT2", "LONG", "LONG1", "FLOAT", "BINFLOAT"}
TEXTS = {"UNICODE", "BINUNICODE", "SHORT_BINUNICODE", "BINUNICODE8"}
BYTES = {"BINBYTES", "SHORT_BINBYTES", "BINBYTES8", "BYTEARRAY8"}


@dataclass(eq=False)
class Dtype:
    code: str  # one of NUMBERS
    order: str = "<"

    @property
    def numpy(self) -> np.dtype:
        return np.dtype(self.order + self.code)


@dataclass(eq=False)
class Array:
    value: np.ndarray | None = None


def read(path: Path) -> dict[str, Any]:
    """The named values of a pickled dictionary: arrays (read-only), numbers, texts, dictionaries, lists.

    Raises Refused if the file is anything else or claims to be larger than it is.
    """
    size = path.stat().st_size
    if size > MAX_BYTES:
        raise Refused(f"{size / 2**30:.1f} GiB are more than the {MAX_BYTES // 2**30} GiB that such files can have")
    interpreter = _Interpreter(io.BytesIO(path.read_bytes()))
    try:
        result = interpreter.run()
    except (IndexError, KeyError, TypeError, OverflowError) as error:
        raise Refused(f"its steps do not fit together: {type(error).__name__}") from None
    except Refused:
        raise
    except ValueError as error:
        raise Refused(f"damaged: {str(error)[:80]}") from None
    if not isinstance(result, dict):
        raise Refused(f"holds no dictionary of names but {_kind(result)}")
    if interpreter.array_bytes > size:  # the same bytes under many names: small here, huge once copied
        raise Refused("its arrays would be larger than the file")
    return _plain(result)


class _Interpreter:
    def __init__(self, stream: BinaryIO):
        self.stream = stream
        self.stack: list[Any] = []
        self.outer: list[list[Any]] = []  # stacks below the open marks
        self.memo: dict[int, Any] = {}
        self.array_bytes = 0

    def run(self) -> Any:
        for _ in range(MAX_OPERATIONS):
            code = self.stream.read(1)
            operation = OPERATIONS.get(code.decode("latin-1")) if code else None
            if operation is None:
                raise Refused("no pickle, or a truncated one")
            if operation.name == "STOP":
                return self.stack.pop()
            self.step(operation.name, self.argument(operation))
        raise Refused(f"more than {MAX_OPERATIONS} steps")

    def argument(self, operation: Any) -> Any:
        """Read the argument that follows in the file; texts of Python 2 come as bytes, which they may hold."""
        match operation.name:
            case "STRING":
                return codecs.escape_decode(pickletools.read_stringnl(self.stream, decode=False))[0]
            case "BINSTRING":
                return self.exactly(pickletools.read_int4(self.stream))
            case "SHORT_BINSTRING":
                return self.exactly(pickletools.read_uint1(self.stream))
            case _:
                return None if operation.arg is None else operation.arg.reader(self.stream)

    def exactly(self, count: int) -> bytes:
        content = self.stream.read(count) if count >= 0 else b""
        if count < 0 or len(content) < count:
            raise Refused("no pickle, or a truncated one")
        return content

    def step(self, name: str, argument: Any) -> None:
        stack = self.stack
        match name:
            case "PROTO" | "FRAME":
                pass
            case "NONE" | "NEWTRUE" | "NEWFALSE":
                stack.append({"NONE": None, "NEWTRUE": True, "NEWFALSE": False}[name])
            case "STRING" | "BINSTRING" | "SHORT_BINSTRING":
                stack.append(argument)
            case _ if name in VALUES or name in TEXTS or name in BYTES:
                stack.append(argument)
            case "MARK":
                self.outer.append(stack)
                self.stack = []
            case "EMPTY_TUPLE" | "EMPTY_LIST" | "EMPTY_DICT":
                stack.append({"EMPTY_TUPLE": (), "EMPTY_LIST": [], "EMPTY_DICT": {}}[name])
            case "TUPLE1" | "TUPLE2" | "TUPLE3":
                count = int(name[-1])
                items = [stack.pop() for _ in range(count)]
                stack.append(tuple(reversed(items)))
            case "TUPLE" | "LIST" | "DICT":
                items = self.since_mark()
                made = {"TUPLE": tuple, "LIST": list, "DICT": _dictionary}[name](items)
                self.stack.append(made)
            case "APPEND" | "APPENDS":
                items = [stack.pop()] if name == "APPEND" else self.since_mark()
                _expect(self.stack[-1], list).extend(items)
            case "SETITEM" | "SETITEMS":
                items = [stack.pop(), stack.pop()][::-1] if name == "SETITEM" else self.since_mark()
                _expect(self.stack[-1], dict).update(_dictionary(items))
            case "PUT" | "BINPUT" | "LONG_BINPUT":
                self.memo[argument] = stack[-1]
            case "MEMOIZE":
                self.memo[len(self.memo)] = stack[-1]
            case "GET" | "BINGET" | "LONG_BINGET":
                stack.append(self.memo[argument])
            case "GLOBAL":
                stack.append(_named(*argument.split(" ")))
            case "STACK_GLOBAL":
                last, module = stack.pop(), stack.pop()
                stack.append(_named(_text(module), _text(last)))
            case "REDUCE":
                arguments = _expect(stack.pop(), tuple)
                stack.append(self.make(stack.pop(), arguments))
            case "BUILD":
                state = _expect(stack.pop(), tuple)
                self.fill(stack[-1], state)
            case _:
                raise Refused(f"asks for the operation {name}, which named arrays do not need")

    def since_mark(self) -> list[Any]:
        items, self.stack = self.stack, self.outer.pop()
        return items

    def make(self, name: Any, arguments: tuple[Any, ...]) -> Any:
        match name, arguments:
            case Name.RECONSTRUCT, (Name.ARRAY, *_):
                return Array()
            case Name.FROM_BUFFER, (content, Dtype() as dtype, shape, order):
                return Array(self.array(content, dtype, shape, fortran=_text(order) == "F"))
            case Name.DTYPE, (code, *_):
                if _text(code) not in NUMBERS:
                    raise Refused(f"arrays of numbers are expected, not of `{_text(code)[:20]}`")
                return Dtype(_text(code))
            case Name.ENCODE, (str() as text, encoding) if _text(encoding) in ("latin1", "latin-1"):
                return text.encode("latin-1")
            case Name(), _:
                raise Refused(f"calls {name.name} in a way that arrays do not need")
        raise Refused("calls something that is not a name")

    def fill(self, made: Any, state: tuple[Any, ...]) -> None:
        match made, state:
            case Dtype(), (_, order, None, None, None, *_) if _text(order) in ("<", ">", "|", "="):
                made.order = _text(order)
            case Array(), (_, shape, Dtype() as dtype, fortran, content):
                made.value = self.array(content, dtype, shape, fortran=bool(fortran))
            case _:
                raise Refused(f"sets the state of {_kind(made)}, which named arrays do not need")

    def array(self, content: Any, dtype: Dtype, shape: Any, *, fortran: bool) -> np.ndarray:
        """An array that shares `content`; its shape is checked against the bytes before anything is made of it."""
        if not isinstance(content, bytes | bytearray) or not isinstance(shape, tuple) or len(shape) > MAX_DIMENSIONS:
            raise Refused("an array without bytes or shape")
        if not all(type(n) is int and n > 0 for n in shape):
            raise Refused("an array of an impossible shape")
        if math.prod(shape) * dtype.numpy.itemsize != len(content):
            raise Refused(f"an array of shape {shape} that does not fit its {len(content)} bytes")
        self.array_bytes += len(content)
        return np.frombuffer(content, dtype.numpy).reshape(shape, order="F" if fortran else "C")


def _named(module: str, name: str) -> Name:
    if (module, name) not in NAMES:
        raise Refused(f"asks for `{module[:40]}.{name[:40]}`, which named arrays do not need")
    return NAMES[module, name]


def _dictionary(items: list[Any]) -> dict[Any, Any]:
    # Only texts are keys: the hash of a nested tuple can take for ever.
    return {_text(k): v for k, v in zip(items[::2], items[1::2], strict=True)}


def _text(value: Any) -> str:
    return value.decode("latin-1") if isinstance(value, bytes) else _expect(value, str)


def _expect(value: Any, kind: type) -> Any:
    if not isinstance(value, kind):
        raise Refused(f"has {_kind(value)} where {kind.__name__} belongs")
    return value


def _kind(value: Any) -> str:
    return type(value).__name__


def _plain(found: dict[str, Any]) -> dict[str, Any]:
    """The dictionary, and the dictionaries directly in it, with arrays for Array; changed in place, each one once."""
    inner = {id(v): v for v in found.values() if isinstance(v, dict)}
    for dictionary in (*inner.values(), found):
        for name, value in dictionary.items():
            if isinstance(value, Array):
                dictionary[name] = value.value
    return found
