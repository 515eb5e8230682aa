"""All SQL of a gallery: what one transaction reads and writes; no decisions.

Each row of people, templates and audit carries the digest of all its columns, keyed where the
gallery has a key. ``meta.total`` is the sum of all these digests, so that rows that vanish, come
back or are put in show. ``meta.digest`` covers the total, the rest of the description, the
embedding space and SQLite's own counters; ``meta.mac`` is the same under the key.
"""

from __future__ import annotations

import hashlib
import itertools
import json
import logging
import re
import sqlite3
import uuid
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from facekeep._internal.files import one_line, printable
from facekeep.errors import GalleryCorrupt, InputError, PersonNotFound, TemplateTampered
from facekeep.gallery.crypto import Cipher, add_digests, digest_to_number, encode_row, plain_digest
from facekeep.gallery.file_errors import RESTORE
from facekeep.gallery.names import normalize_spaces
from facekeep.gallery.sqlite.row_parser import (
    changed_row,
    parse_person,
    parse_template,
    require_well_formed,
)
from facekeep.gallery.sqlite.schema import COLUMNS, DIGESTS_SINCE, VERSION
from facekeep.gallery.types import (
    AuditEntry,
    NewTemplate,
    Person,
    Space,
    Template,
    clean_name,
    from_stamp,
    is_unit,
    now_stamp,
    parse_json_object,
)

__all__ = ["Anchor", "Meta", "Repository", "VectorBatch", "read_meta", "write_meta"]

_log = logging.getLogger(__name__)

_DIGESTED = {table: f"{', '.join(columns)}, digest" for table, columns in COLUMNS.items()}
_UNDIGESTED = {table: f"{', '.join(columns)}, NULL" for table, columns in COLUMNS.items()}
_COUNTS = (
    "(SELECT count(*) FROM templates t WHERE t.person = people.id AND NOT t.negative),"
    " (SELECT count(*) FROM templates t WHERE t.person = people.id AND t.negative)"
)
_OWNER = (
    "SELECT name, (SELECT count(*) FROM templates WHERE person = p.id) FROM people p WHERE uuid = ?"
)
_NAMES_SINCE = (
    "SELECT id, name FROM people WHERE id > ? UNION SELECT p.id, p.name FROM audit a"
    " JOIN people p ON p.uuid = a.person WHERE a.id > ? AND a.action = 'renamed' ORDER BY 1"
)
_TEMPLATE = (
    "SELECT t.uuid, p.uuid, t.negative, t.quality, t.source, t.crop IS NOT NULL, t.created_at"
    " FROM templates t JOIN people p ON p.id = t.person"
)
_META = (
    "SELECT gallery, created_at, s.id, s.digest, model, width, key_check, changes, rewrites,"
    " unswept, {} FROM meta JOIN spaces s ON s.id = meta.space"
)
_DESCRIPTION = (
    "SELECT gallery, created_at, space, key_check, changes, rewrites, unswept, total,"
    " s.id, s.digest, s.model, s.width FROM meta LEFT JOIN spaces s ON s.id = meta.space"
)
_COUNTERS = "SELECT name, seq FROM sqlite_sequence ORDER BY name, seq"
_AUDIT = "SELECT id, at, action, person, detail FROM audit"
_VECTORS = (
    "SELECT t.person, t.id, t.uuid, p.uuid, p.name, t.negative, t.space, t.vector"
    " FROM templates t JOIN people p ON p.id = t.person WHERE t.person IN ({})"
    " ORDER BY t.person, t.id"
)
_ID = re.compile("[0-9a-f]{8}[0-9a-f-]{0,28}")
_AT_ONCE = 256
"""Rows read together where every row of a table is signed anew."""

_LAST_ID = 1 << 62
"""No gallery comes so far by itself; SQLite counts to twice as much."""

