"""``EventLog``: all events in one SQLite file, which is also where they wait to be delivered."""

from __future__ import annotations

import logging
import os
import sqlite3
import threading
import time
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from itertools import islice
from pathlib import Path
from typing import Any, Literal, Self, cast

from facekeep._internal.arguments import require_count
from facekeep._internal.closing import Closing
from facekeep._internal.files import printable
from facekeep.errors import (
    EventLogError,
    FacekeepError,
    GalleryCorrupt,
    GalleryKeyError,
    InputError,
    StorageFull,
)
from facekeep.events.event import Event, EventKind
from facekeep.events.log_file import (
    COLUMNS,
    LogFile,
    insert_event,
    make_log_scope,
    open_log_file,
    read_event,
    seal_part,
    translate_log_errors,
    unseal_part,
)
from facekeep.gallery.crypto import Cipher, make_cipher
from facekeep.gallery.file_errors import resolve_path
from facekeep.gallery.keys import Key
from facekeep.gallery.types import to_stamp

__all__ = [
    "DeliveryState",
    "Erased",
    "EventLog",
    "Expired",
    "LogStatus",
    "SinkStatus",
    "default_event_log_path",
    "erase_person_events",
    "rekey_event_log",
]

_log = logging.getLogger(__name__)

DeliveryState = Literal["starting", "idle", "delivering", "retrying", "elsewhere", "stopped"]

_PAGE = 500
"""Events read together, to bound memory and the time that erasing may have to wait."""
_EXPIRE_EVERY = 600.0
"""Seconds after which an open log looks for what has expired."""
_MAX_HELD = 1000
"""Events that wait in memory while there is no room on the disk."""
_HURRY = 0.2
"""Seconds that opening a log may wait to finish an erasure that was cut off."""
_JUMP = timedelta(minutes=5)
"""By how much a clock that goes wrong or is corrected may differ from the time that has passed."""
_FORMER_AGE = timedelta(days=1)
"""How long a log knows who was erased or merged: a visit that was going on then is over."""


@dataclass(frozen=True, slots=True)
class Erased:
    """How many events lost a name, and how many a crop."""

    names: int
    crops: int


@dataclass(frozen=True, slots=True)
class Expired:
    """How many events were removed from a log, and why.

    Attributes:
        strangers: Those of people without a name that were kept long enough.
        old: Those older than any event may become.
        oversize: The oldest, which had to make room.
        lost: How often one of them was still to be delivered, by sink.
    """

    strangers: int
    old: int
    oversize: int
    lost: dict[str, int]


@dataclass(frozen=True, slots=True)
class SinkStatus:
    """How far a sink is.

    Attributes:
        name: The sink's name.
        delivered: The sequence of the last event that is settled.
        pending: Events that wait for it.
        lost: Events that were removed from the log before they could be delivered.
        refused: Events that it will never take.
        state: What its ``Delivery`` does: ``idle``, ``delivering``, ``retrying`` after an error,
            ``elsewhere`` while another process serves the sink, ``starting`` or ``stopped``; None
            where the log alone was asked.
        error: Why the last try failed; None once one succeeded.
    """

    name: str
    delivered: int
    pending: int
    lost: int
    refused: int
    state: DeliveryState | None = None
    error: str | None = None


@dataclass(frozen=True, slots=True)
class LogStatus:
    """What an event log holds.

    Attributes:
        path: Its file.
        events: How many events it holds.
        size: Bytes on the disk.
        encrypted: Whether names and crops are encrypted.
        sinks: How far each sink is.
    """

    path: Path
    events: int
    size: int
    encrypted: bool
    sinks: tuple[SinkStatus, ...]


