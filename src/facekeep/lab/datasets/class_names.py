"""Millions of short texts in two flat buffers, and names that become class numbers."""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Sequence
from typing import overload

import numpy as np
from numpy.typing import NDArray

__all__ = ["UNKNOWN", "Classes", "Strings"]

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
        names = sorted(self._numbers, key=_rank)
        places = np.full(len(names) + 1, UNKNOWN, np.int64)
        places[[self._numbers[name] for name in names]] = np.arange(len(names))
        return places[np.frombuffer(self._labels, np.int64)], Strings(names)


def _rank(name: str) -> tuple[int, int, str]:
    if name.isascii() and name.isdecimal() and len(name) < 20:
        return 0, int(name), name
    return 1, 0, name
