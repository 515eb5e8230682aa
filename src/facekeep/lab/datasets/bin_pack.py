"""The ``.bin`` packs in which LFW, CFP-FP, AgeDB-30 and others are passed around for verification.

A pack is a pickle of two lists: the encoded images, two for each pair in turn, aligned at 112
pixels, and whether each pair is mated. Names in the pickle lead to a few functions of this module,
so nothing that it asks for is run. Python's unpickler written in Python reads it: the one in C sets
aside as much memory as a damaged file tells it to.
"""

from __future__ import annotations

import io
import math
import os
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from facekeep._internal.files import one_line, open_regular, path_text, printable, why
from facekeep.errors import InputError
from facekeep.lab.datasets.test_sets import PairSet, make_bytes_samples

__all__ = ["Array", "read_bin_pack", "read_pickle"]

_DAMAGED = "it is damaged"
_MOST_AXES = 4


class _RefusedPickle(ValueError):
    """Says in words what is wrong with a pickle."""


class Array:
    """Stands for a numpy array of uint8 or bool: its bytes and its shape."""

    content, shape = b"", (0,)  # of the class: a pickle can make one without __init__

    def __init__(self, *_: Any) -> None:
        pass

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
            raise _RefusedPickle(_DAMAGED)
        self.content, self.shape = content, shape


class _OneByte:
    """Stands for the numpy dtypes uint8 and bool."""

    def __init__(self, code: Any, *_: Any) -> None:
        name = code.decode("latin-1") if isinstance(code, bytes) else str(code)
        if name not in ("u1", "b1"):
            raise _RefusedPickle(
                f"it holds values of type {name[:20]!r}; a pack has uint8 and bool"
            )

    def __setstate__(self, state: Any) -> None:
        """Leave it as it is: one byte has no order."""


def _read_buffer(content: Any, dtype: Any, shape: Any, *_: Any) -> Array:
    array = Array()
    array.fill(content, dtype, shape)
    return array


def _read_scalar(dtype: Any, content: Any) -> int:
    return _read_buffer(content, dtype, (1,)).content[0]


def _make_empty_bytes() -> bytes:
    return b""  # what Python 3 writes for it into old protocols


_KNOWN: dict[str, Callable[..., Any]] = {
    "__builtin__.bytes": _make_empty_bytes,
    "builtins.bytes": _make_empty_bytes,
    "numpy.ndarray": Array,
    "numpy.dtype": _OneByte,
    "numpy.core.multiarray._reconstruct": Array,
    "numpy.core.multiarray.scalar": _read_scalar,
    "numpy.core.numeric._frombuffer": _read_buffer,
}


def _load_bytearray(unpickler: Any) -> None:
    """Read as Python's own does, which sets the memory aside before it looks for the bytes."""
    unpickler.append(unpickler.read(int.from_bytes(unpickler.read(8), "little")))


class _Unpickler(pickle._Unpickler):
    dispatch: ClassVar[dict[int, Callable[[Any], None]]] = {
        **pickle._Unpickler.dispatch,
        pickle.BYTEARRAY8[0]: _load_bytearray,
    }

    def __init__(self, content: bytes) -> None:
        super().__init__(io.BytesIO(content), encoding="bytes")
        self._room = len(content)

    def find_class(self, module: str, name: str) -> Any:
        wanted = f"{module}.{name}".replace("numpy._core.", "numpy.core.")
        if wanted == "_codecs.encode":
            return self._encode
        if wanted not in _KNOWN:
            raise _RefusedPickle(f"it asks for {wanted[:60]}, which no pack needs; nothing was run")
        return _KNOWN[wanted]

    def _encode(self, text: str, encoding: str) -> bytes:
        """Encode text that stands for bytes; all together are no more than the file."""
        self._room -= len(text)
        if encoding != "latin1" or self._room < 0:
            raise _RefusedPickle(_DAMAGED)
        return text.encode(encoding)


def read_pickle(content: bytes) -> Any:
    """Return what a pickle of protocol 0 to 5 holds: builtin objects, and ``Array``.

    Raises:
        ValueError: It is cut short, damaged, or holds or asks for anything else.
    """
    try:
        return _Unpickler(content).load()
    except _RefusedPickle:
        raise
    except EOFError as error:
        raise ValueError("it is cut short") from error
    except Exception as error:
        raise ValueError(_DAMAGED) from error


_FOLDS = 10
_LARGEST = 2**30  # bytes; the packs in use have less than 200 MB


def read_bin_pack(file: str | os.PathLike[str]) -> PairSet:
    """Read a pack of aligned pairs; its ten folds follow one another.

    The encoded images are held in memory, those of the same bytes once.

    Args:
        file: The pack.

    Raises:
        InputError: It cannot be read, is damaged, or holds anything but images and truth values.
    """
    path = Path(path_text(file))
    content = _read_file(path)
    try:
        images, mated = _check_lists(read_pickle(content))
    except (ValueError, MemoryError, RecursionError) as error:
        message = printable(one_line(error))
        raise InputError(f"{printable(path)}: is no usable pack of pairs: {message}") from error
    first: dict[bytes, int] = {}
    for i, image in enumerate(images):
        first.setdefault(image, i)
    place_of = {image: place for place, image in enumerate(first)}
    places = np.array([place_of[image] for image in images], np.intp)
    names = [f"{path.name}[{i}]" for i in first.values()]
    return PairSet(
        path.stem,
        make_bytes_samples(names, list(first), aligned=True),
        places[::2].copy(),
        places[1::2].copy(),
        mated,
        _number_folds(len(mated)),
    )


def _number_folds(count: int) -> NDArray[np.intp] | None:
    """Divide the pairs, in their order, into ten folds whose sizes differ by one at most."""
    if count < _FOLDS:
        return None
    sizes = [count // _FOLDS + (fold < count % _FOLDS) for fold in range(_FOLDS)]
    return np.repeat(np.arange(_FOLDS), sizes)


def _read_file(path: Path) -> bytes:
    try:
        with open_regular(path) as stream:
            if os.fstat(stream.fileno()).st_size > _LARGEST:
                raise InputError(f"{printable(path)}: is too large for a pack of pairs")
            return stream.read()
    except (OSError, ValueError) as error:
        raise InputError(f"{printable(path)}: cannot be read: {why(error)}") from error


def _check_lists(loaded: Any) -> tuple[list[bytes], NDArray[np.bool_]]:
    """Check that it is the two lists, and bring both into one form."""
    if not isinstance(loaded, tuple | list) or len(loaded) != 2:
        raise ValueError("it does not hold two lists, of images and of labels")
    images, labels = loaded
    if isinstance(labels, Array):
        labels = list(labels.content)
    if not isinstance(images, list | tuple) or not isinstance(labels, list | tuple):
        raise ValueError("it does not hold two lists, of images and of labels")
    if not all(isinstance(label, int) and label in (0, 1) for label in labels):
        raise ValueError("its labels are not all true or false")
    if not labels or len(images) != 2 * len(labels):
        raise ValueError(f"it has {len(images)} images for {len(labels)} pairs")
    return [_check_image(i, image) for i, image in enumerate(images)], np.array(labels, np.bool_)


def _check_image(place: int, image: Any) -> bytes:
    """Return the bytes of an encoded picture, which some packs hold as an array."""
    if isinstance(image, bytes):
        return image
    if isinstance(image, Array) and len(image.content) == max(image.shape, default=0):
        return image.content
    raise ValueError(f"its image {place} is not the bytes of a picture file")