class EventLog(Closing):
    """Events in the order in which they happened, and how far each sink has got with them.

    Threads may share one object, and processes one file. What ``append`` acknowledged is on the
    disk. Events keep their place until they are too old, or the file becomes too large; if one of
    those was still to be delivered the loss is counted, and a warning logged. Any method may raise
    ``EventLogError``; those that change something also ``StorageFull``, after which the log is as
    it was before.
    """

    def __init__(
        self,
        file: LogFile,
        key: Key | None,
        max_age: timedelta,
        max_bytes: int,
        stranger_age: timedelta,
    ) -> None:
        """Take an open file; ``open`` is the way in."""
        self._file = file
        self._key = key
        self._max_age = max_age
        self._max_bytes = max_bytes
        self._stranger_age = stranger_age
        self._ciphers: dict[bytes | None, Cipher] = {}
        self._appended = threading.Condition()
        self._latest = 0
        self._holding = threading.Lock()
        self._held: deque[Event] = deque()
        self._next_expiry = time.monotonic() + _EXPIRE_EVERY
        self._opened = datetime.now(UTC), _uptime()

    def __repr__(self) -> str:
        return f"<EventLog {printable(self.path)}, {self._file.mode}>"

    @classmethod
    def open(
        cls,
        path: str | os.PathLike[str],
        *,
        key: Key | None = None,
        max_age: timedelta = timedelta(days=30),
        max_bytes: int = 256 * 2**20,
        stranger_age: timedelta = timedelta(days=7),
        read_only: bool = False,
        busy_timeout: float = 30.0,
    ) -> Self:
        """Open an event log; where there is none it is created, unless it is only to be read.

        Args:
            path: Its file, which gets the permissions 0600. A link is never followed.
            key: The key of the gallery. A new log is encrypted with it: names and crops.
            max_age: How long an event is kept, from when it was appended.
            max_bytes: How large the events may become; then the oldest go.
            stranger_age: How long events of people without a name are kept, with their crops.
            read_only: Never write.
            busy_timeout: Seconds to wait while others keep the log locked.

        Raises:
            EventLogError: The file is damaged, something else, or from a newer facekeep, or it
                cannot be used.
            GalleryKeyError: The key is missing or wrong, or the log is not encrypted.
        """
        if max_bytes < 2**16 or min(max_age, stranger_age) <= timedelta(0):
            raise InputError("an event log needs ages above 0 and 65536 bytes or more")
        file = open_log_file(path, key, read_only=read_only, busy_timeout=busy_timeout)
        log = cls(file, key, max_age, max_bytes, stranger_age)
        try:
            with log._read() as (_, cipher):
                cipher.seal(b"", "")
            log._finish_erasure()
        except BaseException:
            file.close()
            raise
        return log

    def close(self) -> None:
        """Close the file; doing it twice does no harm."""
        if self._held:
            self.keep([])
            self._drop_held(0)
        self._file.close()

    @property
    def path(self) -> Path:
        """Where the log stands."""
        return self._file.path

    # Transactions

    @contextmanager
    def _read(self) -> Iterator[tuple[sqlite3.Connection, Cipher]]:
        with translate_log_errors(self.path), self._file.read() as connection:
            yield connection, self._cipher(connection)

    @contextmanager
    def _write(self) -> Iterator[tuple[sqlite3.Connection, Cipher]]:
        with translate_log_errors(self.path), self._file.write() as connection:
            yield connection, self._cipher(connection)

    def _cipher(self, connection: sqlite3.Connection) -> Cipher:
        """Return the cipher; chosen anew each time, as another process may change the key."""
        row = connection.execute("SELECT log, key_check FROM meta").fetchone()
        if row is None:
            raise GalleryCorrupt("its description is missing")
        log, check = row
        if check not in self._ciphers:
            self._ciphers[check] = make_cipher(self._key, make_log_scope(log), check, self.path)
        return self._ciphers[check]

    # Events

    def append(self, event: Event) -> Event:
        """Store an event and return it with its sequence; when this returns it is on the disk.

        An event that is there already, by its id, is returned as it is stored: so it does no harm
        to append one again after an error. Who was erased or merged into somebody else meanwhile is
        stored accordingly.
        """
        with self._write() as (connection, cipher):
            known = connection.execute(
                f"SELECT {COLUMNS} FROM events WHERE id = ?",  # noqa: S608 - no foreign text
                (event.id,),
            ).fetchone()
            if known is not None:
                return read_event(known, cipher)
            (last,) = connection.execute(
                "UPDATE meta SET last = last + 1 RETURNING last"
            ).fetchone()
            stored = _follow_person(connection, replace(event, sequence=last))
            insert_event(connection, cipher, stored)
            expired = self._trim(connection)
        self._announce(expired)
        with self._appended:
            self._latest = stored.sequence
            self._appended.notify_all()
        self.expire_if_due()
        return stored

    def keep(self, events: Sequence[Event]) -> list[Event]:
        """Append events, or hold them in memory while the disk is full, so that cameras go on.

        What is held is appended first, by the next call that can: so call it for each frame. 1,000
        events are held at most; beyond, and if the log is closed while there is still no room, the
        oldest are lost, which is logged.

        Returns:
            The events that are stored now, also those of earlier calls.
        """
        stored: list[Event] = []
        with self._holding:
            first = not self._held
            self._held += events
            try:
                while self._held:
                    stored.append(self.append(self._held[0]))
                    self._held.popleft()
            except StorageFull as error:
                if first:
                    _log.warning("%s; events wait in memory", error)
                self._drop_held(_MAX_HELD)
        return stored

    def _drop_held(self, most: int) -> None:
        lost = max(0, len(self._held) - most)
        for _ in range(lost):
            self._held.popleft()
        if lost:
            _log.error("%d events are lost, as there was no room to store them", lost)

    @property
    def last(self) -> int:
        """The sequence of the latest event there was; 0 before the first."""
        with self._read() as (connection, _):
            return int(connection.execute("SELECT last FROM meta").fetchone()[0])

    def wait(self, sequence: int, timeout: float, stop: threading.Event) -> None:
        """Wait until there is an event after ``sequence``, for ``timeout`` seconds at most.

        Events of other processes are noticed when the time is over. ``wake`` ends it early, where
        ``stop`` was set before.
        """
        with self._appended:
            if self._latest <= sequence and not stop.is_set():
                self._appended.wait(timeout)

    def wake(self) -> None:
        """End all waiting."""
        with self._appended:
            self._appended.notify_all()

    def events(
        self,
        *,
        since: datetime | None = None,
        until: datetime | None = None,
        person: str | None = None,
        camera: str | None = None,
        kind: EventKind | None = None,
        limit: int | None = None,
    ) -> Iterator[Event]:
        """Yield events in the order of their sequence.

        Args:
            since: The earliest time, with a time zone.
            until: The latest time, with a time zone.
            person: A name, in upper or lower case, or the id of a person.
            camera: The name of a camera.
            kind: What happened.
            limit: Only the latest of them, as many as this.
        """
        if limit is not None:
            require_count("limit", limit, 0)
        terms: list[str] = []
        values: list[Any] = []
        for column, operator, value in (
            ("time", ">=", None if since is None else to_stamp(since, "since")),
            ("time", "<=", None if until is None else to_stamp(until, "until")),
            ("camera", "=", camera),
            ("kind", "=", kind),
        ):
            if value is not None:
                terms.append(f"{column} {operator} ?")
                values.append(value)
        found = self._pages(terms, values, newest_first=limit is not None)
        if person is not None:
            found = (each for each in found if _is_about(each, person))
        if limit is None:
            return found
        return reversed(list(islice(found, limit)))

    def _pages(
        self, terms: Sequence[str], values: Sequence[Any], *, newest_first: bool
    ) -> Iterator[Event]:
        """Yield the events that fulfill all terms; nobody waits for a slow reader."""
        order, beyond = ("DESC", "<") if newest_first else ("ASC", ">")
        place = 2**62 if newest_first else 0
        query = (
            f"SELECT {COLUMNS} FROM events WHERE {' AND '.join((*terms, f'sequence {beyond} ?'))}"  # noqa: S608
            f" ORDER BY sequence {order} LIMIT {_PAGE}"
        )
        while True:
            with self._read() as (connection, cipher):
                rows = connection.execute(query, (*values, place)).fetchall()
                page = [read_event(row, cipher) for row in rows]
            yield from page
            if len(page) < _PAGE:
                return
            place = page[-1].sequence

    # Sinks

    def add_sink(self, name: str) -> None:
        """Make a sink known; it gets the events from now on, or goes on where it was.

        Args:
            name: The sink's name, which must not hold a secret.
        """
        with self._write() as (connection, _):
            connection.execute(
                "INSERT OR IGNORE INTO sinks (name, delivered) SELECT ?, last FROM meta", (name,)
            )

    def remove_sink(self, name: str) -> None:
        """Forget a sink that will not come back."""
        with self._write() as (connection, _):
            connection.execute("DELETE FROM sinks WHERE name = ?", (name,))

    def pending(self, sink: str, limit: int = 1) -> list[Event]:
        """Return the events that a sink is to get next, in order; EventLogError if it is unknown.

        Ask again before each try: the name of somebody who was erased meanwhile is not in it.
        """
        with self._read() as (connection, cipher):
            row = connection.execute(
                "SELECT delivered FROM sinks WHERE name = ?", (sink,)
            ).fetchone()
            if row is None:
                raise EventLogError(f"{self.path} knows no sink {printable(sink)!r}: add it first")
            rows = connection.execute(
                f"SELECT {COLUMNS} FROM events WHERE sequence > ? ORDER BY sequence LIMIT ?",  # noqa: S608
                (*row, limit),
            ).fetchall()
            return [read_event(row, cipher) for row in rows]

    def delivered(self, sink: str, sequence: int, *, refused: bool = False) -> None:
        """Note that a sink is done with all events up to ``sequence``.

        Args:
            sink: The sink's name.
            sequence: That of the event.
            refused: It did not take the event and never will.
        """
        with self._write() as (connection, _):
            connection.execute(
                "UPDATE sinks SET delivered = ?1, refused = refused + ?2"
                " WHERE name = ?3 AND delivered < ?1",
                (sequence, int(refused), sink),
            )

    def status(self) -> LogStatus:
        """Return what the log holds."""
        with self._read() as (connection, cipher):
            (count,) = connection.execute("SELECT count(*) FROM events").fetchone()
            rows = connection.execute(
                "SELECT name, delivered, (SELECT count(*) FROM events WHERE sequence > delivered),"
                " lost, refused FROM sinks ORDER BY name"
            ).fetchall()
        sinks = tuple(SinkStatus(*row) for row in rows)
        size = self._file.size()
        return LogStatus(self.path, count, size, cipher.check is not None, sinks)

    # Retention

    def expire(self, now: datetime | None = None) -> Expired:
        """Remove what was kept long enough, and what is too much.

        Args:
            now: The present, with a time zone; the system's clock, if None. If it was set back,
                the ages of what seems to come from the future count from now on. If it was set
                forward, as devices without a clock do, so do those of what was appended since the
                log was opened.
        """
        wrong_since = self._find_jump() if now is None else None
        now = datetime.now(UTC) if now is None else now
        stamp = to_stamp(now, "now")
        with self._write() as (connection, _):
            if wrong_since is not None:
                connection.execute(
                    "UPDATE events SET added = ? WHERE added >= ?",
                    (stamp, to_stamp(wrong_since, "the opening")),
                )
            connection.execute("UPDATE events SET added = ?1 WHERE added > ?1", (stamp,))
            connection.execute(
                "DELETE FROM former_people WHERE at < ? OR at > ?",
                (to_stamp(now - _FORMER_AGE, "now"), stamp),
            )
            lost: dict[str, int] = {}
            old = _remove(
                connection, lost, "added < ?", to_stamp(now - self._max_age, "the oldest time")
            )
            strangers = _remove(
                connection,
                lost,
                "person IS NULL AND name IS NULL AND kind != 'camera' AND added < ?",
                to_stamp(now - self._stranger_age, "the oldest time"),
            )
            trimmed = self._trim(connection)
        for sink, count in trimmed.lost.items():
            lost[sink] = lost.get(sink, 0) + count
        done = Expired(strangers, old, trimmed.oversize, lost)
        self._announce(done)
        if strangers or old:
            with translate_log_errors(self.path):
                self._file.empty_log()
        return done

    def _find_jump(self) -> datetime | None:
        """Return when the log was opened, by a clock that was set forward since; else None."""
        (opened, uptime), now = self._opened, (datetime.now(UTC), _uptime())
        if now[0] - opened <= timedelta(seconds=now[1] - uptime) + _JUMP:
            return None
        self._opened = now
        return opened

    def expire_if_due(self) -> None:
        """Do ``expire`` if it was not done for ten minutes; call it now and then.

        What goes wrong is logged: events go on.
        """
        if time.monotonic() < self._next_expiry:
            return
        self._next_expiry = time.monotonic() + _EXPIRE_EVERY
        try:
            self.expire()
        except FacekeepError as error:
            _log.warning("old events could not be removed: %s", error)

    def _trim(self, connection: sqlite3.Connection) -> Expired:
        """Remove the oldest events, a twentieth at a time, until the rest is small enough."""
        removed, lost = 0, dict[str, int]()
        while _used_bytes(connection) > self._max_bytes:
            (count,) = connection.execute("SELECT count(*) FROM events").fetchone()
            if count <= 1:  # the latest stays, however large it is
                break
            removed += _remove(
                connection,
                lost,
                "sequence <= (SELECT sequence FROM events ORDER BY sequence LIMIT 1 OFFSET ?)",
                count // 20,
            )
        return Expired(0, 0, removed, lost)

    def _announce(self, expired: Expired) -> None:
        for sink, count in expired.lost.items():
            _log.warning(
                "%d events were never delivered to %s: the event log %s keeps them for %s and"
                " holds %d bytes at most",
                *(count, sink, self.path, self._max_age, self._max_bytes),
            )

    # Erasure

    def erase_person(self, person_id: str) -> Erased:
        """Take name, similarity and crop from all events of a person, for good.

        What was there is overwritten, also in events that wait to be delivered. A visit of the
        person that is still going on gives only events without a name from here on. What was
        delivered already is elsewhere.

        Args:
            person_id: The person's UUID in the gallery.

        Returns:
            How many events lost a name and a crop.
        """
        with self._write() as (connection, _):
            names, crops = connection.execute(
                "SELECT count(name), count(crop) FROM events WHERE person = ?", (person_id,)
            ).fetchone()
            _remember_person(connection, person_id, None)
            changed = connection.execute(
                "UPDATE events SET name = NULL, crop = NULL, person = NULL, similarity = NULL"
                " WHERE person = ?",
                (person_id,),
            ).rowcount
            if changed:
                connection.execute("UPDATE meta SET unswept = unswept + 1")
        if changed:
            self._sweep()
        return Erased(names, crops)

    def merge_person(self, person_id: str, into: str) -> int:
        """Give the events of a person who was merged to the other one, and return how many.

        They keep the name that they had. So erasing the other one erases them, too.
        """
        with self._write() as (connection, _):
            _remember_person(connection, person_id, into)
            return connection.execute(
                "UPDATE events SET person = ? WHERE person = ?", (into, person_id)
            ).rowcount

    def rekey(self, key: Key | None) -> None:
        """Encrypt names and crops with another key, or no longer; the old one opens nothing."""
        with self._write() as (connection, old):
            (log,) = connection.execute("SELECT log FROM meta").fetchone()
            new = Cipher(key, make_log_scope(log))
            sealed = connection.execute(
                "SELECT sequence, id, name, crop FROM events"
                " WHERE name IS NOT NULL OR crop IS NOT NULL"
            )
            for sequence, event, name, crop in sealed.fetchall():
                blobs = (
                    seal_part(new, event, "name", unseal_part(old, event, "name", name)),
                    seal_part(new, event, "crop", unseal_part(old, event, "crop", crop)),
                )
                connection.execute(
                    "UPDATE events SET name = ?, crop = ? WHERE sequence = ?", (*blobs, sequence)
                )
            connection.execute("UPDATE meta SET key_check = ?, unswept = unswept + 1", (new.check,))
            self._ciphers[new.check] = new
        self._key = key
        self._sweep()

    def _sweep(self) -> None:
        """Rewrite the file without what was erased."""
        with self._read() as (connection, _):
            (unswept,) = connection.execute("SELECT unswept FROM meta").fetchone()
        if not unswept:
            return
        try:
            with translate_log_errors(self.path):
                self._file.compact()
        except (EventLogError, StorageFull) as error:
            raise type(error)(
                f"{error}; the events have no names any more, but what was erased may still lie in"
                " the file until it is opened again"
            ) from error
        with self._write() as (connection, _):
            connection.execute("UPDATE meta SET unswept = 0 WHERE unswept = ?", (unswept,))

    def _finish_erasure(self) -> None:
        if self._file.read_only:
            return
        patience, self._file.timeout = self._file.timeout, _HURRY
        try:
            self._sweep()
        except FacekeepError as error:
            _log.warning("an erasure is still unfinished: %s", error)
        finally:
            self._file.timeout = patience


