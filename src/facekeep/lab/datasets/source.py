"""What training reads from: encoded images in any order, and who is on them."""

from __future__ import annotations

import os
from abc import ABC, abstractmethod
from array import array
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import BinaryIO, overload

import numpy as np
from numpy.typing import ArrayLike, NDArray

from facekeep._internal.files import open_regular, printable, why
from facekeep.errors import ImageError, InputError
from facekeep.pipeline.image import load_image
from facekeep.pipeline.warp import resize

__all__ = [
    "MAX_IMAGE_BYTES",
    "UNKNOWN",
    "WINDOW",
    "Classes",
    "Source",
    "Strings",
    "WindowedFile",
    "decode_crop",
    "hold_out_people",
    "name_people",
    "read_span",
    "select",
]

UNKNOWN = -1
"""The label of an image that nobody has named."""


class Strings(Sequence[str]):
    """Texts packed end to end, each made anew when it is asked for.

    A tuple of so many str would take ten times the memory, and workers that share it by ``fork``
    would copy it page by page as they count references.
    """

    def __init__(self, texts: Iterable[str] = ()) -> None:
        self._bytes = bytearray()
        self._ends = array("q", [0])
        for text in texts:
            self.append(text)

    def append(self, text: str) -> None:
        """Add a text at the end; lone surrogates, as file names may hold, are kept."""
        self._bytes += text.encode("utf-8", "surrogatepass")
        self._ends.append(len(self._bytes))

    def __len__(self) -> int:
        return len(self._ends) - 1

    @overload
    def __getitem__(self, at: int) -> str: ...
    @overload
    def __getitem__(self, at: slice) -> Strings: ...
    def __getitem__(self, at: int | slice) -> str | Strings:
        if isinstance(at, slice):
            return Strings(self[each] for each in range(*at.indices(len(self))))
        place = range(len(self))[at]
        packed = self._bytes[self._ends[place] : self._ends[place + 1]]
        return packed.decode("utf-8", "surrogatepass")


class Classes:
    """Numbers the people of images that come one by one; in the end by their sorted names."""

    def __init__(self) -> None:
        self._numbers: dict[str, int] = {}
        self._labels = array("q")

    def append(self, name: str) -> None:
        """Say who is on the next image; an empty name or "-1" means that nobody knows."""
        number = UNKNOWN
        if name not in ("", "-1"):
            number = self._numbers.setdefault(name, len(self._numbers))
        self._labels.append(number)

    def sorted(self) -> tuple[NDArray[np.int64], Strings]:
        """Return the labels, int64 ``(n,)``, and the names of the classes that they number.

        Whole numbers are sorted as numbers, and stand before other names.
        """
        names = sorted(self._numbers, key=_sort_key)
        places = np.full(len(names) + 1, UNKNOWN, np.int64)
        places[[self._numbers[name] for name in names]] = np.arange(len(names))
        return places[np.frombuffer(self._labels, np.int64)], Strings(names)


def _sort_key(name: str) -> tuple[int, int, str]:
    if name.isascii() and name.isdecimal() and len(name) < 20:
        return 0, int(name), name
    return 1, 0, name


MAX_IMAGE_BYTES = 64 << 20
"""A larger record is no face crop; it is damaged or hostile, and is left out."""

WINDOW = 1 << 20  # bytes that a `WindowedFile` reads at a time
_MAX_PIXELS = 4096 * 4096


class Source(ABC):
    """Images on disk that are read one by one, in any order.

    In memory there is only an index. No file stays open between two calls, so a source can be
    pickled, and threads and processes may read from it at the same time.

    Attributes:
        name: Where the images are, for messages.
        labels: int64 ``(n,)``, the class of each image, -1 where nobody knows.
        names: The name of each class.
        corrupt: How many records were left out because they are damaged.
    """

    def __init__(
        self, name: str, labels: NDArray[np.int64], names: Sequence[str], corrupt: int = 0
    ) -> None:
        self.name = name
        self.labels = labels
        self.names = names
        self.corrupt = corrupt

    def __len__(self) -> int:
        return len(self.labels)

    @property
    def classes(self) -> int:
        """The number of classes; 0 where no image has a label."""
        return len(self.names)

    @abstractmethod
    def key(self, index: int) -> str:
        """Return what an image is called in its source."""

    @abstractmethod
    def read(self, index: int) -> bytes:
        """Return an image as it is encoded.

        Raises:
            ImageError: It cannot be read; other images may.
        """


class _Selection(Source):
    """Some images of another source, with labels of their own."""

    def __init__(
        self,
        whole: Source,
        places: NDArray[np.int64],
        labels: NDArray[np.int64],
        names: Sequence[str],
    ) -> None:
        super().__init__(whole.name, labels, names, whole.corrupt)
        self._whole = whole
        self._places = places

    def key(self, index: int) -> str:
        return self._whole.key(int(self._places[index]))

    def read(self, index: int) -> bytes:
        return self._whole.read(int(self._places[index]))


