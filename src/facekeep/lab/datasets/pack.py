"""The ``.bin`` packs in which LFW, CFP-FP, AgeDB-30 and others are passed around for verification.

A pack is a pickle of two lists: the encoded images, two for each pair in turn, aligned at 112
pixels, and whether each pair is mated. What is in the pickle beside that is never carried out.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from facekeep._internal.files import one_line, open_regular, path_text, printable, why
from facekeep.errors import InputError
from facekeep.lab.datasets.unpickle import Array, read_pickle
from facekeep.lab.evaluate.data import PairSet, samples_of_bytes

__all__ = ["bin_pack"]

_FOLDS = 10
_LARGEST = 2**30  # bytes; the packs in use have less than 200 MB


def bin_pack(file: str | os.PathLike[str]) -> PairSet:
    """Read a pack of aligned pairs; its ten folds follow one another.

    The encoded images are held in memory, those of the same bytes once.

    Args:
        file: The pack.

    Raises:
        InputError: It cannot be read, is damaged, or holds anything but images and truth values.
    """
    path = Path(path_text(file))
    content = _content(path)
    try:
        images, mated = _parts(read_pickle(content))
    except (ValueError, MemoryError, RecursionError) as error:
        told = printable(one_line(error))
        raise InputError(f"{printable(path)}: is no usable pack of pairs: {told}") from error
    first: dict[bytes, int] = {}
    for i, image in enumerate(images):
        first.setdefault(image, i)
    place_of = {image: place for place, image in enumerate(first)}
    places = np.array([place_of[image] for image in images], np.intp)
    names = [f"{path.name}[{i}]" for i in first.values()]
    return PairSet(
        path.stem,
        samples_of_bytes(names, list(first), aligned=True),
        places[::2].copy(),
        places[1::2].copy(),
        mated,
        _folds(len(mated)),
    )


def _folds(count: int) -> NDArray[np.intp] | None:
    """Divide the pairs, in their order, into ten folds whose sizes differ by one at most."""
    if count < _FOLDS:
        return None
    sizes = [count // _FOLDS + (fold < count % _FOLDS) for fold in range(_FOLDS)]
    return np.repeat(np.arange(_FOLDS), sizes)


def _content(path: Path) -> bytes:
    try:
        with open_regular(path) as stream:
            if os.fstat(stream.fileno()).st_size > _LARGEST:
                raise InputError(f"{printable(path)}: is too large for a pack of pairs")
            return stream.read()
    except (OSError, ValueError) as error:
        raise InputError(f"{printable(path)}: cannot be read: {why(error)}") from error


def _parts(loaded: Any) -> tuple[list[bytes], NDArray[np.bool_]]:
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
    return [_encoded(i, image) for i, image in enumerate(images)], np.array(labels, np.bool_)


def _encoded(place: int, image: Any) -> bytes:
    """Return the bytes of an encoded picture, which some packs hold as an array."""
    if isinstance(image, bytes):
        return image
    if isinstance(image, Array) and len(image.content) == max(image.shape, default=0):
        return image.content
    raise ValueError(f"its image {place} is not the bytes of a picture file")
