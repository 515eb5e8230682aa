"""Locks on the file of a gallery: nobody opens it while another one takes its place."""

from __future__ import annotations

import contextlib
import errno
import os
import random
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from facekeep._internal.files import sync_folder
from facekeep.errors import GalleryBusy

__all__ = [
    "finish_swap",
    "lock_alone",
    "lock_to_open",
    "register_use",
    "require_unused",
    "swap",
    "wait_for",
]

_SQLITE_LOCKS = (0x40000000, 512)
"""Where SQLite locks a file, and how far; who has a gallery open holds a lock there."""

_guard = threading.Lock()
_used: Counter[tuple[int, int]] = Counter()


def _old_path(path: Path) -> Path:
    name = os.fsdecode(os.fsencode(path.name)[:230])
    return path.with_name(f".{name}.facekeep-old")


def _log_paths(path: Path) -> list[Path]:
    return [Path(f"{path}-wal"), Path(f"{path}-journal")]


# Who uses it


def register_use(path: Path) -> Callable[[], None]:
    """Note that this process uses the gallery; return what to call when it no longer does."""
    file = (0, 0)
    with contextlib.suppress(OSError):
        status = path.stat()
        file = (status.st_dev, status.st_ino)
    with _guard:
        _used[file] += 1

    def done() -> None:
        with _guard:
            _used[file] -= 1

    return done


def require_unused(path: Path) -> None:
    """Raise GalleryBusy where this process has the gallery open."""
    with contextlib.suppress(FileNotFoundError):
        status = path.stat()
        if _used[status.st_dev, status.st_ino] > 0:
            raise GalleryBusy(f"this program has {path} open: close it first")


@contextmanager
def lock_to_open(path: Path, timeout: float) -> Iterator[None]:
    """Keep the file from being replaced while it is opened, and finish what was killed then."""
    if os.path.lexists(_old_path(path)):
        with _lock_folder(path, timeout, alone=True), contextlib.suppress(OSError):
            finish_swap(path)
    with _lock_folder(path, timeout, alone=False):
        yield


@contextmanager
def lock_alone(path: Path, timeout: float) -> Iterator[None]:
    """Have the gallery for this caller alone; nobody has it open and nobody opens it.

    Raises:
        GalleryBusy: Others use it.
        OSError: It cannot be opened.
    """
    with _lock_folder(path, timeout, alone=True):
        require_unused(path)
        if os.path.lexists(_old_path(path)):
            finish_swap(path)
        try:
            handle = os.open(path, os.O_RDWR | os.O_CLOEXEC)
        except FileNotFoundError:
            yield
            return
        try:
            wait_for(lambda: _lock_file(handle), timeout, _busy(path))
            yield
        finally:
            os.close(handle)


@contextmanager
def _lock_folder(path: Path, timeout: float, *, alone: bool) -> Iterator[None]:
    try:
        import fcntl

        handle = os.open(path.parent, os.O_RDONLY | os.O_CLOEXEC)
    except (ImportError, OSError):
        yield  # no such locks, or a folder that may not be listed
        return
    kind = fcntl.LOCK_EX if alone else fcntl.LOCK_SH

    def lock() -> bool:
        try:
            fcntl.flock(handle, kind | fcntl.LOCK_NB)
        except OSError as error:
            return error.errno not in (errno.EAGAIN, errno.EACCES)  # no locks here: go on
        return True

    try:
        wait_for(lock, timeout, _busy(path))
        yield
    finally:
        os.close(handle)


def _lock_file(handle: int) -> bool:
    try:
        import fcntl
    except ImportError:
        return True
    first, size = _SQLITE_LOCKS
    try:
        fcntl.lockf(handle, fcntl.LOCK_EX | fcntl.LOCK_NB, size, first)
    except OSError as error:
        if error.errno not in (errno.EAGAIN, errno.EACCES):
            raise
        return False
    return True


def _busy(path: Path) -> str:
    return f"another program uses {path}: close it, then try again"


def wait_for(lock: Callable[[], bool], timeout: float, message: str) -> None:
    """Try to lock until it is done; GalleryBusy with ``message`` after ``timeout`` seconds."""
    deadline = time.monotonic() + timeout
    while not lock():
        if time.monotonic() >= deadline:
            raise GalleryBusy(message)
        time.sleep(random.uniform(0.001, 0.02))  # noqa: S311 - spreads the contenders


# Replacing it


def swap(part: Path, path: Path) -> None:
    """Put ``part`` in the place of the gallery, whose old file and log go once that is done.

    Raises:
        OSError: It cannot be done; the old gallery is as it was.
    """
    old = _old_path(path)
    try:
        if path.exists():
            _link_old(path, old)
        _move(_log_paths(path), _log_paths(old))
        sync_folder(path.parent)
        Path(f"{path}-shm").unlink(missing_ok=True)
        part.replace(path)
        sync_folder(path.parent)
    finally:
        finish_swap(path)


def _link_old(path: Path, old: Path) -> None:
    try:
        os.link(path, old)
    except OSError:
        path.rename(old)  # there are no hard links here


def finish_swap(path: Path) -> None:
    """Finish or undo a ``swap`` that was killed, so that one whole gallery stands.

    Raises:
        OSError: It cannot be done.
    """
    old = _old_path(path)
    if old.exists():
        if not path.exists():
            old.rename(path)
        if not old.exists() or path.samefile(old):
            _move(_log_paths(old), _log_paths(path))
    for file in (*_log_paths(old), old):
        file.unlink(missing_ok=True)
    sync_folder(path.parent)


def _move(logs: list[Path], places: list[Path]) -> None:
    for log, place in zip(logs, places, strict=True):
        if log.exists() and not place.exists():
            log.rename(place)
