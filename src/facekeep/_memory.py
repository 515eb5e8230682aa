"""Memory that was freed goes back to the system; whether there is more to be had."""

from __future__ import annotations

import contextlib
import ctypes
import mmap

__all__ = ["give_memory_back", "has_room"]


def give_memory_back() -> None:
    """Return to the system what was freed; glibc would keep tens of megabytes."""
    with contextlib.suppress(OSError, AttributeError):  # another C library
        ctypes.CDLL(None).malloc_trim(0)


def has_room(size: int) -> bool:
    """Tell whether this process could have so many more bytes; they are not taken."""
    try:
        mmap.mmap(-1, size).close()
    except (OSError, OverflowError, MemoryError):
        return False
    return True
