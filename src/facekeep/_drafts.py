"""Files and folders that are not whole yet, and what is left of those whose makers are no more.

The maker of one holds its lock, which the system frees however a process ends. So whoever can take
the lock knows that nobody is at work there any more.
"""

from __future__ import annotations

import errno
import hashlib
import itertools
import os
import re
import shutil
import stat
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import BinaryIO

__all__ = ["open_draft", "publish", "scratch_folder"]

_NAMELESS = hasattr(os, "O_TMPFILE")
_SWEPT = 4  # drafts of one file that are looked for: so many may have been written at once


def open_draft(final: Path, mode: int) -> tuple[BinaryIO, Path | None]:
    """Open a file to write in the folder of the final one; drafts left behind are removed.

    Args:
        final: What it is to become.
        mode: Who may read and write it, but for what the umask forbids.

    Returns:
        The file and its hidden name, or None where it has no name yet.

    Raises:
        OSError: It cannot be made.
    """
    _sweep(final)
    if _NAMELESS and Path("/proc/self/fd").is_dir():
        with suppress(OSError):  # not every file system has files without names
            flags = os.O_TMPFILE | os.O_RDWR | os.O_CLOEXEC
            return os.fdopen(os.open(final.parent, flags, mode), "w+b"), None
    return _hidden(final, mode)


def publish(stream: BinaryIO, draft: Path | None, final: Path) -> None:
    """Let a whole file, of ``open_draft`` and still open, take the place of the final one.

    Raises:
        OSError: It cannot; a draft without a name has left nothing behind.
    """
    if draft is not None:
        draft.replace(final)
        return
    try:
        named = _named(stream, final)
    except OSError:
        _publish_copy(stream, final)
        return
    if named != final:
        _move(named, final)


def _hidden(final: Path, mode: int) -> tuple[BinaryIO, Path]:
    """Open a file with a hidden name, and hold it."""
    for draft in _drafts(final):
        with suppress(FileExistsError):
            flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
            handle = os.open(draft, flags, mode)
            if _lock(handle) is not False and _is(draft, handle):
                return os.fdopen(handle, "w+b"), draft
            os.close(handle)  # somebody took it for left behind in the meantime
    raise FileExistsError(errno.EEXIST, "exists")  # never reached: names do not end


def _named(stream: BinaryIO, final: Path) -> Path:
    """Give a file without a name the final one or, where that is taken, a hidden one."""
    _lock(stream.fileno())
    folder = os.open(final.parent, os.O_RDONLY | os.O_CLOEXEC)
    try:
        for path in itertools.chain([final], _drafts(final)):
            with suppress(FileExistsError):
                os.link(f"/proc/self/fd/{stream.fileno()}", path.name, dst_dir_fd=folder)
                return path
    finally:
        os.close(folder)
    raise FileExistsError(errno.EEXIST, "exists")  # never reached: names do not end


def _publish_copy(stream: BinaryIO, final: Path) -> None:
    """Publish a copy of a file that the system gives no name."""
    copy, draft = _hidden(final, 0o600)
    with copy:
        try:
            stream.seek(0)
            shutil.copyfileobj(stream, copy)
            copy.flush()
            os.fchmod(copy.fileno(), stat.S_IMODE(os.fstat(stream.fileno()).st_mode))
            os.fsync(copy.fileno())
        except BaseException:
            draft.unlink(missing_ok=True)
            raise
        _move(draft, final)


def _move(draft: Path, final: Path) -> None:
    try:
        draft.replace(final)
    except BaseException:
        draft.unlink(missing_ok=True)
        raise


def _drafts(final: Path) -> Iterator[Path]:
    """Name the hidden files in which a file may be prepared, one writer in each."""
    known = hashlib.sha256(os.fsencode(final.name)).hexdigest()[:16]
    for number in itertools.count():
        yield final.with_name(f".facekeep-{known}-{number}.part")


def _sweep(final: Path) -> None:
    """Remove drafts of a file whose writers are no more."""
    for draft in itertools.islice(_drafts(final), _SWEPT):
        with suppress(OSError):
            _remove_abandoned(draft, draft.unlink)


def _remove_abandoned(path: Path, remove: Callable[[], object]) -> None:
    """Remove a file or folder, unless the one who made it still holds its lock.

    Raises:
        OSError: It is not there, or cannot be opened.
    """
    handle = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        if _lock(handle) is True and _is(path, handle):
            remove()
    finally:
        os.close(handle)


def _is(path: Path, handle: int) -> bool:
    """Tell whether a path still leads to the file that was opened."""
    try:
        return os.path.samestat(path.lstat(), os.fstat(handle))
    except OSError:
        return False


def _lock(handle: int) -> bool | None:
    """Hold a file until it is closed, or this process ends.

    Returns:
        Whether it is held now; False where another one holds it, None where there are no locks.
    """
    try:
        import fcntl

        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except (ImportError, OSError):
        return None
    return True


@contextmanager
def scratch_folder(parent: Path, prefix: str) -> Iterator[Path]:
    """Give a new hidden folder, gone afterwards with all in it, unless it was moved away.

    What other processes left that ended in the middle is removed before.

    Args:
        parent: Where to; it must be there.
        prefix: What its name begins with, and those of the folders left behind.

    Raises:
        OSError: It cannot be made.
    """
    with suppress(OSError):
        for each in list(parent.iterdir()):
            if re.fullmatch(rf"{re.escape(prefix)}[0-9a-f]{{16}}", each.name):
                with suppress(OSError):
                    _remove_abandoned(each, partial(shutil.rmtree, each, ignore_errors=True))
    folder = parent / f"{prefix}{os.urandom(8).hex()}"
    folder.mkdir()
    handle = os.open(folder, os.O_RDONLY | os.O_CLOEXEC)
    try:
        _lock(handle)
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        os.close(handle)
