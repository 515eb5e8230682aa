"""The file of the photo cache: opening it, judging it, erasing it."""

from __future__ import annotations

import contextlib
import hmac
import logging
import os
import secrets
import sqlite3
import stat
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from facekeep._internal.files import private_folder
from facekeep.errors import FacekeepError, InputError
from facekeep.gallery.crypto import Cipher
from facekeep.gallery.keys import Key
from facekeep.gallery.sqlite.sqlite_errors import is_busy
from facekeep.models.paths import cache_dir

__all__ = [
    "CacheInfo",
    "UnusableCacheError",
    "cache_info",
    "cache_path",
    "clear_cache",
    "is_broken",
    "open_cache_file",
    "patiently",
    "transaction",
]

_log = logging.getLogger(__name__)

_PATIENCE = 10.0  # seconds to wait for another run's lock
_APPLICATION_ID = 0x464B5043  # "FKPC"
_VERSION = 1
# A photo has faces, packed by ``pack_faces`` and sealed, or the reason why it cannot be read and
# the versions of what failed to read it. "used" is the last day that a run met it, since 1970.
# What says whose file it is comes first, before the file is written ahead to a log: so that it is
# found in the file itself whenever that is not empty.
_TABLES = (
    f"PRAGMA application_id = {_APPLICATION_ID}",
    f"PRAGMA user_version = {_VERSION}",
    "CREATE TABLE meta (scope TEXT NOT NULL, key_check BLOB) STRICT",
    "CREATE TABLE files (stamp BLOB PRIMARY KEY, digest TEXT NOT NULL) STRICT, WITHOUT ROWID",
    "CREATE TABLE photos (digest TEXT NOT NULL, recipe TEXT NOT NULL, faces BLOB, reason TEXT,"
    " readers TEXT, used INTEGER NOT NULL, PRIMARY KEY (digest, recipe)) STRICT",
)
_PRAGMAS = (
    "PRAGMA trusted_schema = OFF",
    "PRAGMA secure_delete = ON",
    "PRAGMA temp_store = MEMORY",
)
_LOG_PRAGMAS = ("PRAGMA journal_mode = WAL", "PRAGMA synchronous = NORMAL")
_MAGIC = b"SQLite format 3\0"
_ID_PLACE = slice(68, 72)  # of the application's number in a file of SQLite's
_FOREIGN = "not a cache of photos of facekeep's; move it away, or name a folder in FACEKEEP_CACHE"
_BROKEN = (sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_CORRUPT)

_T = TypeVar("_T")


class UnusableCacheError(FacekeepError):
    """There is a file, and it must be left alone."""


class _PlainError(Exception):
    """The cache is not encrypted, and it should be."""


@dataclass(frozen=True, slots=True)
class CacheInfo:
    """What a cache holds.

    Attributes:
        path: Its file.
        exists: Whether there is one.
        size: Bytes on disk.
        photos: Photos whose faces it holds, counted once for each recipe.
        unreadable: Photos that could not be read.
        encrypted: Whether the faces are encrypted.
    """

    path: Path
    exists: bool
    size: int = 0
    photos: int = 0
    unreadable: int = 0
    encrypted: bool = False


def cache_path() -> Path:
    """Return where the cache is: ``photos.db`` in the user's cache folder (``FACEKEEP_CACHE``)."""
    return cache_dir() / "photos.db"


def cache_info(path: Path | None = None) -> CacheInfo:
    """Say what the cache holds, without changing it.

    Raises:
        InputError: The file is damaged, or no cache.
        OSError: It cannot be read.
    """
    path = path or cache_path()
    if not os.path.lexists(path):
        return CacheInfo(path, exists=False)
    _require_own(path)
    size = sum(each.stat().st_size for each in _files(path) if each.exists())
    uri = f"{path.absolute().as_uri()}?mode=ro"
    try:
        with contextlib.closing(sqlite3.connect(uri, uri=True, timeout=_PATIENCE)) as connection:
            ((encrypted,),) = connection.execute("SELECT key_check IS NOT NULL FROM meta")
            ((photos, bad),) = connection.execute("SELECT count(faces), count(reason) FROM photos")
    except (sqlite3.Error, ValueError) as error:
        message = f"{path} cannot be used as a cache of photos ({error}); erase it"
        raise InputError(message, "cache_clear") from error
    return CacheInfo(path, True, size, photos, bad, bool(encrypted))


def clear_cache(path: Path | None = None) -> bool:
    """Erase the cache; False when there was none.

    Raises:
        InputError: The file is none, and stays as it is.
        OSError: It cannot be erased.
    """
    path = path or cache_path()
    existed = os.path.lexists(path)
    if existed:
        _require_own(path)
    for each in _files(path):
        each.unlink(missing_ok=True)
    return existed


