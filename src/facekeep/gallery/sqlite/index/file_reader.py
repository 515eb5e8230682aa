"""Reading many rows here and there of a file that another program may cut off at any time.

The system kills a process that looks at a mapped page which is gone (SIGBUS). ``process_vm_readv``
of Linux copies from the map all the same, a thousand rows in one call, and stops short at such a
page; elsewhere every row is read by a call of its own.
"""

from __future__ import annotations

import functools
import mmap
import os
import sys
import weakref
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["BEGINNING", "FileReader"]

BEGINNING = 16
"""Bytes at the beginning of the file by which it is told whether the rest is as it was."""

_ROWS_AT_ONCE = 1024
"""The most that one call takes (IOV_MAX)."""

_Copy = Callable[..., int]


class FileReader:
    """A file, open for as long as this object is in use.

    Attributes:
        beginning: Its first bytes when it was opened; fewer where it is shorter or unreadable.
        broken: Whether something was missing from it, or could not be read.
    """

    def __init__(self, handle: int, size: int) -> None:
        """Take a handle, which is closed with this object, and the size to be read from."""
        self._handle = handle
        weakref.finalize(self, os.close, handle)
        self.broken = False
        self.beginning = self._read_beginning()
        self._map: NDArray[np.uint8] | None = None
        if _find_copy() is not None and size:
            view = mmap.mmap(handle, size, access=mmap.ACCESS_READ)
            view.madvise(mmap.MADV_RANDOM)  # a search wants a row here and there
            self._map = np.frombuffer(view, np.uint8)  # never looked at by itself

    def _read_beginning(self) -> bytes:
        try:
            return os.pread(self._handle, BEGINNING, 0)
        except OSError:
            return b""

    @property
    def is_intact(self) -> bool:
        """Whether nothing was cut off, and the beginning is as it was when it was opened."""
        return not self.broken and self._read_beginning() == self.beginning

    def run(self, first: int, size: int) -> NDArray[np.uint8]:
        """Return neighboring bytes as ``(size,)``; zeros for what is missing."""
        found = np.empty(size, np.uint8)
        self._read(found, first)
        return found

    def rows(self, firsts: NDArray[np.int64], size: int) -> NDArray[np.uint8]:
        """Return rows as ``(n, size)``; zeros for what is missing.

        Args:
            firsts: int64 ``(n,)``, where each row begins.
            size: The bytes of a row.
        """
        found = np.empty((len(firsts), size), np.uint8)
        if self._map is None or not self._copy_rows(firsts, found):
            for row, first in zip(found, firsts.tolist(), strict=True):
                self._read(row, first)
        return found

    def _read(self, target: NDArray[np.uint8], first: int) -> None:
        try:
            done = os.preadv(self._handle, [target.data], first) if len(target) else 0
        except OSError:
            done = 0
        self._fill(target, done)

    def _fill(self, target: NDArray[np.uint8], done: int) -> None:
        """Note, and fill with zeros, what could not be read."""
        if done < len(target):
            target[max(0, done) :] = 0
            self.broken = True

    def _copy_rows(self, firsts: NDArray[np.int64], found: NDArray[np.uint8]) -> bool:
        """Fill ``found`` from the map; False where this process may not do that."""
        copy, data = _find_copy(), self._map
        if (
            copy is None
            or data is None
            or (len(firsts) and firsts.max() + found.shape[1] > len(data))
        ):
            return False
        pid, size = os.getpid(), found.shape[1]
        source = np.empty((len(firsts), 2), np.uint64)
        source[:, 0] = firsts + data.ctypes.data
        source[:, 1] = size
        for at in range(0, len(firsts), _ROWS_AT_ONCE):
            count = min(_ROWS_AT_ONCE, len(firsts) - at)
            target = np.array([[found.ctypes.data + at * size, count * size]], np.uint64)
            done = copy(pid, target.ctypes.data, 1, source[at:].ctypes.data, count, 0)
            if done < 0 and not at:
                return False
            self._fill(found[at : at + count].reshape(-1), done)
        return True


@functools.cache
def _find_copy() -> _Copy | None:
    """Return ``process_vm_readv``, where the system has it in the form that is used here."""
    if sys.platform != "linux" or sys.maxsize < 1 << 32:
        return None
    import ctypes

    try:
        copy: Any = ctypes.CDLL(None, use_errno=True).process_vm_readv
    except (OSError, AttributeError):
        return None
    place, count = ctypes.c_void_p, ctypes.c_ulong
    copy.argtypes = [ctypes.c_int, place, count, place, count, count]
    copy.restype = ctypes.c_ssize_t
    function: _Copy = copy
    return function
