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
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

__all__ = [
    "DRAFT_NAME",
    "abandoned",
    "hidden_draft",
    "is_still",
    "open_draft",
    "publish",
    "scratch_folder",
]

DRAFT_NAME = r"\.facekeep-[0-9a-f]{16}-[0-9]+\.part"
"""What drafts are called, where they have a name, as a regular expression."""

_NAMELESS = hasattr(os, "O_TMPFILE")
_SWEPT = 4  # drafts of one file that are looked for: so many may have been written at once
_STILL = 60.0  # seconds without a change, after which what has no lock is taken for left behind


@contextmanager
def open_draft(
    final: Path, mode: int, *, new: bool = False
) -> Iterator[tuple[BinaryIO, Path | None]]:
    """Give a file to write in the folder of the final one, gone afterward unless published.

    Drafts of the same file that were left behind are removed before.

    Args:
        final: What it is to become.
        mode: Who may read and write it, but for what the umask forbids.
        new: Whether it replaces nothing.

    Yields:
        The file and its hidden name, or None where it has no name yet.

    Raises:
        OSError: It cannot be made.
    """
    stream = _nameless(final.parent, mode)
    if stream is None:
        with hidden_draft(final, mode, new=new) as draft:
            yield draft
        return
    with stream:
        _sweep(final)
        yield stream, None


def publish(stream: BinaryIO, draft: Path | None, final: Path, *, new: bool = False) -> None:
    """Let a whole file, of ``open_draft`` and still open, become the final one.

    Raises:
        FileExistsError: There is a file, and it is ``new``.
        OSError: It cannot.
    """
    if draft is not None:
        _move(draft, final, new=new)
        return
    try:
        named = _give_name(stream, final, new=new)
    except FileExistsError:
        raise
    except OSError:
        _publish_copy(stream, final, new=new)
        return
    if named != final:
        with _gone_unless_moved(named, stream):
            _move(named, final, new=new)


@contextmanager
def hidden_draft(final: Path, mode: int, *, new: bool = False) -> Iterator[tuple[BinaryIO, Path]]:
    """Give a file with a hidden name to write, as ``open_draft`` does where it has to."""
    _sweep(final)
    stream, draft = _open_hidden(final, mode, new=new)
    with stream, _gone_unless_moved(draft, stream):
        yield stream, draft


def _nameless(folder: Path, mode: int) -> BinaryIO | None:
    """Open a file without a name, where the file system has such files."""
    if _NAMELESS and Path("/proc/self/fd").is_dir():
        with suppress(OSError):
            flags = os.O_TMPFILE | os.O_RDWR | os.O_CLOEXEC
            return os.fdopen(os.open(folder, flags, mode), "w+b")
    return None


def _open_hidden(final: Path, mode: int, *, new: bool) -> tuple[BinaryIO, Path]:
    """Open a file with a hidden name, and hold it.

    Those who write a new file all take the same name. So only one is at work, and none replaces
    what another one made.
    """
    for draft in itertools.islice(_drafts(final), 1 if new else None):
        with suppress(FileExistsError):
            flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
            handle = os.open(draft, flags, mode)
            if _lock(handle) is not False and _is(draft, handle):
                return os.fdopen(handle, "w+b"), draft
            os.close(handle)  # somebody took it for left behind in the meantime
    raise OSError(errno.EBUSY, "another process is writing it", str(final))


def _give_name(stream: BinaryIO, final: Path, *, new: bool) -> Path:
    """Give a file without a name the final one or, where that is taken, a hidden one."""
    _lock(stream.fileno())
    folder = os.open(final.parent, os.O_PATH | os.O_CLOEXEC)
    try:
        for path in itertools.chain([final], () if new else _drafts(final)):
            with suppress(FileExistsError):
                # Only with a folder's handle does Python make the call that follows the link.
                os.link(f"/proc/self/fd/{stream.fileno()}", path.name, dst_dir_fd=folder)
                return path
    finally:
        os.close(folder)
    raise FileExistsError(errno.EEXIST, "exists already", str(final))


def _publish_copy(stream: BinaryIO, final: Path, *, new: bool) -> None:
    """Publish a copy of a file that the system gives no name."""
    with hidden_draft(final, 0o600, new=new) as (copy, draft):
        stream.seek(0)
        shutil.copyfileobj(stream, copy)
        copy.flush()
        os.fchmod(copy.fileno(), stat.S_IMODE(os.fstat(stream.fileno()).st_mode))
        os.fsync(copy.fileno())
        _move(draft, final, new=new)


def _move(draft: Path, final: Path, *, new: bool) -> None:
    """Put a draft in its place; a kill leaves the one or the other name, never both."""
    if new and os.path.lexists(final):
        raise FileExistsError(errno.EEXIST, "exists already", str(final))
    draft.replace(final)


@contextmanager
def _gone_unless_moved(draft: Path, stream: BinaryIO) -> Iterator[None]:
    try:
        yield
    finally:
        with suppress(OSError):
            if _is(draft, stream.fileno()):
                draft.unlink()


def _drafts(final: Path) -> Iterator[Path]:
    """Name the hidden files in which a file may be prepared, one writer in each."""
    known = hashlib.sha256(os.fsencode(final.name)).hexdigest()[:16]
    for number in itertools.count():
        yield final.with_name(f".facekeep-{known}-{number}.part")


def _sweep(final: Path) -> None:
    """Remove drafts of a file whose writers are no more."""
    for draft in itertools.islice(_drafts(final), _SWEPT):
        with suppress(OSError), abandoned(draft) as left:
            if left:
                draft.unlink()


@contextmanager
def abandoned(path: Path) -> Iterator[bool]:
    """Tell whether nobody makes a file or folder any more; nobody begins to meanwhile.

    Raises:
        OSError: It is not there, or cannot be opened.
    """
    handle = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        locked = _lock(handle)
        if locked is None:
            locked = is_still(os.fstat(handle))
        yield locked and _is(path, handle)
    finally:
        os.close(handle)


def is_still(status: os.stat_result) -> bool:
    """Tell whether nobody has written to a file for so long that nobody will."""
    return time.time() - status.st_mtime >= _STILL


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
    """Give a new hidden folder, gone afterward with all in it, unless it was moved away.

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
                with suppress(OSError), abandoned(each) as left:
                    if left:
                        shutil.rmtree(each, ignore_errors=True)
    folder = parent / f"{prefix}{os.urandom(8).hex()}"
    folder.mkdir()
    handle = os.open(folder, os.O_RDONLY | os.O_CLOEXEC)
    try:
        _lock(handle)
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        os.close(handle)
