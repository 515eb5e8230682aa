"""The one place where faults of SQLite and the file system become errors that people can read."""

from __future__ import annotations

import errno
import os
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from facekeep._internal.files import is_full, one_line, why
from facekeep.errors import (
    FacekeepError,
    GalleryBusy,
    GalleryCorrupt,
    GalleryError,
    GalleryNotFound,
    GalleryReadOnly,
    InputError,
    StorageFull,
)

__all__ = ["RESTORE", "existing_file", "file_fault", "is_busy", "real_path", "sqlite_faults"]

RESTORE = "restore a copy with `facekeep gallery restore COPY`"
"""How to mend what is damaged."""

_NO_ACCESS = {errno.EACCES, errno.EPERM, errno.EROFS}
# A write that hits a file-size limit is reported as an input/output error, not as a full disk.
_NO_ROOM = {sqlite3.SQLITE_IOERR_WRITE, sqlite3.SQLITE_IOERR_SHMSIZE, sqlite3.SQLITE_IOERR_TRUNCATE}
# What is wrong with the file itself; everything else is the machine's or the caller's fault.
_DAMAGE = {
    sqlite3.SQLITE_ERROR,  # a table or column is missing, or text is not UTF-8
    sqlite3.SQLITE_CORRUPT,
    sqlite3.SQLITE_NOTADB,
    sqlite3.SQLITE_FORMAT,
    sqlite3.SQLITE_CONSTRAINT,
    sqlite3.SQLITE_MISMATCH,
    sqlite3.SQLITE_TOOBIG,
    sqlite3.SQLITE_RANGE,
}


@contextmanager
def sqlite_faults(path: Path) -> Iterator[None]:
    """Turn errors of SQLite about the gallery at ``path`` into children of FacekeepError."""
    try:
        yield
    except sqlite3.Error as error:
        raise _translate(error, path) from error
    except UnicodeDecodeError as error:  # in a message that quotes the file
        raise _damaged(path, "damaged (its text is not UTF-8)") from error


def is_busy(error: sqlite3.Error) -> bool:
    """Whether the error says that somebody else holds a lock."""
    return _primary(error) in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED)


def _primary(error: sqlite3.Error) -> int:
    return int(getattr(error, "sqlite_errorcode", sqlite3.SQLITE_ERROR)) & 0xFF


def _translate(error: sqlite3.Error, path: Path) -> FacekeepError:
    primary = _primary(error)
    if primary == sqlite3.SQLITE_READONLY:
        return _read_only(path)
    if primary in (sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_PERM):
        return _cannot_open(path)
    if is_busy(error):
        return GalleryBusy(f"another program keeps {path} locked: try again when it is done")
    if primary == sqlite3.SQLITE_FULL or getattr(error, "sqlite_errorcode", None) in _NO_ROOM:
        return StorageFull(f"no room to write {path}: free some space")
    return _other_fault(error, path)


def _other_fault(error: sqlite3.Error, path: Path) -> FacekeepError:
    primary = _primary(error)
    if isinstance(error, sqlite3.ProgrammingError):
        return GalleryError(f"the gallery {path} was closed: open it again")
    cut_off = getattr(error, "sqlite_errorcode", None) == sqlite3.SQLITE_IOERR_SHORT_READ
    if primary in _DAMAGE or cut_off:
        no_gallery = primary == sqlite3.SQLITE_NOTADB
        return _damaged(path, "not a gallery" if no_gallery else f"damaged ({one_line(error)})")
    return GalleryError(
        f"the system failed while {path} was in use ({one_line(error)}): check the disk, then try"
        " again; the gallery itself may be whole"
    )


def _damaged(path: Path, what: str) -> GalleryCorrupt:
    return GalleryCorrupt(
        f"{path} is {what}: give the path of a sound gallery, or {RESTORE}; a copy that is put"
        f" there by hand is damaged by an old {path.name}-wal beside it"
    )


def _read_only(path: Path) -> GalleryReadOnly:
    return GalleryReadOnly(f"{path} or its folder cannot be written: check their permissions")


def _cannot_open(path: Path) -> FacekeepError:
    # Not opened to try: closing it would free the locks that SQLite holds for this process.
    try:
        path.stat()
    except OSError as error:
        return file_fault(error, path)
    if not os.access(path, os.R_OK, effective_ids=os.access in os.supports_effective_ids):
        return file_fault(PermissionError(errno.EACCES, "permission denied"), path)
    if _no_more_files():
        return GalleryError(
            f"cannot use {path}: too many open files; close some, or raise the limit"
        )
    return _read_only(path)


def _no_more_files() -> bool:
    try:
        os.close(os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC))
    except OSError as error:
        return error.errno in (errno.EMFILE, errno.ENFILE)
    return False


def file_fault(error: OSError, path: Path) -> FacekeepError:
    """Return the facekeep error for a fault of the file system about ``path``."""
    if is_full(error):
        return StorageFull(f"no room to write {path}: free some space")
    if error.errno == errno.ENOENT:
        return GalleryNotFound(
            f"there is no gallery at {path}: check the path, or enrol somebody to create it"
        )
    if error.errno in _NO_ACCESS:
        return GalleryReadOnly(f"{path} or its folder may not be used: check their permissions")
    return GalleryError(f"cannot use {path}: {why(error)}")


def real_path(path: str | os.PathLike[str]) -> Path:
    """Return the absolute path with symbolic links followed, whether or not there is a file."""
    try:
        return Path(os.path.realpath(path))
    except (TypeError, ValueError) as error:
        raise InputError(f"{path!a} is not a path: {error}") from error


def existing_file(path: Path) -> bool:
    """Whether there is a regular, non-empty file; anything else in its place is an error."""
    try:
        status = path.stat()
    except FileNotFoundError:
        if path.parent.is_dir():
            return False
        why = f"there is no folder {path.parent} for the gallery: create it first"
        raise GalleryNotFound(why) from None
    except OSError as error:
        raise file_fault(error, path) from error
    if not path.is_file():
        what = "a folder" if path.is_dir() else "not a regular file"
        raise GalleryError(f"{path} is {what}: give the path of a gallery file")
    if status.st_size == 0:
        raise GalleryCorrupt(f"{path} is empty, not a facekeep gallery: remove it or {RESTORE}")
    return True
