"""A machine for the pickles of PyTorch's checkpoints that cannot run anything else.

A pickle is a program. This machine knows the opcodes that a saved state dict needs, and of the
callables that a pickle may name only those below, none of which it calls: it notes what they would
have made. So a file can ask for nothing but tensors.
"""

from __future__ import annotations

import io
import pickle as op
import struct
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from facekeep._internal.files import printable

__all__ = ["Storage", "StoredTensor", "Unreadable", "parse"]

_DTYPES = {
    "torch FloatStorage": "float32",
    "torch HalfStorage": "float16",
    "torch BFloat16Storage": "bfloat16",
    "torch DoubleStorage": "float64",
    "torch LongStorage": "int64",
    "torch QInt8Storage": "int8",
}
_MARKERS = ("torch per_tensor_affine", "torch qint8")
_CONSTANTS = {op.NONE: None, op.NEWTRUE: True, op.NEWFALSE: False, op.EMPTY_TUPLE: ()}
_LITERALS = (op.BININT, op.BININT1, op.BININT2, op.LONG1, op.BINFLOAT, op.BINUNICODE)
_PUTS, _GETS = (op.BINPUT, op.LONG_BINPUT), (op.BINGET, op.LONG_BINGET)
_TUPLES = {op.TUPLE1: 1, op.TUPLE2: 2, op.TUPLE3: 3}
_FORMATS = {
    op.PROTO: "<B",
    op.BININT: "<i",
    op.BININT1: "<B",
    op.BININT2: "<H",
    op.BINFLOAT: ">d",
    op.BINPUT: "<B",
    op.LONG_BINPUT: "<I",
    op.BINGET: "<B",
    op.LONG_BINGET: "<I",
}
_MOST_AXES = 8
_MOST_NUMBERS = 1 << 48
_DAMAGED = "its list of tensors is damaged"
_INT8 = range(-128, 128)


class Unreadable(Exception):
    """A file is damaged, or asks for more than tensors; the message says what is wrong with it."""


@dataclass(frozen=True)
class Storage:
    """Numbers that lie in a file of their own: its key, their dtype and how many they are."""

    key: str
    dtype: str
    count: int


@dataclass(frozen=True)
class StoredTensor:
    """A view of a storage; with a scale, its values are ``(number - zero_point) * scale``."""

    storage: Storage
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]
    scale: float | None = None
    zero_point: int = 0


@dataclass(frozen=True)
class _Name:
    """What the pickle named: a callable, a storage type or a marker."""

    text: str


def parse(pickle: bytes) -> dict[str, Any]:
    """Return the dictionary a pickle describes: names to ``StoredTensor``, tuples of them, or else.

    Raises:
        Unreadable: It is damaged, or asks for more than tensors.
    """
    machine = _Machine()
    try:
        for opcode, argument in _opcodes(io.BytesIO(pickle)):
            machine.step(opcode, argument)
        (result,) = machine.stack
    except (AttributeError, LookupError, TypeError, ValueError, struct.error) as error:
        raise Unreadable(_DAMAGED) from error
    if not isinstance(result, dict):
        raise Unreadable("it holds no dictionary of tensors")
    return result


def _opcodes(stream: io.BytesIO) -> Iterator[tuple[bytes, Any]]:
    """Give the opcodes up to the last, each with its argument."""
    while (opcode := stream.read(1)) != op.STOP:
        if not opcode:
            raise Unreadable(_DAMAGED)
        yield opcode, _argument(opcode, stream)


def _argument(opcode: bytes, stream: io.BytesIO) -> Any:
    if opcode in _FORMATS:
        return _number(_FORMATS[opcode], stream)
    if opcode == op.LONG1:
        return int.from_bytes(stream.read(_number("<B", stream)), "little", signed=True)
    if opcode == op.BINUNICODE:
        return stream.read(_number("<I", stream)).decode()
    if opcode == op.GLOBAL:
        module, name = stream.readline(), stream.readline()
        return f"{module.decode().rstrip()} {name.decode().rstrip()}"
    return None


def _number(form: str, stream: io.BytesIO) -> Any:
    return struct.unpack(form, stream.read(struct.calcsize(form)))[0]


