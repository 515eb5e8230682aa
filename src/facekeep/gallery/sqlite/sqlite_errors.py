"""Errors of SQLite as errors that people can read."""

from __future__ import annotations

import errno
import os
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from facekeep._internal.files import one_line
from facekeep.errors import (
    FacekeepError,
    GalleryBusy,
    GalleryCorrupt,
    GalleryError,
    GalleryReadOnly,
    NotAGallery,
    StorageFull,
)
from facekeep.gallery.file_errors import RESTORE, translate_os_error

__all__ = ["is_busy", "translate_errors"]

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
def translate_errors(path: Path) -> Iterator[None]:
    """Turn errors of SQLite about the gallery at ``path`` into children of FacekeepError."""
    try:
        yield
    except sqlite3.Error as error:
        raise _translate(error, path) from error
    except UnicodeDecodeError as error:  # in a message that quotes the file
        raise _damaged(path, "its text is not UTF-8") from error


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
    return _translate_other(error, path)


def _translate_other(error: sqlite3.Error, path: Path) -> FacekeepError:
    primary = _primary(error)
    if isinstance(error, sqlite3.ProgrammingError):
        return GalleryError(f"the gallery {path} was closed: open it again")
    cut_off = getattr(error, "sqlite_errorcode", None) == sqlite3.SQLITE_IOERR_SHORT_READ
    if primary in _DAMAGE or cut_off:
        if primary == sqlite3.SQLITE_NOTADB:
            return NotAGallery(
                f"{path} is not a gallery: give the path of one; if it was one, {RESTORE}"
            )
        return _damaged(path, one_line(error))
    return GalleryError(
        f"the system failed while {path} was in use ({one_line(error)}): check the disk, then try"
        " again; the gallery itself may be whole"
    )


def _damaged(path: Path, reason: str) -> GalleryCorrupt:
    return GalleryCorrupt(
        f"{path} is damaged ({reason}): give the path of a sound gallery, or {RESTORE}; do not put"
        f" a copy there by hand, an old {path.name}-wal beside it damages it"
    )


def _read_only(path: Path) -> GalleryReadOnly:
    return GalleryReadOnly(f"{path} or its folder cannot be written: check their permissions")


def _cannot_open(path: Path) -> FacekeepError:
    # Not opened to try: closing it would free the locks that SQLite holds for this process.
    try:
        path.stat()
    except OSError as error:
        return translate_os_error(error, path)
    if not os.access(path, os.R_OK, effective_ids=os.access in os.supports_effective_ids):
        return translate_os_error(PermissionError(errno.EACCES, "permission denied"), path)
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