def open_cache_file(path: Path, key: Key | None) -> tuple[sqlite3.Connection, Cipher]:
    """Open or create the cache; a damaged one, or a plain one where there is a key, is replaced.

    Raises:
        UnusableCacheError: It is of another version or program, or encrypted with another key.
        sqlite3.Error: It cannot be used.
        OSError: It cannot be created.
    """
    try:
        return _connect(path, key)
    except _PlainError:
        _log.warning("%s was not encrypted and was discarded, because a key is set", path)
    except sqlite3.DatabaseError as error:
        if not is_broken(error):
            raise
        _log.warning("%s was damaged and was discarded", path)
    clear_cache(path)
    return _connect(path, key)


def is_broken(error: Exception) -> bool:
    """Whether the error says that the file is damaged or no SQLite file at all."""
    code = getattr(error, "sqlite_errorcode", None)
    return code is not None and code & 0xFF in _BROKEN


def patiently(action: Callable[[], _T]) -> _T:
    """Run ``action`` again while it meets a lock: SQLite itself does not wait for every kind."""
    deadline = time.monotonic() + _PATIENCE
    while True:
        try:
            return action()
        except sqlite3.OperationalError as error:
            if not is_busy(error) or time.monotonic() >= deadline:
                raise
            time.sleep(0.02)


@contextlib.contextmanager
def transaction(connection: sqlite3.Connection) -> Iterator[None]:
    """Keep what is done in the block whole or, on any error, not at all."""
    connection.execute("BEGIN IMMEDIATE")
    try:
        yield
        connection.execute("COMMIT")
    except BaseException:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise


def _require_own(path: Path) -> None:
    """Make sure, before anything is done to a file, that it is a cache of ours.

    Raises:
        InputError: It is another program's, or a link.
        OSError: It cannot be read.
    """
    handle = os.open(path, os.O_RDONLY | os.O_NONBLOCK) if path.is_file() else None
    try:
        if path.is_symlink() or handle is None or not _is_own(handle):
            raise InputError(f"{path} is {_FOREIGN}")
    finally:
        if handle is not None:
            os.close(handle)


def _is_own(handle: int) -> bool:
    """Tell by its first bytes whether an open file is a cache of ours, damaged or not, or empty."""
    if not stat.S_ISREG(os.fstat(handle).st_mode):
        return False
    head = os.pread(handle, 100, 0)
    return not head or (
        head.startswith(_MAGIC) and head[_ID_PLACE] == _APPLICATION_ID.to_bytes(4, "big")
    )


def _claim(path: Path) -> None:
    """Create the file, or make sure that it is ours, before SQLite opens it by its name.

    Raises:
        UnusableCacheError: It is another program's, or a link.
        OSError: It cannot be created or read.
    """
    private_folder(path.parent)
    if any(each.is_symlink() for each in _files(path)):
        raise UnusableCacheError(f"it is {_FOREIGN}")
    handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NONBLOCK | os.O_NOFOLLOW, 0o600)
    try:
        if not _is_own(handle):
            raise UnusableCacheError(f"it is {_FOREIGN}")
        os.fchmod(handle, 0o600)
    finally:
        os.close(handle)


def _connect(path: Path, key: Key | None) -> tuple[sqlite3.Connection, Cipher]:
    _claim(path)
    connection = sqlite3.connect(
        path, timeout=_PATIENCE, isolation_level=None, check_same_thread=False
    )
    try:
        patiently(lambda: _prepare(connection, key))
        return connection, _cipher(connection, key)
    except BaseException:
        connection.close()
        raise


def _prepare(connection: sqlite3.Connection, key: Key | None) -> None:
    """Set the connection up, and make the tables in an empty file."""
    for pragma in _PRAGMAS:
        connection.execute(pragma)
    with transaction(connection):
        ((tables,),) = connection.execute("SELECT count(*) FROM sqlite_schema").fetchall()
        if not tables:
            for statement in _TABLES:
                connection.execute(statement)
            scope = secrets.token_hex(16)
            check = Cipher(key, f"photos {scope}").check
            connection.execute("INSERT INTO meta VALUES (?, ?)", (scope, check))
    for pragma in _LOG_PRAGMAS:
        connection.execute(pragma)


def _cipher(connection: sqlite3.Connection, key: Key | None) -> Cipher:
    """Return the cipher of an open cache, if it is one and the key is right."""
    ((application,),) = connection.execute("PRAGMA application_id").fetchall()
    ((version,),) = connection.execute("PRAGMA user_version").fetchall()
    if (application, version) != (_APPLICATION_ID, _VERSION):
        raise UnusableCacheError("it is not a cache of this version of facekeep; remove it")
    ((scope, check),) = connection.execute("SELECT scope, key_check FROM meta").fetchall()
    if key is not None and check is None:
        raise _PlainError
    cipher = Cipher(key, f"photos {scope}")
    if not hmac.compare_digest(cipher.check or b"", check or b""):
        raise UnusableCacheError(
            "it is encrypted with another key; give that key, or erase the cache", "cache_clear"
        )
    return cipher


def _files(path: Path) -> list[Path]:
    return [Path(f"{path}{suffix}") for suffix in ("", "-wal", "-shm", "-journal")]