class _Machine:
    """The stack, the marks and the memo of pickle; wrong programs raise."""

    def __init__(self) -> None:
        self.stack: list[Any] = []
        self._marks: list[list[Any]] = []
        self._memo: dict[int, Any] = {}

    def step(self, opcode: bytes, argument: Any) -> None:
        """Do one opcode."""
        if opcode in _CONSTANTS:
            self.stack.append(_CONSTANTS[opcode])
        elif opcode in _LITERALS:
            self.stack.append(argument)
        elif opcode in _PUTS:
            self._memo[argument] = self.stack[-1]
        elif opcode in _GETS:
            self.stack.append(self._memo[argument])
        elif opcode in _TUPLES:
            self._tuple(_TUPLES[opcode])
        elif opcode == op.GLOBAL:
            self.stack.append(_known(argument))
        elif opcode != op.PROTO:
            self._act(opcode)

    def _act(self, opcode: bytes) -> None:
        actions: dict[bytes, Callable[[], None]] = {
            op.MARK: self._mark,
            op.TUPLE: self._marked_tuple,
            op.EMPTY_DICT: lambda: self.stack.append({}),
            op.SETITEM: self._set_item,
            op.SETITEMS: self._set_items,
            op.BINPERSID: self._storage,
            op.REDUCE: self._reduce,
            op.BUILD: self._build,
        }
        if opcode not in actions:
            raise Unreadable(f"it uses the pickle opcode {opcode!r}, which no state dict needs")
        actions[opcode]()

    def _mark(self) -> None:
        self._marks.append(self.stack)
        self.stack = []

    def _since_mark(self) -> list[Any]:
        items, self.stack = self.stack, self._marks.pop()
        return items

    def _tuple(self, count: int) -> None:
        items = [self.stack.pop() for _ in range(count)]
        self.stack.append(tuple(reversed(items)))

    def _marked_tuple(self) -> None:
        items = self._since_mark()
        self.stack.append(tuple(items))

    def _set_item(self) -> None:
        value, key = self.stack.pop(), self.stack.pop()
        self._fill([key, value])

    def _set_items(self) -> None:
        self._fill(self._since_mark())

    def _fill(self, items: list[Any]) -> None:
        target = self.stack[-1]
        keys, values = items[::2], items[1::2]
        if not isinstance(target, dict) or not all(isinstance(key, str) for key in keys):
            raise Unreadable("it holds no dictionary of named tensors")
        target.update(zip(keys, values, strict=True))

    def _storage(self) -> None:
        kind, dtype, key, _place, count = self.stack.pop()
        if kind != "storage" or not isinstance(key, str) or not _whole(count):
            raise Unreadable(_DAMAGED)
        self.stack.append(Storage(key, _DTYPES[dtype.text], count))

    def _reduce(self) -> None:
        arguments, called = self.stack.pop(), self.stack.pop()
        self.stack.append(_CALLS[called.text](*arguments))

    def _build(self) -> None:
        """Drop what PyTorch notes beside a state dict: the versions of its modules."""
        self.stack.pop()
        if not isinstance(self.stack[-1], dict):
            raise Unreadable(_DAMAGED)


def _known(name: str) -> _Name:
    if name not in _CALLS and name not in _DTYPES and name not in _MARKERS:
        asked = printable(name.replace(" ", "."))[:80]
        raise Unreadable(f"it asks for {asked}, which is no tensor; nothing was run")
    return _Name(name)


def _whole(*numbers: Any) -> bool:
    return all(type(number) is int and 0 <= number < _MOST_NUMBERS for number in numbers)


def _nothing_yet() -> dict[str, Any]:
    return {}  # filled item by item; of pairs it could have keys that are no names


def _tensor(
    storage: Any, offset: Any, shape: Any, strides: Any, *_: Any, scale: Any = None, zero: Any = 0
) -> StoredTensor:
    sound = isinstance(storage, Storage) and _whole(offset, *shape, *strides)
    if not sound or len(shape) != len(strides) or len(shape) > _MOST_AXES:
        raise Unreadable(_DAMAGED)
    return StoredTensor(storage, offset, tuple(shape), tuple(strides), scale, zero)


def _quantised(
    storage: Any, offset: Any, shape: Any, strides: Any, scheme: Any, *_: Any
) -> StoredTensor:
    kind, scale, zero = scheme
    known = kind == _Name("torch per_tensor_affine") and type(scale) is float
    if not known or type(zero) is not int or zero not in _INT8:
        raise Unreadable("a tensor is quantised in no known way")
    return _tensor(storage, offset, shape, strides, scale=scale, zero=zero)


_CALLS: dict[str, Callable[..., Any]] = {
    "collections OrderedDict": _nothing_yet,
    "torch._utils _rebuild_tensor_v2": _tensor,
    "torch._utils _rebuild_parameter": lambda tensor, *_: tensor,
    "torch._utils _rebuild_qtensor": _quantised,
}
