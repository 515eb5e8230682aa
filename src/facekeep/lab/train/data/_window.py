"""A large file, a few bytes of which are wanted every few kilobytes."""

from __future__ import annotations

import os
from typing import BinaryIO

__all__ = ["WINDOW", "WindowedFile"]

WINDOW = 1 << 20


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