def _uptime() -> float:
    """Return the seconds since the system was started, those in which it slept included."""
    return time.clock_gettime(getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC))


def default_event_log_path(gallery: str | os.PathLike[str]) -> Path:
    """Return where the event log of a gallery stands: ``people.events.db`` beside ``people.db``."""
    path = resolve_path(gallery)
    return path.with_name(f"{path.stem}.events{path.suffix or '.db'}")


def erase_person_events(
    gallery: str | os.PathLike[str], person_ids: Sequence[str], *, into: str | None = None
) -> Erased:
    """Erase people's names and crops from the event log beside a gallery, if there is one.

    Needs no key.

    Args:
        gallery: The gallery's file.
        person_ids: The UUIDs of those who were erased, or merged into somebody.
        into: Who they were merged into: their events become that person's and keep their names.

    Raises:
        EventLogError: There is a log, and it cannot be changed.
    """
    path = default_event_log_path(gallery)
    if not person_ids or not os.path.lexists(path):
        return Erased(0, 0)
    try:
        file = open_log_file(path, None, read_only=False, busy_timeout=30.0)
        with _WithoutKey(file, None, timedelta.max, 2**62, timedelta.max) as log:
            if into is None:
                erased = [log.erase_person(each) for each in person_ids]
                return Erased(sum(e.names for e in erased), sum(e.crops for e in erased))
            for each in person_ids:
                log.merge_person(each, into)
            return Erased(0, 0)
    except (EventLogError, StorageFull) as error:
        raise type(error)(f"names may be left in the events of {path}: {error}") from error


