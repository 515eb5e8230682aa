"""One SQLite file: connections, transactions, creation, and wiping what was deleted.

Two connections serve all threads of a process: one reads, one writes. In WAL mode a reader is never
held up by a writer, so a search goes on while an enrollment waits for the disk or for its turn.
"""

from __future__ import annotations

import contextlib
import os
import random
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any, ClassVar

from facekeep._internal.files import replacing
from facekeep._internal.fork import Forking, keep_forever, watch
from facekeep.errors import (
    GalleryCorrupt,
    GalleryError,
    GalleryReadOnly,
    GalleryVersion,
    NotAGallery,
)
from facekeep.gallery.file_errors import RESTORE, translate_os_error
from facekeep.gallery.sqlite import schema
from facekeep.gallery.sqlite.file_locks import lock_to_open, register_use, wait_for
from facekeep.gallery.sqlite.sqlite_errors import is_busy, translate_errors

__all__ = ["LOG_VERSIONS", "Database"]

LOG_VERSIONS = slice(18, 20)
"""Bytes of a SQLite file that say by 2 that changes go to a write-ahead log."""

_PRAGMAS = (
    "PRAGMA foreign_keys = ON",
    "PRAGMA synchronous = FULL",
    "PRAGMA secure_delete = ON",
    # Vectors must not spill into temporary files, where nothing would wipe them.
    "PRAGMA temp_store = MEMORY",
    # The file may come from a stranger.
    "PRAGMA trusted_schema = OFF",
    "PRAGMA cell_size_check = ON",
)

_FORK_TIMEOUT = 2.0
"""Seconds that a fork waits for other threads to end what they do."""


def _connect(path: Path, options: str, timeout: float) -> sqlite3.Connection:
    connection = sqlite3.connect(
        f"{path.as_uri()}?{options}",
        uri=True,
        timeout=timeout,
        isolation_level=None,
        check_same_thread=False,
    )
    try:
        for pragma in _PRAGMAS:
            connection.execute(pragma)
    except BaseException:
        connection.close()
        raise
    return connection


@contextmanager
def _transaction(connection: sqlite3.Connection, mode: str, timeout: float) -> Iterator[None]:
    try:
        _begin(connection, mode, timeout)
        yield
        connection.execute("COMMIT")
    except BaseException:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise


def _begin(connection: sqlite3.Connection, mode: str, timeout: float) -> None:
    def start() -> None:
        connection.execute(f"BEGIN {mode}")
        try:
            # A deferred transaction takes its lock, and fixes what it sees, when it first reads.
            if mode == "DEFERRED":
                connection.execute("SELECT 1 FROM sqlite_schema LIMIT 1").fetchall()
        except sqlite3.Error:
            connection.execute("ROLLBACK")
            raise

    _retry(start, timeout)


def _retry(action: Callable[[], object], timeout: float) -> None:
    """Run ``action`` until it finds no lock in its way or ``timeout`` seconds have passed.

    SQLite waits by itself in most cases, but gives up at once where it fears a deadlock and while
    another connection recovers or closes the write-ahead log.
    """
    deadline = time.monotonic() + timeout
    while True:
        try:
            action()
        except sqlite3.OperationalError as error:
            if not is_busy(error) or time.monotonic() >= deadline:
                raise
            time.sleep(random.uniform(0.001, 0.02))  # noqa: S311 - spreads the contenders
        else:
            return


def _empty_log(connection: sqlite3.Connection) -> bool:
    """Move the write-ahead log into the file and cut it to nothing; False where others hold it."""
    try:
        busy, _, _ = connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
    except sqlite3.OperationalError as error:
        if not is_busy(error):
            raise
        return False
    return not busy


def _may_write(path: Path) -> bool:
    return os.access(path, os.W_OK, effective_ids=True)


