"""Reading data from a pickle without running anything that it names.

Python's own unpickler calls what the file tells it to call, and sets aside as much memory as the
file tells it to. This one keeps a stack and a memo, knows lists, tuples, bytes, text, whole
numbers, truth values and arrays of uint8 or bool, and looks every name up among a few functions of
its own. It reads protocols 0 to 5, of Python 2 and 3, and refuses everything else.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

__all__ = ["Array", "read_pickle"]

_DAMAGED = "it is damaged"
_CUT = "it is cut short"
_MARK = object()
_MOST_AXES = 4
_STRING = re.compile(rb"(['\"])((?:[^\\]|\\(?:[\\'\"nrt]|x[0-9a-f]{2}))*)\1")
_ESCAPE = re.compile(rb"\\(x..|.)", re.DOTALL)
_ESCAPED = {b"n": b"\n", b"r": b"\r", b"t": b"\t"}


@dataclass(slots=True)
class Array:
    """Stands for a numpy array of uint8 or bool, one byte a value; they follow it in the file."""

    content: bytes = b""
    shape: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class _Type:
    """Stands for a numpy dtype of one byte."""


def read_pickle(content: bytes) -> Any:
    """Return what a pickle holds: builtin objects, and ``Array``.

    Raises:
        ValueError: It is cut short, damaged, or holds or asks for anything else.
    """
    return _Machine(content).run()


class _Machine:
    """Carries out the operations of a pickle that are harmless."""

    def __init__(self, content: bytes) -> None:
        self._content = content
        self._at = 0
        self._room = len(content)
        self._stack: list[Any] = []
        self._memo: dict[int, Any] = {}

    def run(self) -> Any:
        """Carry out one operation after the other up to the end mark."""
        while (code := self.take(1)) != b".":
            if code in _SIZED:
                width, decode = _SIZED[code]
                self.push(decode(self.take(self.number(width))))
            elif code in _STEPS:
                _STEPS[code](self)
            else:
                raise ValueError(f"it holds what no pack needs (operation {code[0]:#04x})")
        return self.pop()

    def take(self, count: int) -> bytes:
        """Read so many bytes."""
        part = self._content[self._at : self._at + count]
        if len(part) < count:
            raise ValueError(_CUT)
        self._at += count
        return part

    def line(self) -> bytes:
        """Read up to the end of a line."""
        end = self._content.find(b"\n", self._at)
        if end < 0:
            raise ValueError(_CUT)
        line = self._content[self._at : end]
        self._at = end + 1
        return line

    def number(self, width: int) -> int:
        """Read a whole number of so many bytes."""
        return int.from_bytes(self.take(width), "little")

    def decimal(self) -> int | bool:
        """Read a line with a number, or with a truth value as Python 2 writes it."""
        line = self.line()
        if line in (b"00", b"01"):
            return line == b"01"
        if not line.removeprefix(b"-").isdigit() or len(line) > 18:
            raise ValueError(_DAMAGED)
        return int(line)

    def push(self, item: Any) -> None:
        """Put something on the stack."""
        self._stack.append(item)

    def pop(self) -> Any:
        """Take the last thing from the stack."""
        if not self._stack or self._stack[-1] is _MARK:
            raise ValueError(_DAMAGED)
        return self._stack.pop()

    def pop_to_mark(self) -> list[Any]:
        """Take what was put on the stack since the last mark."""
        for at in range(len(self._stack) - 1, -1, -1):
            if self._stack[at] is _MARK:
                items = self._stack[at + 1 :]
                del self._stack[at:]
                return items
        raise ValueError(_DAMAGED)

    def collect(self, length: int) -> None:
        """Make a tuple of the last things."""
        self.push(tuple([self.pop() for _ in range(length)][::-1]))

    def extend(self, items: list[Any]) -> None:
        """Add to the list on the stack."""
        into = self.pop()
        if not isinstance(into, list):
            raise ValueError(_DAMAGED)
        into.extend(items)
        self.push(into)

    def put(self, place: int | None = None) -> None:
        """Remember the last thing, by default at the next free place."""
        item = self.pop()
        self.push(item)
        self._memo[len(self._memo) if place is None else place] = item

    def get(self, place: int) -> None:
        """Put something remembered on the stack."""
        if place not in self._memo:
            raise ValueError(_DAMAGED)
        self.push(self._memo[place])

    def look_up(self, module: Any, name: Any) -> None:
        """Put on the stack what a name leads to: one of our own functions."""
        wanted = f"{_text(module)}.{_text(name)}".replace("numpy._core.", "numpy.core.")
        if wanted not in _KNOWN:
            raise ValueError(f"it asks for {wanted[:60]}, which no pack needs; nothing was run")
        self.push(_KNOWN[wanted])

    def call(self) -> None:
        """Call one of our own functions."""
        arguments, function = self.pop(), self.pop()
        if not isinstance(arguments, tuple) or not any(function is f for f in _KNOWN.values()):
            raise ValueError(_DAMAGED)
        try:
            made = function(*arguments)
        except TypeError as error:
            raise ValueError(_DAMAGED) from error
        # A text that is remembered may be encoded time and again; all together are in the file.
        self._room -= len(made) if isinstance(made, bytes) else 0
        if self._room < 0:
            raise ValueError(_DAMAGED)
        self.push(made)

    def build(self) -> None:
        """Give an array its values; a type of one byte needs no more than its name."""
        state, built = self.pop(), self.pop()
        if isinstance(built, Array) and isinstance(state, tuple) and len(state) == 5:
            _fill(built, state[4], state[2], state[1])
        elif not isinstance(built, _Type):
            raise ValueError(_DAMAGED)
        self.push(built)

    def string(self) -> bytes:
        """Read the text of Python 2, as it stands in source code."""
        quoted = _STRING.fullmatch(self.line())
        if quoted is None:
            raise ValueError(_DAMAGED)
        return _ESCAPE.sub(_unescaped, quoted[2])


def _unescaped(match: re.Match[bytes]) -> bytes:
    escape = match[1]
    return bytes.fromhex(escape[1:].decode()) if len(escape) == 3 else _ESCAPED.get(escape, escape)


def _text(value: Any) -> str:
    if isinstance(value, bytes):
        return value.decode("latin-1")
    if not isinstance(value, str):
        raise ValueError(_DAMAGED)
    return value


def _signed(content: bytes) -> int:
    return int.from_bytes(content, "little", signed=True)


# What the names in a pickle lead to


def _bytes() -> bytes:
    return (
        b""  # Python 3 writes these so into old protocols, and others as text that stands for them
    )


def _encoded(text: Any, encoding: Any) -> bytes:
    if not isinstance(text, str) or encoding != "latin1":
        raise ValueError(_DAMAGED)
    return text.encode("latin-1")


def _type(code: Any, *_: Any) -> _Type:
    name = _text(code)
    if name not in ("u1", "b1"):
        raise ValueError(f"it holds values of type {name[:20]!r}; a pack has uint8 and bool")
    return _Type()


def _unfilled(*_: Any) -> Array:
    return Array()


def _scalar(dtype: Any, content: Any) -> int:
    return _from_buffer(content, dtype, (1,)).content[0]


def _from_buffer(content: Any, dtype: Any, shape: Any, *_: Any) -> Array:
    array = Array()
    _fill(array, content, dtype, shape)
    return array


def _fill(array: Array, content: Any, dtype: Any, shape: Any) -> None:
    if not (
        isinstance(content, bytes)
        and isinstance(dtype, _Type)
        and isinstance(shape, tuple)
        and len(shape) <= _MOST_AXES
        and all(type(size) is int and size >= 0 for size in shape)
        and math.prod(shape) == len(content)
    ):
        raise ValueError(_DAMAGED)
    array.content, array.shape = content, shape


_KNOWN: dict[str, Callable[..., Any]] = {
    "__builtin__.bytes": _bytes,
    "builtins.bytes": _bytes,
    "_codecs.encode": _encoded,
    "numpy.ndarray": _unfilled,
    "numpy.dtype": _type,
    "numpy.core.multiarray._reconstruct": _unfilled,
    "numpy.core.multiarray.scalar": _scalar,
    "numpy.core.numeric._frombuffer": _from_buffer,
}

# Operations that are followed by a length, of so many bytes, and by content.
_SIZED: dict[bytes, tuple[int, Callable[[bytes], Any]]] = {
    b"U": (1, bytes),
    b"T": (4, bytes),
    b"C": (1, bytes),
    b"B": (4, bytes),
    b"\x8e": (8, bytes),
    b"\x96": (8, bytes),
    b"\x8c": (1, bytes.decode),
    b"X": (4, bytes.decode),
    b"\x8d": (8, bytes.decode),
    b"\x8a": (1, _signed),
}

_STEPS: dict[bytes, Callable[[_Machine], object]] = {
    b"\x80": lambda m: m.take(1),  # which protocol it is
    b"\x95": lambda m: m.take(8),  # how long the next part is
    b"(": lambda m: m.push(_MARK),
    b"N": lambda m: m.push(None),
    b"\x88": lambda m: m.push(True),
    b"\x89": lambda m: m.push(False),
    b"I": lambda m: m.push(m.decimal()),
    b"K": lambda m: m.push(m.number(1)),
    b"M": lambda m: m.push(m.number(2)),
    b"J": lambda m: m.push(_signed(m.take(4))),
    b"S": lambda m: m.push(m.string()),
    b"V": lambda m: m.push(m.line().decode("raw-unicode-escape")),
    b"]": lambda m: m.push([]),
    b")": lambda m: m.push(()),
    b"l": lambda m: m.push(m.pop_to_mark()),
    b"t": lambda m: m.push(tuple(m.pop_to_mark())),
    b"\x85": lambda m: m.collect(1),
    b"\x86": lambda m: m.collect(2),
    b"\x87": lambda m: m.collect(3),
    b"a": lambda m: m.extend([m.pop()]),
    b"e": lambda m: m.extend(m.pop_to_mark()),
    b"0": lambda m: m.pop(),
    b"p": lambda m: m.put(m.decimal()),
    b"q": lambda m: m.put(m.number(1)),
    b"r": lambda m: m.put(m.number(4)),
    b"\x94": lambda m: m.put(),
    b"g": lambda m: m.get(m.decimal()),
    b"h": lambda m: m.get(m.number(1)),
    b"j": lambda m: m.get(m.number(4)),
    b"c": lambda m: m.look_up(m.line(), m.line()),
    b"\x93": lambda m: m.look_up(*reversed((m.pop(), m.pop()))),
    b"R": lambda m: m.call(),
    b"b": lambda m: m.build(),
}