_INSERT = {
    table: f"INSERT INTO {table} ({', '.join(columns)}, digest)"  # noqa: S608
    f" VALUES ({', '.join('?' * (len(columns) + 1))})"
    for table, columns in COLUMNS.items()
}
_NEVER = datetime.min.replace(tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class Meta:
    """The one row that describes the gallery."""

    gallery: str
    created_at: str
    space_row: int
    space: Space
    key_check: bytes | None
    changes: int
    rewrites: int
    unswept: int
    total: object = None
    digest: object = None
    mac: object = None


class VectorBatch(NamedTuple):
    """Templates as columns of equal length, sorted by person.

    Attributes:
        people: int64 ``(n,)``, the number of each template's person.
        rows: int64 ``(n,)``, the number of each template.
        templates: UUID of each template.
        owners: UUID of each template's person.
        names: Name of each template's person.
        negatives: bool ``(n,)``, which are "this is not the person".
        vectors: float32 ``(n, d)``.
    """

    people: NDArray[np.int64]
    rows: NDArray[np.int64]
    templates: tuple[str, ...]
    owners: tuple[str, ...]
    names: tuple[str, ...]
    negatives: NDArray[np.bool_]
    vectors: NDArray[np.float32]


class Anchor(NamedTuple):
    """A line of the audit table, of which none is ever taken away.

    A gallery with this very line has the same past up to it, though it may be a copy that went
    another way since.

    Attributes:
        number: The line's number.
        digest: SHA-256 of what it says.
    """

    number: int
    digest: bytes


def write_meta(connection: sqlite3.Connection, gallery: str, space: Space, cipher: Cipher) -> None:
    """Describe a new gallery."""
    connection.execute(
        "INSERT INTO spaces (id, digest, model, width) VALUES (1, ?, ?, ?)",
        (space.id, space.model, space.width),
    )
    connection.execute(
        "INSERT INTO meta (one, gallery, created_at, space, key_check) VALUES (1, ?, ?, 1, ?)",
        (gallery, now_stamp(), cipher.check),
    )


def read_meta(connection: sqlite3.Connection, version: int) -> Meta:
    """Return the description of the gallery."""
    columns = "total, meta.digest, mac" if version >= DIGESTS_SINCE else "NULL, NULL, NULL"
    row = connection.execute(_META.format(columns)).fetchone()
    if row is None:
        raise GalleryCorrupt(f"the gallery has lost its description: {RESTORE}")
    gallery, created_at, space_row, digest, model, width, check, *rest = row
    with require_well_formed("the description"):
        types = [type(value) for value in (gallery, *rest[:3])]
        if types != [str, int, int, int] or not isinstance(check, bytes | None):
            raise TypeError("a value is of the wrong type")
        return Meta(gallery, created_at, space_row, Space(digest, model, width), check, *rest)


class Repository:
    """What one transaction sees and changes.

    Attributes:
        connection: The connection the transaction runs on.
        meta: The gallery's description as this transaction sees it.
        cipher: Seals and unseals what is biometric.
    """

    def __init__(
        self,
        connection: sqlite3.Connection,
        meta: Meta,
        cipher: Cipher,
        version: int = VERSION,
    ) -> None:
        """Take a connection inside a transaction, on a file of this version of the schema."""
        self.connection = connection
        self.meta = meta
        self.cipher = cipher
        self.has_digests = version >= DIGESTS_SINCE
        self._columns = _DIGESTED if self.has_digests else _UNDIGESTED
        self._change = 0  # what was added to the sum of all digests
        self._last_ids: dict[str, int] | None = None
        self._owners: dict[str, int] = {}

    # People

    def people(self, after: str | None, limit: int | None) -> list[Person]:
        """Return people by name, from after the name ``after``; damaged facts are left out."""
        rows = self._people(
            "(?1 IS NULL OR name > ?1) ORDER BY name LIMIT ?2", after, _check_limit(limit)
        )
        return [self._salvage_person(row) for row in rows]

    def everybody(self) -> Iterator[Person]:
        """Yield everybody by name; GalleryCorrupt at the first who was changed or damaged."""
        for row in self._people("1 ORDER BY name"):
            yield self._check_person(row)

    def expired(self, stamp: str) -> list[Person]:
        """Return the people whose time to be kept had passed at ``stamp``."""
        rows = self._people("retain_until <= ? ORDER BY name", stamp)
        return [self._salvage_person(row) for row in rows]

    def find(self, name: str, *, exact: bool = False) -> Person | None:
        """Return the person of this name, or None; unless ``exact``, spaces may be underscores.

        Raises:
            GalleryCorrupt: The person was changed outside facekeep.
        """
        row = self._row_of(name, exact=exact)
        return self._check_person(row) if row else None

    def _row_of(self, name: str, *, exact: bool = False) -> tuple[Any, ...] | None:
        clean = clean_name(name)
        spaces = normalize_spaces(clean)
        for spelling in (
            (clean,) if exact else dict.fromkeys((clean, spaces, spaces.replace(" ", "_")))
        ):
            if rows := self._people("name = ?", spelling):
                return rows[0]
        return None

    def _row_by_id(self, beginning: str) -> tuple[Any, ...] | None:
        """Return the person whose UUID begins so, if that is long enough to be meant as one."""
        if not _ID.fullmatch(beginning):
            return None
        rows = self._people("uuid >= ? AND uuid < ? LIMIT 2", beginning, beginning + "~")
        if len(rows) > 1:
            raise InputError(f"the ids of several people begin with {beginning}: give more of it")
        return rows[0] if rows else None

    def person(self, name: str, *, damaged: bool = False) -> Person:
        """Return the person of this name or, where nobody has it, of this UUID or its beginning.

        Args:
            name: The name, the UUID, or its beginning.
            damaged: Return somebody with damaged facts, too, without these facts.

        Raises:
            PersonNotFound: There is none.
            InputError: Several people's UUIDs begin so.
            GalleryCorrupt: The person was changed outside facekeep.
        """
        row = self._row_of(name) or self._row_by_id(name)
        if row is None:
            raise PersonNotFound(f"nobody is enrolled as {clean_name(name)!r}: list the people")
        return self._salvage_person(row) if damaged else self._check_person(row)

    def last_line(self) -> int:
        """Return the number of the newest line of the audit table; 0 where there is none."""
        return int(self._one("SELECT max(id) FROM audit") or 0)

    def names_since(self, person: int, line: int) -> list[tuple[int, str]]:
        """Return the number and name of who came after ``person`` or got a name after ``line``."""
        return self.connection.execute(_NAMES_SINCE, (person, line)).fetchall()

    def name_of(self, number: int) -> tuple[str, str] | None:
        """Return UUID and name of a person by number; None where the person is gone."""
        query = "SELECT uuid, name FROM people WHERE id = ?"
        found: tuple[str, str] | None = self.connection.execute(query, (number,)).fetchone()
        return found

    def _people(self, condition: str, *values: object) -> list[tuple[Any, ...]]:
        return self.connection.execute(
            f"SELECT {self._columns['people']}, {_COUNTS} FROM people WHERE {condition}",  # noqa: S608
            values,
        ).fetchall()

    def _check_person(self, row: tuple[Any, ...]) -> Person:
        *columns, digest, _, _ = row
        if self.vouches("people", columns, digest) is False:
            raise changed_row("people", row)
        return parse_person(row)

    def _salvage_person(self, row: tuple[Any, ...]) -> Person:
        try:
            return parse_person(row)
        except GalleryCorrupt as error:
            _log.warning("%s; the damaged facts are left out", error)
            _, uuid_, name, *_, count, negatives = row
            person = Person(str(uuid_), str(name), _NEVER, {}, None, None, int(count))
            return replace(person, negative_count=int(negatives))

    def has_person_id(self, person_id: str) -> bool:
        """Whether this UUID belongs to somebody."""
        return self._one("SELECT 1 FROM people WHERE uuid = ?", person_id) is not None

    def add_person(
        self,
        name: str,
        *,
        person_id: str | None = None,
        at: str | None = None,
        **columns: str | None,
    ) -> str:
        """Add a person without templates, with these columns of facts, and return the UUID."""
        person_id = person_id or str(uuid.uuid4())
        row = {"metadata": "{}", **columns, "name": name, "created_at": at or now_stamp()}
        values = [row.get(column) for column in COLUMNS["people"][2:]]
        self._owners[person_id] = self._insert("people", person_id, *values)
        return person_id

    def set_person(self, person_id: str, **columns: str | None) -> None:
        """Change columns of a person.

        Raises:
            GalleryCorrupt: The person was changed outside facekeep.
        """
        if columns:
            self._change_row("people", "uuid", person_id, columns)

    def delete_person(self, person_id: str) -> None:
        """Delete a person and all templates.

        Raises:
            GalleryCorrupt: Something in the file keeps them from being deleted.
        """
        owner = self._one("SELECT id FROM people WHERE uuid = ?", person_id)
        self._delete("templates", "person", owner)
        self._delete("people", "uuid", person_id, expected=1)
        self._owners.pop(person_id, None)

    # Templates

    def templates(self, person_id: str) -> tuple[Template, ...]:
        """Return the facts about a person's templates, oldest first."""
        rows = self.connection.execute(f"{_TEMPLATE} WHERE p.uuid = ? ORDER BY t.id", (person_id,))
        return tuple(parse_template(row) for row in rows.fetchall())

    def template(self, template_id: str) -> Template | None:
        """Return the facts about one template, or None."""
        row = self.connection.execute(f"{_TEMPLATE} WHERE t.uuid = ?", (template_id,)).fetchone()
        return parse_template(row) if row else None

    def template_ids(self, person_id: str, *, positive: bool = False) -> list[str]:
        """Return the UUIDs of a person's templates, or of the positive ones only, oldest first."""
        rows = self.connection.execute(
            "SELECT t.uuid FROM templates t JOIN people p ON p.id = t.person WHERE p.uuid = ?"
            " AND NOT (? AND t.negative) ORDER BY t.id",
            (person_id, positive),
        )
        return [template_id for (template_id,) in rows.fetchall()]

    def add_template(
        self,
        person_id: str,
        new: NewTemplate,
        *,
        template_id: str | None = None,
        at: str | None = None,
    ) -> str:
        """Seal and store a checked template and return its UUID."""
        template_id = template_id or str(uuid.uuid4())
        vector, crop = self._seal(template_id, person_id, new)
        owner, at = self._owner(person_id), at or now_stamp()
        place = (template_id, owner, self.meta.space_row, int(new.negative))
        self._insert("templates", *place, new.quality, new.source, at, vector, crop)
        return template_id

    def _owner(self, person_id: str) -> int:
        if person_id not in self._owners:
            owner = self._one("SELECT id FROM people WHERE uuid = ?", person_id)
            if owner is None:
                raise GalleryCorrupt(f"person {person_id} is gone from the gallery: {RESTORE}")
            self._owners[person_id] = owner
        return self._owners[person_id]

    def stored(self, template: Template) -> NewTemplate:
        """Return a template with its vector and crop, unsealed.

        Raises:
            TemplateTampered: It was changed outside facekeep.
            GalleryCorrupt: It is not a unit vector of the gallery's width.
        """
        row = self.connection.execute(
            f"SELECT {self._columns['templates']} FROM templates WHERE uuid = ?",  # noqa: S608
            (template.id,),
        ).fetchone()
        with require_well_formed(f"template {template.id}"):
            *columns, digest = row
            _, template_id, _, space, negative, *_, blob, sealed = columns
            data = self._vector_bytes(template_id, template.person_id, negative, space, blob)
            vector = self._unit_vectors(data)[0]
            crop = self._crop(template_id, template.person_id, sealed)
            if self.vouches("templates", columns, digest) is False:
                raise self.changed_outside(template_id, template.person_id)
        return NewTemplate(vector, template.quality, template.source, crop, template.negative)

    def _crop(self, template_id: str, person_id: str, sealed: bytes | None) -> bytes | None:
        return None if sealed is None else self._unseal(template_id, person_id, "crop", sealed)

    def replace(self, template: Template, person_id: str, cipher: Cipher) -> None:
        """Give a template to a person (maybe the same) and seal it anew with ``cipher``."""
        content = self.stored(template)
        vector, crop = Repository(self.connection, self.meta, cipher)._seal(
            template.id, person_id, content
        )
        columns = {"person": self._owner(person_id), "vector": vector, "crop": crop}
        self._change_row("templates", "uuid", template.id, columns, cipher)

    def delete_template(self, template_id: str) -> None:
        """Delete one template.

        Raises:
            GalleryCorrupt: Something in the file keeps it from being deleted.
        """
        self._delete("templates", "uuid", template_id, expected=1)

    def all_template_ids(self) -> list[str]:
        """Return the UUIDs of all templates."""
        found = self.connection.execute("SELECT uuid FROM templates").fetchall()
        return [template_id for (template_id,) in found]

    def count(self, table: str, condition: str = "1", *values: str) -> int:
        """Count the rows of a table."""
        query = f"SELECT count(*) FROM {table} WHERE {condition}"  # noqa: S608 - own names
        return int(self._one(query, *values))

    # Search

    def owners(self) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Return the person and the number of every template, int64 ``(n,)``, sorted by both."""
        cursor = self.connection.execute(  # answered from the index by person alone
            "SELECT person, id FROM templates ORDER BY person, id"
        )
        with require_well_formed("the table of templates"):
            pairs = np.fromiter(itertools.chain.from_iterable(cursor), np.int64).reshape(-1, 2)
        return pairs[:, 0], pairs[:, 1]

    def people_since(self, template: int) -> list[int]:
        """Return the numbers of the people who have templates above the number ``template``."""
        query = "SELECT DISTINCT person FROM templates WHERE id > ? ORDER BY person"
        return [person for (person,) in self.connection.execute(query, (template,)).fetchall()]

    def last_template(self) -> int:
        """Return the highest number of a template; 0 where there is none."""
        return self._one("SELECT max(id) FROM templates") or 0

    def anchor(self, number: int | None = None) -> Anchor:
        """Return the latest line of the audit table, or that of a number, digested."""
        where = "ORDER BY id DESC LIMIT 1" if number is None else "WHERE id = ?"
        values = () if number is None else (number,)
        line = self.connection.execute(f"{_AUDIT} {where}", values).fetchone()
        if line is None:
            return Anchor(0, bytes(32))
        return Anchor(line[0], hashlib.sha256(repr(line).encode()).digest())

    def vectors(self, people: Sequence[int]) -> VectorBatch | None:
        """Return the templates of people, by their numbers; None where they have none.

        Raises:
            TemplateTampered: One was changed outside facekeep.
            GalleryCorrupt: One is not a unit vector of the gallery's space.
        """
        query = _VECTORS.format(",".join("?" * len(people)))
        found = self.connection.execute(query, tuple(people)).fetchall()
        if not found:
            return None
        numbers, templates, ids, owners, names, negatives, spaces, blobs = zip(*found, strict=True)
        with require_well_formed(f"a template from {ids[0]} on"):
            data = b"".join(map(self._vector_bytes, ids, owners, negatives, spaces, blobs))
            return VectorBatch(
                np.array(numbers, np.int64),
                np.array(templates, np.int64),
                ids,
                owners,
                names,
                np.array(negatives, np.bool_),
                self._unit_vectors(data),
            )

    # Sealing

    def _place(self, template_id: str, person_id: str, kind: str) -> str:
        meta = self.meta
        return f"facekeep 1|{meta.gallery}|{template_id}|{person_id}|{kind}|{meta.space.id}"

    def _seal(
        self, template_id: str, person_id: str, new: NewTemplate
    ) -> tuple[bytes, bytes | None]:
        kind = "negative" if new.negative else "vector"
        vector = self.cipher.seal(
            new.vector.astype("<f4").tobytes(), self._place(template_id, person_id, kind)
        )
        if new.crop is None:
            return vector, None
        return vector, self.cipher.seal(new.crop, self._place(template_id, person_id, "crop"))

    def _unseal(self, template_id: str, person_id: str, kind: str, blob: bytes) -> bytes:
        if not isinstance(blob, bytes):
            raise TypeError(f"a {kind} must be bytes")
        try:
            return self.cipher.unseal(blob, self._place(template_id, person_id, kind))
        except TemplateTampered as error:
            raise self.changed_outside(template_id, person_id) from error

    def changed_outside(self, template_id: str, person_id: str) -> TemplateTampered:
        """Return the error about a template of a person that was changed elsewhere."""
        owner = self.connection.execute(_OWNER, (person_id,)).fetchone()
        if owner is None:
            raise GalleryCorrupt(f"template {template_id} belongs to nobody: {RESTORE}")
        name, count = printable(owner[0]), owner[1]
        return TemplateTampered(
            f"template {template_id} of {name} was changed outside facekeep: {RESTORE}, or remove"
            f" the {'template' if count > 1 else 'person'} and enroll again",
            person=str(owner[0]),
            template_id=template_id if count > 1 else None,
        )

    def _vector_bytes(
        self, template_id: str, person_id: str, negative: int, space: int, blob: bytes
    ) -> bytes:
        """Return a template's vector, unsealed, as bytes of the right number."""
        data = self._unseal(template_id, person_id, "negative" if negative else "vector", blob)
        if len(data) != 4 * self.meta.space.width or space != self.meta.space_row:
            raise ValueError("wrong width or space")
        return data

    def _unit_vectors(self, data: bytes) -> NDArray[np.float32]:
        """Return vectors ``(n, d)`` from their bytes; ValueError unless all have unit length."""
        vectors = np.frombuffer(data, dtype="<f4").reshape(-1, self.meta.space.width)
        if not is_unit(vectors):
            raise ValueError("not of unit length")
        return vectors

    # Audit

    def record(self, action: str, person_id: str | None = None, **detail: object) -> None:
        """Write a line into the audit table; never pass a name or anything biometric."""
        self._insert("audit", now_stamp(), action, person_id, json.dumps(detail, sort_keys=True))

    def audit(self, limit: int | None) -> list[AuditEntry]:
        """Return lines of the audit table, newest first."""
        rows = self.connection.execute(f"{_AUDIT} ORDER BY id DESC LIMIT ?", (_check_limit(limit),))
        with require_well_formed("the audit table"):
            return [
                AuditEntry(number, from_stamp(at), action, person, parse_json_object(detail))
                for number, at, action, person, detail in rows.fetchall()
            ]

    def touch(self, *, rewrite: bool) -> None:
        """Tell other processes that something was added or, with ``rewrite``, was changed."""
        self._update_meta("changes = changes + 1, rewrites = rewrites + ?", int(rewrite))

    def mark_erased(self) -> None:
        """Note that the file still holds deleted data until it was compacted."""
        self._update_meta("unswept = changes + 1")

    def mark_compacted(self, unswept: int) -> None:
        """Note that it was, unless something else was deleted meanwhile."""
        self._update_meta("unswept = iif(unswept = ?, 0, unswept)", unswept)

    def set_key_check(self, check: bytes | None) -> None:
        """Store the check value of a new key."""
        self._update_meta("key_check = ?", check)

    def set_space(self, space: Space) -> None:
        """Store which embedding space the templates are of; they must all have been made anew."""
        done = self.connection.execute(
            "UPDATE spaces SET digest = ?, model = ?, width = ? WHERE id = ?",
            (space.id, space.model, space.width, self.meta.space_row),
        )
        _require(done.rowcount == 1)

    def _update_meta(self, assignments: str, *values: object) -> None:
        done = self.connection.execute(f"UPDATE meta SET {assignments}", values)  # noqa: S608
        _require(done.rowcount == 1)

    def _one(self, query: str, *values: object) -> Any:
        row = self.connection.execute(query, values).fetchone()
        return row[0] if row else None

    # Digests

    def vouches(self, table: str, columns: Sequence[Any], digest: object) -> bool | None:
        """Whether a row is what was written; None where that was done without the key."""
        if not self.has_digests:
            return True
        return self.cipher.vouches(encode_row(table, columns), digest)

    def _insert(self, table: str, *columns: object) -> int:
        """Add a row, whose number comes first, with its digest; return the number."""
        number = self._next_id(table)
        row = (number, *columns)
        digest = self.cipher.digest(encode_row(table, row))
        self.connection.execute(_INSERT[table], (*row, digest))
        self._change += digest_to_number(digest)
        return number

    def _next_id(self, table: str) -> int:
        """Return a number that no row of the table ever had."""
        last: object = self._counters().get(table, 0)
        if type(last) is not int or not 0 <= last < _LAST_ID:
            raise GalleryCorrupt(f"the count of {table} is damaged in the gallery: {RESTORE}")
        self._counters()[table] = last + 1
        return last + 1

    def _counters(self) -> dict[str, int]:
        if self._last_ids is None:
            self._last_ids = dict(self.connection.execute(_COUNTERS).fetchall())
        return self._last_ids

    def _change_row(
        self,
        table: str,
        by: str,
        value: object,
        columns: Mapping[str, object],
        cipher: Cipher | None = None,
    ) -> None:
        """Change columns of the row in which ``by`` is ``value``, and its digest.

        Raises:
            GalleryCorrupt: It was changed outside facekeep, which must not be covered up.
        """
        found = self.connection.execute(
            f"SELECT {self._columns[table]} FROM {table} WHERE {by} = ?",  # noqa: S608
            (value,),
        ).fetchone()
        _require(found is not None)
        *row, before = found
        if self.vouches(table, row, before) is False:
            raise changed_row(table, row)
        names = COLUMNS[table]
        after = [columns.get(name, old) for name, old in zip(names, row, strict=True)]
        digest = (cipher or self.cipher).digest(encode_row(table, after))
        assignments = ", ".join(f"{column} = ?" for column in (*columns, "digest"))
        done = self.connection.execute(
            f"UPDATE {table} SET {assignments} WHERE id = ?",  # noqa: S608 - own names
            (*columns.values(), digest, row[0]),
        )
        _require(done.rowcount == 1)
        self._change += digest_to_number(digest) - digest_to_number(before)

    def _delete(self, table: str, by: str, value: object, expected: int | None = None) -> None:
        gone = self.connection.execute(
            f"SELECT digest FROM {table} WHERE {by} = ?",  # noqa: S608
            (value,),
        ).fetchall()
        done = self.connection.execute(f"DELETE FROM {table} WHERE {by} = ?", (value,))  # noqa: S608
        _require(done.rowcount == len(gone) and expected in (None, len(gone)))
        _require(not self._one(f"SELECT count(*) FROM {table} WHERE {by} = ?", value))  # noqa: S608
        self._change -= sum(digest_to_number(digest) for (digest,) in gone)

    def sign(self, table: str, cipher: Cipher, *, first: bool = False) -> None:
        """Give every row of a table a digest by ``cipher``.

        Args:
            table: The table.
            cipher: Makes the digests.
            first: The rows have none yet; otherwise each must be what was written.

        Raises:
            GalleryCorrupt: A row was changed outside facekeep.
        """
        last = -1 - _LAST_ID
        query = f"SELECT {_DIGESTED[table]} FROM {table} WHERE id > ? ORDER BY id LIMIT ?"  # noqa: S608
        while rows := self.connection.execute(query, (last, _AT_ONCE)).fetchall():
            signed = []
            for *row, before in rows:
                if not first and self.vouches(table, row, before) is False:
                    raise changed_row(table, row)
                digest = cipher.digest(encode_row(table, row))
                signed.append((digest, row[0]))
                self._change += digest_to_number(digest) - digest_to_number(before)
            self.connection.executemany(f"UPDATE {table} SET digest = ? WHERE id = ?", signed)  # noqa: S608
            last = rows[-1][0]

    # Integrity

    def check_structure(self) -> Iterator[str]:
        """Yield what SQLite finds wrong with the file, one line each."""
        for (line,) in self.connection.execute("PRAGMA integrity_check").fetchall():
            if line != "ok":
                yield one_line(line)
        for table, row, parent, _ in self.connection.execute("PRAGMA foreign_key_check").fetchall():
            yield f"row {row} of {table} points to no row of {parent}"

    def check_rows(self, table: str) -> Iterator[tuple[list[Any], bool | None]]:
        """Yield the columns of each row, and whether its digest vouches for it."""
        for *columns, digest in self.connection.execute(
            f"SELECT {self._columns[table]} FROM {table}"  # noqa: S608 - own names
        ):
            yield columns, self.vouches(table, columns, digest)

    def is_complete(self) -> bool:
        """Whether no row came, went or was replaced outside facekeep."""
        if not self.has_digests:
            return True
        query = " UNION ALL ".join(f"SELECT digest FROM {table}" for table in COLUMNS)  # noqa: S608
        total = sum(digest_to_number(digest) for (digest,) in self.connection.execute(query))
        return add_digests(b"", total) == self.meta.total

    def is_sound(self) -> bool:
        """Whether the description of the gallery is what was written."""
        if not self.has_digests:
            return True
        return self._digest_meta() == self.meta.digest

    def _digest_meta(self) -> bytes:
        """Return the digest of the description and of SQLite's counters, as they are now."""
        rows = self.connection.execute(_DESCRIPTION).fetchall()
        counters = self.connection.execute(_COUNTERS).fetchall()
        self._last_ids = dict(counters)
        rows += counters
        content = encode_row("meta", [len(rows), *(value for row in rows for value in row)])
        return plain_digest(content)

    def is_signed(self) -> bool:
        """Whether whoever wrote last had the key, where there is one."""
        if self.meta.key_check is None:
            return True
        return self.cipher.signs and self.meta.mac == self._mac(self.cipher, self.meta.digest)

    def _mac(self, cipher: Cipher, digest: object) -> bytes | None:
        if not cipher.signs or type(digest) is not bytes:
            return None
        return cipher.digest(b"meta" + digest)

    def seal(self, *, sound: bool, signed: bool, cipher: Cipher | None = None) -> None:
        """Write the digest of the description; the last step of each change.

        Args:
            sound: Whether it was sound before; what was not never becomes so.
            signed: The same of the signature.
            cipher: Signs it, where it is not the one that the gallery had before.
        """
        self._update_meta("total = ?", add_digests(self.meta.total, self._change))
        digest = self._digest_meta() if sound else None
        mac = self._mac(cipher or self.cipher, digest) if signed else self.meta.mac
        self._update_meta("digest = ?, mac = ?", digest, mac)


def _require(done: bool) -> None:
    if not done:
        raise GalleryCorrupt(
            "something in the gallery keeps it from being changed, so nothing was: check it, or"
            f" {RESTORE}"
        )


def _check_limit(limit: int | None) -> int:
    if limit is None or limit >= _LAST_ID:
        return -1
    if limit < 0:
        raise InputError(f"a limit must be 0 or more, not {limit}")
    return limit