class Database(Forking):
    """A gallery file that exists; may be shared by threads, and used on in a forked process.

    A child class may keep another kind of file, told by its ``APPLICATION_ID`` and ``migrations``.

    SQLite must not be carried across a fork: so the connections are closed before one, and opened
    again when they are needed next, in the parent as in the child.
    """

    APPLICATION_ID: ClassVar[int] = schema.APPLICATION_ID
    WHAT: ClassVar[str] = "gallery"

    @classmethod
    def migrations(cls) -> schema.Migrations:
        """Return what makes the tables of such a file, version by version."""
        return schema.MIGRATIONS

    @classmethod
    def create(cls, path: Path, setup: Callable[[sqlite3.Connection], None]) -> None:
        """Create a file with permissions 0600; it appears at ``path`` whole or not at all.

        If somebody else creates it in the meantime theirs stays. The file is made in memory, looked
        through, and written to the disk before it gets its name.

        Args:
            path: Where it is to stand.
            setup: Fills the tables, inside the transaction that makes them.
        """
        with translate_errors(path):
            data = cls._make_file(setup)
        try:
            with replacing(path, private=True, new=True) as file:
                file.write(data)
        except FileExistsError:
            return
        except OSError as error:
            raise translate_os_error(error, path) from error

    @classmethod
    def _make_file(cls, setup: Callable[[sqlite3.Connection], None]) -> bytes:
        with closing(sqlite3.connect(":memory:", isolation_level=None)) as connection:
            for pragma in (*_PRAGMAS, f"PRAGMA page_size = {schema.PAGE_SIZE}"):
                connection.execute(pragma)
            with _transaction(connection, "IMMEDIATE", 0):
                connection.execute(f"PRAGMA application_id = {cls.APPLICATION_ID}")
                schema.upgrade_schema(connection, cls.migrations())
                setup(connection)
            (line,) = connection.execute("PRAGMA integrity_check").fetchone()
            if line != "ok":
                raise GalleryError(
                    f"SQLite made a new {cls.WHAT} that is damaged ({line}): try again"
                )
            data = bytearray(connection.serialize())
        data[LOG_VERSIONS] = b"\2\2"
        return bytes(data)

    def __init__(self, path: Path, *, read_only: bool, busy_timeout: float) -> None:
        """Connect and make sure that the file is a gallery of a version we know.

        Raises:
            GalleryCorrupt: The file is damaged, not a gallery, or has tables, triggers, views or
                indexes that facekeep did not make.
            GalleryVersion: A newer facekeep wrote it.
        """
        self.path = path
        self.read_only = read_only
        self.timeout = busy_timeout
        self.version = 0
        self._cookie: int | None = None
        self._carried = False
        self._held: list[Any] = []
        self._read_lock = threading.RLock()
        self._write_lock = threading.RLock()
        self._writer: sqlite3.Connection | None = None
        self._reader: sqlite3.Connection | None = None
        self._closed = False
        self._damaged = False
        self._release: Callable[[], None] = lambda: None
        try:
            with self._translate_errors(), lock_to_open(path, busy_timeout):
                self._release = register_use(path)
                self._read_connection()
        except BaseException:
            self.close()
            raise
        watch(self)

    @property
    def mode(self) -> str:
        """Whether the file is ``open``, open ``read-only``, or ``closed``."""
        if self._closed:
            return "closed"
        return "read-only" if self.read_only else "open"

    def before_fork(self) -> None:
        """Close the connections, unless another thread keeps them, or this one is using them."""
        locks = (self._write_lock, self._read_lock)
        self._held = [lock for lock in locks if lock.acquire(timeout=_FORK_TIMEOUT)]
        open_ones = [each for each in (self._writer, self._reader) if each is not None]
        if len(self._held) == len(locks) and not any(each.in_transaction for each in open_ones):
            with self._keep_log():
                for each in open_ones:
                    each.close()
            self._writer = self._reader = None

    def after_fork(self, *, child: bool) -> None:
        """Go on; a child leaves alone for ever what could not be closed."""
        held, self._held = self._held, []
        for lock in held:
            lock.release()
        if child:
            self._read_lock, self._write_lock = threading.RLock(), threading.RLock()
            for each in (self._writer, self._reader):
                if each is not None:
                    keep_forever(each)
                    self._carried = True
            self._writer = self._reader = None

    def _read_connection(self) -> sqlite3.Connection:
        """Return the connection that reads; opened anew, it must still be a gallery we know."""
        if self._reader is None:
            with lock_to_open(self.path, self.timeout):
                reader = self._reader = self._open_reader()
                try:
                    with self._translate_errors():
                        self._check_gallery(reader)
                except BaseException:
                    self.close()
                    raise
            return reader
        return self._reader

    @contextmanager
    def _translate_errors(self) -> Iterator[None]:
        try:
            with translate_errors(self.path):
                yield
        except GalleryCorrupt:
            self._damaged = True
            raise

    def _open_reader(self) -> sqlite3.Connection:
        try:
            return self._try_reader(self._reader_mode())
        except sqlite3.OperationalError as error:
            if not self._is_frozen(error):
                raise
        # On a medium that nobody can write, SQLite can do without its log and shared memory.
        return self._try_reader("mode=ro&immutable=1")

    @staticmethod
    def _is_about_access(error: sqlite3.OperationalError) -> bool:
        codes = (sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_READONLY)
        return getattr(error, "sqlite_errorcode", 0) & 0xFF in codes

    def _reader_mode(self) -> str:
        """Read so that nothing is left beside the file, where that changes no byte of it.

        Who reads a file in WAL mode makes a log and shared memory, and only a connection that may
        write takes them away again. What a log already holds it would move into the file.
        """
        if not self.read_only:
            return "mode=rw"
        tidy = not self._has_log() and _may_write(self.path) and _may_write(self.path.parent)
        return "mode=rw" if tidy else "mode=ro"

    def _try_reader(self, options: str) -> sqlite3.Connection:
        connection = _connect(self.path, options, self.timeout)
        try:
            connection.execute("PRAGMA query_only = ON")
            connection.execute("PRAGMA schema_version").fetchone()
        except BaseException:
            connection.close()
            raise
        return connection

    def _is_frozen(self, error: sqlite3.OperationalError) -> bool:
        return (
            self.read_only
            and self._is_about_access(error)
            and not self._has_log()
            and not _may_write(self.path.parent)
        )

    def _has_log(self) -> bool:
        try:
            return Path(f"{self.path}-wal").stat().st_size > 0
        except FileNotFoundError:
            return False

    def _check_gallery(self, reader: sqlite3.Connection) -> None:
        with _transaction(reader, "DEFERRED", self.timeout):
            self._check_state(reader)

    def _check_state(self, reader: sqlite3.Connection) -> None:
        (application,) = reader.execute("PRAGMA application_id").fetchone()
        (version,) = reader.execute("PRAGMA user_version").fetchone()
        if application != self.APPLICATION_ID or version < 1:
            raise NotAGallery(f"{self.path} is not a facekeep {self.WHAT}: give the path of one")
        newest = len(self.migrations())
        if version > newest:
            raise GalleryVersion(
                f"{self.path} has format {version}, this facekeep knows up to {newest}:"
                " install a newer facekeep"
            )
        self.version = version
        self._compare_schema(reader)

    def _compare_schema(self, connection: sqlite3.Connection) -> None:
        """Refuse tables, triggers, views and indexes that facekeep did not make."""
        (cookie,) = connection.execute("PRAGMA schema_version").fetchone()
        if cookie == self._cookie:
            return
        (version,) = connection.execute("PRAGMA user_version").fetchone()
        strange = schema.compare_schema(connection, self.migrations()[:version])
        if strange:
            raise GalleryCorrupt(f"{self.path} was changed outside facekeep: {strange}; {RESTORE}")
        self.version = version
        self._cookie = cookie

    def upgrade(self, finish: Callable[[sqlite3.Connection], None]) -> None:
        """Bring an older file to the present format, in one transaction.

        Args:
            finish: Fills what is new, inside the transaction; called only where it was older.
        """
        with self.write() as connection:
            if self.version < len(self.migrations()):
                schema.upgrade_schema(connection, self.migrations())
                finish(connection)
        with self._read_lock:
            self._compare_schema(self._read_connection())

    @contextmanager
    def read(self) -> Iterator[sqlite3.Connection]:
        """Give a connection inside a transaction that sees one state of the gallery."""
        with self._read_lock, self._translate_errors():
            self._check_usable()
            connection = self._read_connection()
            with _transaction(connection, "DEFERRED", self.timeout):
                yield connection

    @contextmanager
    def snapshot(self) -> Iterator[sqlite3.Connection]:
        """Like ``read``, for long reading: on a connection of its own, so nobody waits for it."""
        self._check_usable()
        with (
            self._translate_errors(),
            closing(self._open_reader()) as connection,
            _transaction(connection, "DEFERRED", self.timeout),
        ):
            yield connection

    @contextmanager
    def write(self) -> Iterator[sqlite3.Connection]:
        """Give a connection inside a transaction that is kept whole or, on any error, not at all.

        Raises:
            GalleryBusy: Others kept the gallery locked for longer than the time-out.
            GalleryReadOnly: The gallery cannot be written.
            StorageFull: There is no room to write.
        """
        with self._write_lock, self._translate_errors():
            connection = self._write_connection()
            with _transaction(connection, "IMMEDIATE", self.timeout):
                self._compare_schema(connection)
                yield connection

    def compact(self) -> None:
        """Rewrite the file without what was deleted, and empty the write-ahead log.

        Raises:
            GalleryBusy: Somebody is still reading an older state, so the log could not be emptied.
        """
        with self._write_lock, self._read_lock, self._translate_errors():
            connection = self._write_connection()
            _retry(lambda: connection.execute("VACUUM"), self.timeout)
            wait_for(
                lambda: _empty_log(connection),
                self.timeout,
                f"another program is reading {self.path}: close it",
            )

    def empty_log(self) -> bool:
        """Move the write-ahead log into the file; False where somebody reads an older state."""
        with self._write_lock, self._translate_errors():
            return _empty_log(self._write_connection())

    def size(self) -> int:
        """Bytes that the gallery takes on disk, its write-ahead log included."""
        log = Path(f"{self.path}-wal")
        return self.path.stat().st_size + (log.stat().st_size if log.exists() else 0)

    def _write_connection(self) -> sqlite3.Connection:
        self._check_usable()
        if self.read_only:
            raise GalleryReadOnly(f"{self.path} was opened for reading only: open it for writing")
        if self._writer is None:
            self._writer = _connect(self.path, "mode=rw", self.timeout)
        return self._writer

    def _check_usable(self) -> None:
        if self._closed:
            raise GalleryError(f"the gallery {self.path} was closed: open it again")
        if self._carried:
            raise GalleryError(
                f"{self.path} was in use while this process was forked: open it again here"
            )

    def close(self) -> None:
        """Close the connections; doing it twice does no harm."""
        with self._write_lock, self._read_lock, self._keep_log():
            for connection in (self._writer, self._reader):
                if connection is not None:
                    connection.close()
            self._writer = self._reader = None
            if not self._closed:
                self._closed = True
                self._release()

    @contextmanager
    def _keep_log(self) -> Iterator[None]:
        """Where damage was found, leave file and log as they are, for whoever mends them.

        The log may be an old one beside a copy that was put over the gallery. The last connection
        that closes and may write moves it into the file, so that another one outlasts it.
        """
        with contextlib.ExitStack() as stack:
            if self._damaged and not self._closed and self._has_log():
                with contextlib.suppress(sqlite3.Error):
                    guard = stack.enter_context(closing(_connect(self.path, "mode=ro", 0)))
                    guard.execute("SELECT 1 FROM sqlite_schema").fetchall()
            yield
