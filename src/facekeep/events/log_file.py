"""The file of an event log: its tables, its rows as events, and how it is opened."""

from __future__ import annotations

import os
import sqlite3
import stat
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, ClassVar

from facekeep._internal.files import one_line, printable, why
from facekeep.errors import (
    EventLogError,
    GalleryCorrupt,
    GalleryError,
    GalleryKeyError,
    GalleryNotFound,
    NotAGallery,
    StorageFull,
    TemplateTampered,
)
from facekeep.events.event import Event
from facekeep.gallery.crypto import Cipher
from facekeep.gallery.file_errors import resolve_path
from facekeep.gallery.keys import Key
from facekeep.gallery.sqlite.database import Database
from facekeep.gallery.sqlite.schema import Migrations, require_sqlite
from facekeep.gallery.types import from_stamp, to_stamp

__all__ = [
    "COLUMNS",
    "LogFile",
    "insert_event",
    "make_log_scope",
    "open_log_file",
    "read_event",
    "seal_part",
    "translate_log_errors",
    "unseal_part",
]

COLUMNS = (
    "sequence, id, kind, time, camera, track, name, person, usable, similarity, threshold, fmr,"
    " duration, state, clock, crop"
)
_FIELDS = COLUMNS.replace("kind", "event").replace("person", "person_id").split(", ")

_V1 = (
    """CREATE TABLE meta (
        one INTEGER PRIMARY KEY CHECK (one = 1),
        log TEXT NOT NULL,
        key_check BLOB,
        last INTEGER NOT NULL DEFAULT 0,
        unswept INTEGER NOT NULL DEFAULT 0
    ) STRICT""",
    """CREATE TABLE events (
        sequence INTEGER PRIMARY KEY,
        id TEXT NOT NULL UNIQUE,
        kind TEXT NOT NULL,
        time TEXT NOT NULL,
        camera TEXT NOT NULL,
        track INTEGER,
        name BLOB,
        person TEXT,
        usable INTEGER,
        similarity REAL,
        threshold REAL,
        fmr REAL,
        duration REAL,
        state TEXT,
        clock TEXT NOT NULL,
        crop BLOB,
        added TEXT NOT NULL
    ) STRICT""",
    "CREATE INDEX events_by_person ON events (person)",
    """CREATE TABLE sinks (
        name TEXT PRIMARY KEY,
        delivered INTEGER NOT NULL,
        lost INTEGER NOT NULL DEFAULT 0,
        refused INTEGER NOT NULL DEFAULT 0
    ) STRICT""",
    """CREATE TABLE former_people (
        person TEXT PRIMARY KEY,
        became TEXT,
        at TEXT NOT NULL
    ) STRICT""",
)


def _to_v1(connection: sqlite3.Connection) -> None:
    for statement in _V1:
        connection.execute(statement)


_MIGRATIONS: Migrations = (_to_v1,)


class LogFile(Database):
    """The file of an event log, which is kept as a gallery's is."""

    APPLICATION_ID: ClassVar[int] = 0x464B4556  # FKEV
    WHAT: ClassVar[str] = "event log"

    @classmethod
    def migrations(cls) -> Migrations:
        """Return what makes the tables, version by version."""
        return _MIGRATIONS


def open_log_file(
    path: str | os.PathLike[str], key: Key | None, *, read_only: bool, busy_timeout: float
) -> LogFile:
    """Open a log; where there is none it is created, unless it is only to be read."""
    place = Path(os.path.abspath(path))  # noqa: PTH100 - the last part must not be resolved
    place = resolve_path(place.parent) / place.name
    with translate_log_errors(place):
        require_sqlite()
        if not _has_log(place):
            if read_only:
                raise EventLogError(f"there is no event log at {place}: nothing was logged yet")
            LogFile.create(place, lambda connection: _set_up(connection, key))
        file = LogFile(place, read_only=read_only, busy_timeout=busy_timeout)
        if not read_only and file.version < len(_MIGRATIONS):
            file.upgrade(lambda _: None)
        return file


