"""Reading the pickle of a pack of pairs without running anything that it names.

Python's unpickler written in Python, less the operations that no pack needs. The one in C sets
aside as much memory as a damaged file tells it to. Names lead to a few functions of this module.
"""

from __future__ import annotations

import io
import math
import pickle
from collections.abc import Callable
from typing import Any, ClassVar

__all__ = ["Array", "read_pickle"]

_DAMAGED = "it is damaged"
_MOST_AXES = 4
_OPERATIONS = (
    "MARK STOP POP NONE NEWTRUE NEWFALSE INT BININT BININT1 BININT2 LONG1 STRING BINSTRING"
    " SHORT_BINSTRING BINBYTES SHORT_BINBYTES BINBYTES8 BYTEARRAY8 UNICODE BINUNICODE"
    " SHORT_BINUNICODE BINUNICODE8 EMPTY_LIST LIST APPEND APPENDS EMPTY_TUPLE TUPLE TUPLE1 TUPLE2"
    " TUPLE3 GET BINGET LONG_BINGET PUT BINPUT LONG_BINPUT MEMOIZE GLOBAL STACK_GLOBAL REDUCE BUILD"
    " PROTO FRAME"
)
"""Lists, tuples, bytes, text, whole numbers and truth values; no dictionary, nothing to hash."""


class _Refused(ValueError):
    """Says in words what is wrong with a pickle."""


class Array:
    """Stands for a numpy array of uint8 or bool: its bytes and its shape."""

    def __init__(self, *_: Any) -> None:
        self.content, self.shape = b"", (0,)

    def __setstate__(self, state: Any) -> None:
        """Take the bytes; ``state`` is what numpy pickles."""
        _, shape, dtype, _, content = state
        self.fill(content, dtype, shape)

    def fill(self, content: Any, dtype: Any, shape: Any) -> None:
        """Take the bytes; they must be as many as the shape says."""
        sound = (
            isinstance(content, bytes) and isinstance(dtype, _OneByte) and len(shape) <= _MOST_AXES
        )
        if not sound or min(shape, default=0) < 0 or math.prod(shape) != len(content):
            raise _Refused(_DAMAGED)
        self.content, self.shape = content, shape


class _OneByte:
    """Stands for the numpy dtypes uint8 and bool."""

    def __init__(self, code: Any, *_: Any) -> None:
        name = code.decode("latin-1") if isinstance(code, bytes) else str(code)
        if name not in ("u1", "b1"):
            raise _Refused(f"it holds values of type {name[:20]!r}; a pack has uint8 and bool")

    def __setstate__(self, state: Any) -> None:
        """Leave it as it is: one byte has no order."""


def _from_buffer(content: Any, dtype: Any, shape: Any, *_: Any) -> Array:
    array = Array()
    array.fill(content, dtype, shape)
    return array


def _scalar(dtype: Any, content: Any) -> int:
    return _from_buffer(content, dtype, (1,)).content[0]


def _empty_bytes() -> bytes:
    return b""  # what Python 3 writes for it into old protocols


_KNOWN: dict[str, Callable[..., Any]] = {
    "__builtin__.bytes": _empty_bytes,
    "builtins.bytes": _empty_bytes,
    "numpy.ndarray": Array,
    "numpy.dtype": _OneByte,
    "numpy.core.multiarray._reconstruct": Array,
    "numpy.core.multiarray.scalar": _scalar,
    "numpy.core.numeric._frombuffer": _from_buffer,
}


def _load_bytearray(unpickler: Any) -> None:
    """Read as Python's own does, which sets the memory aside before it looks for the bytes."""
    unpickler.append(unpickler.read(int.from_bytes(unpickler.read(8), "little")))


class _Unpickler(pickle._Unpickler):
    dispatch: ClassVar[dict[int, Callable[[Any], None]]] = {
        code: pickle._Unpickler.dispatch[code]
        for code in (getattr(pickle, name)[0] for name in _OPERATIONS.split())
    } | {pickle.BYTEARRAY8[0]: _load_bytearray}

    def __init__(self, content: bytes) -> None:
        super().__init__(io.BytesIO(content), encoding="bytes")
        self._room = len(content)

    def find_class(self, module: str, name: str) -> Any:
        wanted = f"{module}.{name}".replace("numpy._core.", "numpy.core.")
        if wanted == "_codecs.encode":
            return self._encode
        if wanted not in _KNOWN:
            raise _Refused(f"it asks for {wanted[:60]}, which no pack needs; nothing was run")
        return _KNOWN[wanted]

    def _encode(self, text: str, encoding: str) -> bytes:
        """Encode text that stands for bytes; all together are no more than the file."""
        self._room -= len(text)
        if encoding != "latin1" or self._room < 0:
            raise _Refused(_DAMAGED)
        return text.encode(encoding)


def read_pickle(content: bytes) -> Any:
    """Return what a pickle of protocol 0 to 5 holds: builtin objects, and ``Array``.

    Raises:
        ValueError: It is cut short, damaged, or holds or asks for anything else.
    """
    try:
        return _Unpickler(content).load()
    except _Refused:
        raise
    except KeyError as error:
        raise ValueError(f"it holds what no pack needs (operation {error.args[0]:#04x})") from error
    except EOFError as error:
        raise ValueError("it is cut short") from error
    except Exception as error:
        raise ValueError(_DAMAGED) from error
