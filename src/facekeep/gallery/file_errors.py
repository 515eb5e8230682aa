"""Errors about the file of a gallery, and the checks on its path."""

from __future__ import annotations

import errno
import os
from pathlib import Path

from facekeep._internal.files import is_full, why
from facekeep.errors import (
    FacekeepError,
    GalleryError,
    GalleryNotFound,
    GalleryReadOnly,
    InputError,
    NotAGallery,
    StorageFull,
)

__all__ = ["RESTORE", "has_file", "resolve_path", "translate_os_error"]

RESTORE = "restore a copy of the gallery"
"""How to mend what is damaged."""

_NO_ACCESS = {errno.EACCES, errno.EPERM, errno.EROFS}


def translate_os_error(error: OSError, path: Path) -> FacekeepError:
    """Return the facekeep error for a fault of the file system about ``path``."""
    if is_full(error):
        return StorageFull(f"no room to write {path}: free some space")
    if error.errno == errno.ENOENT:
        return GalleryNotFound(
            f"there is no gallery at {path}: check the path, or enroll somebody to create it"
        )
    if error.errno in _NO_ACCESS:
        return GalleryReadOnly(f"{path} or its folder may not be used: check their permissions")
    return GalleryError(f"cannot use {path}: {why(error)}")


def resolve_path(path: str | os.PathLike[str]) -> Path:
    """Return the absolute path with symbolic links followed, whether or not there is a file."""
    try:
        return Path(os.path.realpath(path))
    except (TypeError, ValueError) as error:
        raise InputError(f"{path!a} is not a path: {error}") from error


def has_file(path: Path) -> bool:
    """Whether there is a regular, non-empty file; anything else in its place is an error."""
    try:
        status = path.stat()
    except FileNotFoundError:
        if path.parent.is_dir():
            return False
        raise GalleryNotFound(
            f"there is no folder {path.parent} for the gallery: create it first"
        ) from None
    except OSError as error:
        raise translate_os_error(error, path) from error
    if not path.is_file():
        what = "a folder" if path.is_dir() else "not a regular file"
        raise GalleryError(f"{path} is {what}: give the path of a gallery file")
    if status.st_size == 0:
        raise NotAGallery(f"{path} is empty, not a facekeep gallery: remove it or {RESTORE}")
    return True