def _has_log(path: Path) -> bool:
    """Whether there is a file; what is no regular file, or empty, is refused."""
    for each in (path, *(Path(f"{path}{end}") for end in ("-wal", "-shm", "-journal"))):
        try:
            status = each.lstat()
        except FileNotFoundError:
            if each is path and not path.parent.is_dir():
                raise EventLogError(
                    f"there is no folder {path.parent} for the event log: create it first"
                ) from None
            continue
        except (OSError, ValueError) as error:
            raise EventLogError(f"cannot use {printable(each)}: {why(error)}") from error
        if not stat.S_ISREG(status.st_mode):
            raise EventLogError(
                f"{each} is a folder, a link or a device, which is never followed: name another"
                " file"
            )
        if each is path and not status.st_size:
            raise EventLogError(f"{path} is empty, not an event log: remove it")
    return os.path.lexists(path)


def _set_up(connection: sqlite3.Connection, key: Key | None) -> None:
    log = str(uuid.uuid4())
    check = Cipher(key, make_log_scope(log)).check
    connection.execute("INSERT INTO meta (one, log, key_check) VALUES (1, ?, ?)", (log, check))


def make_log_scope(log: str) -> str:
    """Return what the key of a log is used for."""
    return f"event log {log}"


@contextmanager
def translate_log_errors(path: Path) -> Iterator[None]:
    """Turn errors about galleries into those about event logs; keys and room stay what they are."""
    try:
        yield
    except (GalleryKeyError, StorageFull, EventLogError):
        raise
    except GalleryError as error:
        raise EventLogError(_explain(error, path)) from error


def _explain(error: GalleryError, path: Path) -> str:
    if isinstance(error, GalleryNotFound):
        return f"there is no event log at {path}: check the path"
    if isinstance(error, NotAGallery):
        return f"{path} is not an event log of facekeep, and is left alone: name another file"
    if isinstance(error, GalleryCorrupt | TemplateTampered):
        cause = one_line(error.__cause__ or error)
        return (
            f"the event log {path} is damaged ({cause}): move it away with its -wal and -shm, a new"
            " one is made"
        )
    return str(error).replace("the gallery ", "the event log ")


# Rows


def insert_event(connection: sqlite3.Connection, cipher: Cipher, event: Event) -> None:
    """Store an event, with its sequence; its age counts from now."""
    name = None if event.name is None else event.name.encode("utf-8", "surrogatepass")
    values = (
        event.sequence,
        event.id,
        event.event,
        to_stamp(event.time, "the time of an event"),
        printable(event.camera),
        event.track,
        seal_part(cipher, event.id, "name", name),
        event.person_id,
        None if event.usable is None else int(event.usable),
        *map(_number, (event.similarity, event.threshold, event.fmr, event.duration)),
        event.state,
        event.clock,
        seal_part(cipher, event.id, "crop", event.crop),
    )
    # The age of an event never is above that of an earlier one, however the clock was set.
    connection.execute(
        f"INSERT INTO events ({COLUMNS}, added) VALUES ({', '.join('?' * len(values))},"  # noqa: S608
        " max(?, coalesce((SELECT added FROM events ORDER BY sequence DESC LIMIT 1), '')))",
        (*values, to_stamp(datetime.now(UTC), "the present")),
    )


def read_event(row: tuple[Any, ...], cipher: Cipher) -> Event:
    """Return the event that a row of ``COLUMNS`` holds."""
    values = dict(zip(_FIELDS, row, strict=True))
    name = unseal_part(cipher, values["id"], "name", values["name"])
    values["crop"] = unseal_part(cipher, values["id"], "crop", values["crop"])
    try:
        values["time"] = from_stamp(values["time"])
        values["name"] = None if name is None else name.decode("utf-8", "surrogatepass")
    except (ValueError, TypeError) as error:
        raise GalleryCorrupt(f"event {values['sequence']} cannot be read") from error
    values["usable"] = None if values["usable"] is None else bool(values["usable"])
    return Event(**values)


def seal_part(cipher: Cipher, event: str, what: str, data: bytes | None) -> bytes | None:
    """Encrypt what an event holds of a person, bound to the event."""
    return None if data is None else cipher.seal(data, f"event {event} {what}")


def unseal_part(cipher: Cipher, event: str, what: str, blob: bytes | None) -> bytes | None:
    """Return what ``seal_part`` made."""
    return None if blob is None else cipher.unseal(blob, f"event {event} {what}")


def _number(value: float | None) -> float | None:
    return None if value is None else float(value)
