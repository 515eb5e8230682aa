"""How much memory there is, threads that take it in turns, and memory that goes back."""

from __future__ import annotations

import contextlib
import ctypes
import mmap
import os
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

__all__ = ["MemoryBudget", "can_allocate", "free_memory", "give_memory_back", "large_blocks_apart"]

_SMALL = 64 << 20  # bytes that nobody needs to wait for
_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3  # what glibc's mallopt calls them
_THRESHOLDS = ("MALLOC_MMAP_THRESHOLD_", "MALLOC_TRIM_THRESHOLD_")
_NOT_GLIBC = (OSError, AttributeError, TypeError)  # TypeError: on Windows
# Of a control group, versions 2 and 1: its limit, what it uses, and what of that is only cache.
_GROUPS = (
    ("memory.max", "memory.current", "inactive_file"),
    ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file"),
)


def give_memory_back() -> None:
    """Return to the system what was freed; glibc would keep tens of megabytes."""
    with contextlib.suppress(*_NOT_GLIBC):
        ctypes.CDLL(None).malloc_trim(0)


@contextlib.contextmanager
def large_blocks_apart() -> Iterator[None]:
    """Return large blocks of memory to the system at once when they are freed inside this context.

    Without it glibc would place them in its heap, where they leave gaps. Afterward glibc may keep
    blocks of up to 32 MB in its heap; it raises its limit to this by itself when such blocks are
    freed. Nothing changes if the environment of the program sets such limits: they hold for the
    whole program, and glibc cannot be asked for them.
    """
    chosen = any(name in os.environ for name in _THRESHOLDS)
    chosen = chosen or "glibc.malloc." in os.environ.get("GLIBC_TUNABLES", "")
    try:
        adjust = None if chosen else ctypes.CDLL(None).mallopt
    except _NOT_GLIBC:
        adjust = None
    if adjust is None:
        yield
        return
    adjust(_MMAP_THRESHOLD, 1 << 20)
    try:
        yield
    finally:
        adjust(_MMAP_THRESHOLD, 32 << 20)
        adjust(_TRIM_THRESHOLD, 64 << 20)


def can_allocate(size: int) -> bool:
    """Tell whether the system would give this process so many bytes; they are not taken.

    It would not beyond a limit on addresses (``ulimit -v``), which ``free_memory`` does not know.
    """
    try:
        mmap.mmap(-1, size).close()
    except (OSError, OverflowError, MemoryError):
        return False
    return True


def free_memory(root: Path = Path("/")) -> int | None:
    """Return the bytes that this process can still take; None where the system does not say.

    That is what the machine has left, or less where a control group, such as that of a container,
    allows less.

    Args:
        root: Where ``/proc`` and ``/sys`` are.
    """
    found = [_machine(root), *(_left(folder) for folder in _groups(root))]
    known = [each for each in found if each is not None]
    return min(known) if known else None


class MemoryBudget:
    """Memory that threads take in turns when together they would take too much.

    Args:
        free: Tells how much there is.
    """

    def __init__(self, free: Callable[[], int | None] = free_memory) -> None:
        self._free = free
        self._changed = threading.Condition()
        self._used = 0

    @contextlib.contextmanager
    def taken(self, size: int) -> Iterator[None]:
        """Take so many bytes meanwhile; first wait until that leaves half of what is free.

        Whoever takes memory alone does not wait, so that nobody waits for ever.

        Raises:
            MemoryError: There is less than that.
        """
        if size < _SMALL:
            yield
            return
        with self._changed:
            self._changed.wait_for(lambda: not self._used or self._fits(self._used + size, 2))
            if not self._fits(size, 1):
                raise MemoryError(f"it takes {size >> 20} MB, and there is less")
            self._used += size
        try:
            yield
        finally:
            with self._changed:
                self._used -= size
                self._changed.notify_all()

    def _fits(self, size: int, times: int) -> bool:
        free = self._free()
        return free is None or size * times <= free


def _machine(root: Path) -> int | None:
    for line in _lines(root / "proc/meminfo"):
        if line.startswith("MemAvailable:"):
            return int(line.split()[1]) << 10
    return None


def _groups(root: Path) -> Iterator[Path]:
    """Yield the folders of this process's control groups, and of those around them."""
    for line in _lines(root / "proc/self/cgroup"):
        kinds, _, path = line.partition(":")[2].partition(":")
        if kinds not in ("", "memory"):
            continue
        top = root / "sys/fs/cgroup" / kinds
        inner = top / path.strip("/")
        yield from (each for each in (inner, *inner.parents) if each.is_relative_to(top))


def _left(folder: Path) -> int | None:
    for limit, used, cache in _GROUPS:
        most, taken = _number(folder / limit), _number(folder / used)
        if most is not None and taken is not None:
            cached = (line.split() for line in _lines(folder / "memory.stat"))
            spare = next((int(size) for name, size in cached if name == cache), 0)
            return max(most - taken + spare, 0)
    return None


def _number(file: Path) -> int | None:
    first = next(iter(_lines(file)), "")
    return int(first) if first.isdecimal() else None


def _lines(file: Path) -> list[str]:
    try:
        return file.read_text().splitlines()
    except (OSError, ValueError):
        return []
