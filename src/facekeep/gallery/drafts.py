"""Drafts of files that hold faces or keys: they appear whole or not at all, and leave nothing.

Where the file system can, a draft has no name until it is whole: whoever is killed leaves nothing.
Elsewhere, and for the moment in which a file is replaced, its name is made from that of the target
(``.people.jsonl.facekeep-part``), so that the next run finds what a killed one left. Who writes
holds a lock on the draft, which the system frees however the process ends.
"""

from __future__ import annotations

import contextlib
import errno
import os
import re
import shutil
import stat
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

__all__ = ["draft", "is_held", "leftovers", "part_of", "sweep", "sync_folder", "take"]

_SUFFIX = ".facekeep-part"
_PATIENCE = 5.0
"""Seconds to wait while another process replaces the same file."""

_NO_LINKS = {errno.EPERM, errno.EACCES, errno.EOPNOTSUPP, errno.ENOSYS, errno.EXDEV, errno.ENOENT}
_NO_UNNAMED = {errno.EISDIR, errno.EOPNOTSUPP, errno.EINVAL, errno.ENOSYS, errno.ENOENT}
_DRAFT = re.compile(r"\..*\.facekeep-part(-wal|-shm|-journal)?", re.DOTALL)
# What facekeep wrote before drafts had no name.
_OLD_DRAFT = re.compile(r"\.facekeep-[a-z0-9_]{8}\.new(-wal|-shm|-journal)?")
_OLD_PART = re.compile(r"\.[0-9a-f]{16}\.part")
_OLD_EXPORT = b'{"format":"facekeep-export"'
_STILL = 60.0
"""Seconds for which nobody wrote to an old draft, after which nobody will."""


@contextmanager
def draft(target: Path, *, replace: bool, mode: int = 0o600) -> Iterator[BinaryIO]:
    """Give a file to write that becomes ``target`` at the end, or on any error vanishes.

    Args:
        target: The file to write; no link.
        replace: Whether it takes the place of a file that is there.
        mode: Who may read and write it.

    Raises:
        FileExistsError: There is a file, and it is not to be replaced.
        OSError: It cannot be written, or another process is writing it; nothing is left behind.
    """
    sweep(part_of(target))
    handle = _unnamed(target.parent, mode)
    if handle is None:
        with _named(target, mode, replace=replace) as stream:
            yield stream
        return
    with os.fdopen(handle, "w+b") as stream:
        yield stream
        _finish(stream)
        try:
            _link(stream, target, replace=replace)
        except OSError as error:
            if error.errno not in _NO_LINKS:
                raise
            stream.seek(0)
            with _named(target, mode, replace=replace) as other:
                shutil.copyfileobj(stream, other)
        sync_folder(target.parent)


def _finish(stream: BinaryIO) -> None:
    stream.flush()
    os.fsync(stream.fileno())


def part_of(target: Path) -> Path:
    """Return the name of the draft of a file where it must have one."""
    # A name has 255 bytes at most on most systems.
    name = os.fsdecode(os.fsencode(target.name)[: 254 - len(_SUFFIX)])
    return target.with_name(f".{name}{_SUFFIX}")


def _unnamed(folder: Path, mode: int) -> int | None:
    """Open a file without a name that can be given one later; None where there is no such thing."""
    if not hasattr(os, "O_TMPFILE"):
        return None
    try:
        handle = os.open(folder, os.O_TMPFILE | os.O_RDWR | os.O_CLOEXEC, mode)
    except OSError as error:
        if error.errno in _NO_UNNAMED and folder.is_dir():
            return None
        raise
    if Path(_by_handle(handle)).exists():
        _lock(handle)
        os.fchmod(handle, mode)
        return handle
    os.close(handle)
    return None


def _by_handle(handle: int) -> str:
    return f"/proc/self/fd/{handle}"


def _link(stream: BinaryIO, target: Path, *, replace: bool) -> None:
    try:
        _give_name(stream, target)
    except FileExistsError:
        if not replace:
            raise
        part = part_of(target)
        deadline = time.monotonic() + _PATIENCE
        while True:
            try:
                _give_name(stream, part)
                break
            except FileExistsError:
                sweep(part)
                if time.monotonic() >= deadline:
                    raise _busy(target) from None
                time.sleep(0.01)
        _rename(part, target, replace=True)


