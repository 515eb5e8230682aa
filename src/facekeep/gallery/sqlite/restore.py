"""Putting a copy in the place of a gallery: whole or not at all, whatever lies there.

A copy that is merely copied over a gallery is damaged by the write-ahead log (``-wal``) that a
killed process left beside it. Here the old file and its log are moved aside as a pair, the new one
takes the name, and then the old pair goes. ``file_locks.finish_swap`` finishes what was killed in
between.
"""

from __future__ import annotations

import contextlib
import logging
import os
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path

from facekeep._internal.drafts import hidden_draft
from facekeep._internal.files import keep_permissions, why
from facekeep.errors import FacekeepError, GalleryCorrupt, GalleryError, GalleryNotFound, InputError
from facekeep.gallery.file_errors import has_file, resolve_path, translate_os_error
from facekeep.gallery.keys import Key
from facekeep.gallery.sqlite import schema
from facekeep.gallery.sqlite.database import LOG_VERSIONS, Database
from facekeep.gallery.sqlite.file_locks import lock_alone, require_unused, swap
from facekeep.gallery.sqlite.gallery import Gallery
from facekeep.gallery.sqlite.index.index_file import IndexFile
from facekeep.gallery.sqlite.sqlite_errors import translate_errors

__all__ = ["Restored", "restore"]

_log = logging.getLogger(__name__)
_TOLERATED = {"key", "erasure", "unsigned"}


@dataclass(frozen=True, slots=True)
class Restored:
    """What was put in place.

    Attributes:
        path: The gallery.
        people: The number of people in it.
        replaced: Whether there was one before.
        remarks: What ``check`` said of the copy that is no damage, such as that the key is missing.
    """

    path: Path
    people: int
    replaced: bool
    remarks: tuple[str, ...]


def restore(
    copy: str | os.PathLike[str],
    path: str | os.PathLike[str],
    *,
    key: Key | None = None,
    busy_timeout: float = 5.0,
) -> Restored:
    """Put a copy of a gallery in the place of a gallery, which may be damaged or missing.

    The copy is checked first and stays where it is. The gallery that was there is kept until
    the new one stands, with its write-ahead log; then both go, and its search index.

    Args:
        copy: The copy: a file that was copied while nobody had the gallery open, or a gallery.
        path: Where the gallery is to stand.
        key: The key of an encrypted copy; without it the templates are not checked.
        busy_timeout: Seconds to wait while others use the gallery.

    Raises:
        GalleryNotFound: There is no copy.
        GalleryCorrupt: The copy is damaged, or no gallery; nothing was changed.
        GalleryBusy: Others use the gallery.
        GalleryKeyError: The key is not the copy's.
        StorageFull: There is no room for the copy beside the gallery.
        InputError: Both paths are the same file.
    """
    schema.require_sqlite()
    source, target = resolve_path(copy), resolve_path(path)
    if not has_file(source):
        raise GalleryNotFound(f"there is no copy at {source}: check the path")
    if target.exists() and source.samefile(target):
        raise InputError(f"{source} is the gallery itself: give the path of a copy")
    if target.exists() and not target.is_file():
        raise GalleryError(f"{target} is not a regular file: give the path of a gallery file")
    require_unused(target)
    try:
        with hidden_draft(target, 0o600) as (stream, part), _clean_up(part):
            _copy(source, part, stream.fileno(), busy_timeout)
            people, remarks, index = _check_copy(part, source, target, key)
            with contextlib.suppress(OSError):
                keep_permissions(stream.fileno(), target.stat())
            with lock_alone(target, busy_timeout):
                replaced = target.exists()
                swap(part, target)
    except OSError as error:
        raise translate_os_error(error, target) from error
    _discard(index, busy_timeout)
    return Restored(target, people, replaced, remarks)


@contextmanager
def _clean_up(part: Path) -> Iterator[None]:
    """Keep nothing of SQLite's beside the part: not what was left before, nor afterward."""
    beside = [Path(f"{part}{ending}") for ending in ("-wal", "-shm", "-journal")]
    try:
        for file in beside:
            file.unlink(missing_ok=True)
        yield
    finally:
        for file in beside:
            file.unlink(missing_ok=True)


def _copy(source: Path, part: Path, handle: int, timeout: float) -> None:
    """Copy one state of a gallery, what its write-ahead log holds included."""
    database = Database(source, read_only=True, busy_timeout=timeout)
    with (
        closing(database),
        database.snapshot() as connection,
        translate_errors(part),
        closing(sqlite3.connect(part, isolation_level=None)) as copy,
    ):
        copy.execute("PRAGMA journal_mode = OFF")
        copy.execute("PRAGMA synchronous = OFF")
        connection.backup(copy)
    os.pwrite(handle, b"\2\2", LOG_VERSIONS.start)
    os.fsync(handle)


def _check_copy(
    part: Path, source: Path, target: Path, key: Key | None
) -> tuple[int, tuple[str, ...], IndexFile]:
    """Return people, remarks and the index file of a copy that is whole."""
    try:
        with Gallery.open(part, key=key, read_only=True) as gallery:
            found = gallery.check()
            people, index = gallery.count(), IndexFile(target, gallery._session.meta)
    except FacekeepError as error:
        raise type(error)(str(error).replace(str(part), str(source))) from error
    damage = [finding.message for finding in found if finding.kind not in _TOLERATED]
    if damage:
        more = f" and {len(damage) - 1} more" if len(damage) > 1 else ""
        raise GalleryCorrupt(
            f"the copy {source} is damaged ({damage[0]}{more}): give another copy; nothing was done"
        )
    remarks = [finding.message for finding in found if finding.kind != "erasure"]
    return people, tuple(remarks), index


def _discard(index: IndexFile, timeout: float) -> None:
    """Take the old index away, which nobody would believe anyway."""
    try:
        if index.may_exist():
            with index.lock(timeout):
                index.discard()
    except (OSError, GalleryError) as error:
        reason = why(error) if isinstance(error, OSError) else str(error)
        _log.warning("the old search index %s is still there: %s", index.path, reason)