def select(source: Source, places: ArrayLike) -> Source:
    """Take some images of a source; the classes left are numbered anew, in the same order.

    Args:
        source: The whole.
        places: Whole numbers ``(n,)``: which images, in which order.
    """
    chosen = np.asarray(places, np.int64)
    labels = source.labels[chosen]
    kept = np.unique(labels[labels != UNKNOWN])
    renumbered = np.where(labels == UNKNOWN, UNKNOWN, np.searchsorted(kept, labels))
    return _Selection(source, chosen, renumbered, Strings(source.names[each] for each in kept))


def hold_out_people(source: Source, *, people: int, seed: int = 0) -> tuple[Source, Source]:
    """Keep some people out, with all of their images.

    They are drawn at random, those with two or more images first, since a single image has no
    mate to be compared with. Images without a label stay in training: that they show nobody who
    is kept out is for the maker of the data to know.

    Args:
        source: All images.
        people: How many people to keep out.
        seed: Who they are; the same for the same source.

    Returns:
        The source to train on, and that of the people kept out; the classes of each are numbered
        anew.

    Raises:
        InputError: Nobody would be left to train on.
    """
    if people < 0 or (people and people >= source.classes):
        raise InputError(
            f"{source.name}: {people} people cannot be kept out of {source.classes}; "
            "at least one must be left to train on"
        )
    images = np.bincount(source.labels[source.labels != UNKNOWN], minlength=source.classes)
    drawn = np.random.default_rng(seed).permutation(source.classes)
    out = drawn[np.argsort(images[drawn] < 2, kind="stable")][:people]
    held = np.isin(source.labels, out)
    return select(source, np.flatnonzero(~held)), select(source, np.flatnonzero(held))


def name_people(source: Source, people: Mapping[str, str], table: str) -> Source:
    """Give the images of a source the people that a table names.

    Args:
        source: The images; labels of their own no longer count.
        people: Who is on an image, by its key with or without an extension. Images that are not
            in it, and those with an empty name, have no label.
        table: What the table is called in messages.

    Raises:
        InputError: The table names no image of the source.
    """
    classes, found = Classes(), 0
    for index in range(len(source)):
        key = source.key(index)
        person = people.get(key, people.get(os.path.splitext(key)[0]))  # noqa: PTH122 - no path
        found += person is not None
        classes.append(person or "")
    if not found:
        raise InputError(
            f"{table}: none of its keys is that of an image in {source.name}, such as "
            f"{printable(source.key(0))}; name the table that belongs to the images"
        )
    return _Selection(source, np.arange(len(source)), *classes.sorted())


def read_span(path: str | Path, offset: int, size: int) -> bytes:
    """Read a part of a file.

    The file is opened and closed each time: that takes a tenth of the time of a decode, and leaves
    nothing to share between processes, to run out of, or to close.

    Raises:
        ImageError: The file cannot be read, or ends before the part does.
    """
    try:
        with open_regular(path) as stream:
            data = os.pread(stream.fileno(), size, offset)
    except (OSError, ValueError) as error:
        raise ImageError(f"{printable(path)}: cannot be read: {why(error)}") from error
    if len(data) < size:
        raise ImageError(f"{printable(path)}: is cut short; copy or download it again")
    return data


class WindowedFile:
    """Reads a file by windows, since a disk is slow to fetch single pages one after the other.

    Args:
        stream: The file.

    Attributes:
        size: Of the file in bytes.
    """

    def __init__(self, stream: BinaryIO) -> None:
        self._stream = stream
        self.size = os.fstat(stream.fileno()).st_size
        self._start, self._window = 0, b""

    def read(self, offset: int, size: int) -> bytes:
        """Read so many bytes, `WINDOW` at most, at an offset; fewer where the file ends."""
        at = offset - self._start
        if at < 0 or at + size > len(self._window):
            self._start, at = offset, 0
            self._window = os.pread(self._stream.fileno(), WINDOW, offset)
        return self._window[at : at + size]


def decode_crop(data: bytes, size: int) -> NDArray[np.uint8]:
    """Decode a face crop and bring it to the side that is asked for.

    Args:
        data: A JPEG, PNG, WebP or other picture file that ``load_image`` reads.
        size: The side in pixels.

    Returns:
        uint8 ``(size, size, 3)`` RGB. Larger crops are averaged down, smaller ones interpolated.

    Raises:
        ImageError: It cannot be decoded, or is not square: a photo, not an aligned crop.
    """
    image = load_image(data, max_pixels=_MAX_PIXELS)
    height, width = image.shape[:2]
    if height != width:
        raise ImageError(
            f"is not square ({width} x {height}), so it is a photo, not an aligned crop",
            "cut_faces",
        )
    return resize(image, size, size)