def _give_name(stream: BinaryIO, name: Path) -> None:
    source = _by_handle(stream.fileno())
    folder = os.open(name.parent, os.O_RDONLY | os.O_CLOEXEC | getattr(os, "O_PATH", 0))
    try:
        # Only with a folder's handle does Python make the call that follows the link in /proc.
        os.link(source, name.name, src_dir_fd=folder, dst_dir_fd=folder, follow_symlinks=True)
    finally:
        os.close(folder)


@contextmanager
def take(part: Path, mode: int = 0o600) -> Iterator[int]:
    """Create a draft that has a name, and hold its lock; the caller renames it or takes it away.

    Raises:
        OSError: It cannot be created, or another process is writing it.
    """
    flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | getattr(os, "O_NOFOLLOW", 0)
    try:
        handle = os.open(part, flags, mode)
    except FileExistsError:
        raise _busy(part) from None
    try:
        _lock(handle)
        yield handle
    finally:
        os.close(handle)


@contextmanager
def _named(target: Path, mode: int, *, replace: bool) -> Iterator[BinaryIO]:
    part = part_of(target)
    with take(part, mode) as handle, os.fdopen(handle, "w+b", closefd=False) as stream:
        try:
            yield stream
            _finish(stream)
        except BaseException:
            with contextlib.suppress(OSError):
                part.unlink()
            raise
        _rename(part, target, replace=replace)


def _rename(part: Path, target: Path, *, replace: bool) -> None:
    """Put a whole draft in its place; a kill leaves the one or the other name, never both."""
    try:
        if not replace and os.path.lexists(target):
            raise FileExistsError(errno.EEXIST, "it exists already", str(target))
        part.replace(target)
    except BaseException:
        with contextlib.suppress(OSError):
            part.unlink()
        raise
    sync_folder(target.parent)


def _busy(target: Path) -> OSError:
    return OSError(errno.EBUSY, "another process is writing it", str(target))


def _lock(handle: int) -> bool:
    """Take the lock of a draft; False where somebody has it."""
    try:
        import fcntl
    except ImportError:
        return True
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:
        pass  # this file system has no locks
    return True


def sync_folder(folder: Path) -> None:
    """Have the names of a folder on the disk, where the system can do that."""
    with contextlib.suppress(OSError):
        handle = os.open(folder, os.O_RDONLY | os.O_CLOEXEC)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


# What killed processes left


def leftovers(gallery: Path) -> list[Path]:
    """Return the files beside a gallery that hold faces and that nobody is writing any more."""
    try:
        files = sorted(gallery.parent.iterdir())
    except OSError:
        return []
    found = []
    for file in files:
        mine = _DRAFT.fullmatch(file.name) is not None
        if (mine and not is_held(file)) or _is_old(file, gallery):
            found.append(file)
    return found


def sweep(part: Path) -> None:
    """Take away a draft that a killed process left, unless somebody is writing it.

    Raises:
        OSError: It cannot be taken away.
    """
    if os.path.lexists(part) and not is_held(part):
        part.unlink(missing_ok=True)
        sync_folder(part.parent)


def is_held(part: Path) -> bool:
    """Whether a process is writing this draft."""
    try:
        if not stat.S_ISREG(part.lstat().st_mode):
            return False
        handle = os.open(part, os.O_RDONLY | os.O_CLOEXEC | getattr(os, "O_NOFOLLOW", 0))
    except OSError:
        return False
    try:
        return not _lock(handle)
    finally:
        os.close(handle)


def _is_old(file: Path, gallery: Path) -> bool:
    """Whether it is a draft of an earlier facekeep that nobody has written to for a while."""
    made = _OLD_DRAFT.fullmatch(file.name) is not None
    if not (made or _OLD_PART.fullmatch(file.name)):
        return False
    try:
        status = file.lstat()
        if not stat.S_ISREG(status.st_mode):
            return False
        still = time.time() - status.st_mtime >= _STILL
        if made:
            return still or (gallery.exists() and file.samefile(gallery))
        return still and _begins_as_export(file)
    except OSError:
        return False


def _begins_as_export(file: Path) -> bool:
    with file.open("rb") as stream:
        return stream.read(len(_OLD_EXPORT)) == _OLD_EXPORT
