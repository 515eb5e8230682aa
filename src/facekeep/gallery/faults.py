"""The one place where faults of SQLite and the file system become errors that people can read."""

from __future__ import annotations

import errno
import os
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from facekeep._files import is_full, why
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

__all__ = ["existing_file", "file_fault", "is_busy", "real_path", "sqlite_faults"]

_NO_ACCESS = {errno.EACCES, errno.EPERM, errno.EROFS}
# A write that hits a file-size limit is reported as an input/output error, not as a full disk.
_NO_ROOM = {sqlite3.SQLITE_IOERR_WRITE, sqlite3.SQLITE_IOERR_SHMSIZE, sqlite3.SQLITE_IOERR_TRUNCATE}


@contextmanager
def sqlite_faults(path: Path) -> Iterator[None]:
    """Turn errors of SQLite about the gallery at ``path`` into children of FacekeepError."""
    try:
        yield
    except sqlite3.Error as error:
        raise _translate(error, path) from error


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
    what = "not a gallery" if primary == sqlite3.SQLITE_NOTADB else f"damaged ({error})"
    return GalleryCorrupt(f"{path} is {what}: give the path of a sound gallery or restore a copy")


def _read_only(path: Path) -> GalleryReadOnly:
    return GalleryReadOnly(f"{path} or its folder cannot be written: check their permissions")


def _cannot_open(path: Path) -> FacekeepError:
    try:
        path.open("rb").close()
    except OSError as error:
        return file_fault(error, path)
    return _read_only(path)


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
        raise GalleryCorrupt(
            f"{path} is empty, not a facekeep gallery: remove it or restore a copy"
        )
    return True