def rekey_event_log(gallery: str | os.PathLike[str], old: Key | None, new: Key | None) -> None:
    """Encrypt the event log beside a gallery with another key, if there is one; see ``rekey``.

    One that has the new key already is left as it is, so that this may be done again.

    Raises:
        GalleryKeyError: The log has neither key.
        EventLogError: There is a log, and it cannot be changed.
    """
    path = default_event_log_path(gallery)
    if not os.path.lexists(path):
        return
    try:
        with EventLog.open(path, key=old) as log:
            log.rekey(new)
    except GalleryKeyError:
        EventLog.open(path, key=new).close()


class _WithoutKey(EventLog):
    """A log, to take away what needs no key to be found."""

    def _cipher(self, connection: sqlite3.Connection) -> Cipher:
        return Cipher(None, "")


def _used_bytes(connection: sqlite3.Connection) -> int:
    pages, free, size = (
        connection.execute(f"PRAGMA {name}").fetchone()[0]
        for name in ("page_count", "freelist_count", "page_size")
    )
    return cast(int, (pages - free) * size)


def _remove(connection: sqlite3.Connection, lost: dict[str, int], term: str, value: object) -> int:
    """Remove events, and count for each sink those that it had not got."""
    for name, count in connection.execute(
        f"SELECT name, (SELECT count(*) FROM events WHERE {term} AND sequence > delivered)"  # noqa: S608
        " FROM sinks",
        (value,),
    ).fetchall():
        if count:
            lost[name] = lost.get(name, 0) + count
            connection.execute("UPDATE sinks SET lost = lost + ? WHERE name = ?", (count, name))
    return connection.execute(f"DELETE FROM events WHERE {term}", (value,)).rowcount  # noqa: S608


def _is_about(event: Event, person: str) -> bool:
    return event.person_id == person or (
        event.name is not None and event.name.casefold() == person.casefold()
    )


def _remember_person(connection: sqlite3.Connection, person: str, became: str | None) -> None:
    connection.execute("UPDATE former_people SET became = ? WHERE became = ?", (became, person))
    connection.execute(
        "INSERT OR REPLACE INTO former_people VALUES (?, ?, ?)",
        (person, became, to_stamp(datetime.now(UTC), "the present")),
    )


def _follow_person(connection: sqlite3.Connection, event: Event) -> Event:
    """Return the event as it is after the person was erased or merged, if that happened."""
    row = connection.execute(
        "SELECT became FROM former_people WHERE person = ?", (event.person_id,)
    ).fetchone()
    if row is None:
        return event
    if row[0] is not None:
        return replace(event, person_id=row[0])
    return event.without_person()
