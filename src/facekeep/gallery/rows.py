"""The rows of a gallery inside one transaction: reading, writing, sealing; no decisions."""

from __future__ import annotations

import json
import sqlite3
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from shlex import quote
from typing import Any

import numpy as np
from numpy.typing import NDArray

from facekeep._files import printable
from facekeep.errors import GalleryCorrupt, PersonNotFound, TemplateTampered
from facekeep.gallery.cipher import Cipher
from facekeep.gallery.records import (
    AuditEntry,
    Consent,
    NewTemplate,
    Person,
    Space,
    Template,
    clean_name,
    from_stamp,
    is_unit,
    now_stamp,
)

__all__ = ["Meta", "Rows", "read_meta", "well_formed", "write_meta"]

_PERSON = (
    "SELECT p.uuid, p.name, p.created_at, p.metadata, p.consent_basis, p.consent_at,"
    " p.retain_until, (SELECT count(*) FROM templates t WHERE t.person = p.id AND NOT t.negative),"
    " (SELECT count(*) FROM templates t WHERE t.person = p.id AND t.negative) FROM people p"
)
_OWNER = (
    "SELECT name, (SELECT count(*) FROM templates WHERE person = p.id) FROM people p WHERE uuid = ?"
)
_TEMPLATE = (
    "SELECT t.uuid, p.uuid, t.negative, t.quality, t.source, t.crop IS NOT NULL, t.created_at"
    " FROM templates t JOIN people p ON p.id = t.person"
)
_SEALED = (
    "SELECT t.uuid, p.uuid, t.negative, t.space, t.vector, t.crop"
    " FROM templates t JOIN people p ON p.id = t.person"
)


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


@contextmanager
def well_formed(what: str) -> Iterator[None]:
    """Raise GalleryCorrupt for a wrong type: a damaged file may hold any in any column."""
    try:
        yield
    except (TypeError, ValueError, AttributeError, RecursionError) as error:
        raise GalleryCorrupt(f"{what} is damaged in the gallery: restore a copy") from error


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


def read_meta(connection: sqlite3.Connection) -> Meta:
    """Return the description of the gallery."""
    row = connection.execute(
        "SELECT gallery, created_at, s.id, digest, model, width, key_check, changes, rewrites,"
        " unswept FROM meta JOIN spaces s ON s.id = meta.space"
    ).fetchone()
    if row is None:
        raise GalleryCorrupt("the gallery has lost its description: restore a copy")
    gallery, created_at, space_row, digest, model, width, *rest = row
    with well_formed("the description"):
        return Meta(gallery, created_at, space_row, Space(digest, model, width), *rest)


class Rows:
    """What one transaction sees and changes.

    Attributes:
        connection: The connection the transaction runs on.
        meta: The gallery's description as this transaction sees it.
        cipher: Seals and unseals what is biometric.
    """

    def __init__(self, connection: sqlite3.Connection, meta: Meta, cipher: Cipher) -> None:
        """Take a connection inside a transaction."""
        self.connection = connection
        self.meta = meta
        self.cipher = cipher

    # People

    def people(self, after: str | None, limit: int | None) -> list[Person]:
        """Return people by name, from after the name ``after``."""
        rows = self.connection.execute(
            f"{_PERSON} WHERE p.name > ? ORDER BY p.name LIMIT ?",
            (after or "", -1 if limit is None else limit),
        )
        return [_person(row) for row in rows.fetchall()]

    def expired(self, stamp: str) -> list[Person]:
        """Return the people whose time to be kept had passed at ``stamp``."""
        rows = self.connection.execute(
            f"{_PERSON} WHERE p.retain_until <= ? ORDER BY p.name", (stamp,)
        )
        return [_person(row) for row in rows.fetchall()]

    def find(self, name: str) -> Person | None:
        """Return the person of this name, or None."""
        row = self.connection.execute(f"{_PERSON} WHERE p.name = ?", (clean_name(name),)).fetchone()
        return _person(row) if row else None

    def person(self, name: str) -> Person:
        """Return the person of this name; PersonNotFound where there is none."""
        found = self.find(name)
        if found is None:
            raise PersonNotFound(
                f"nobody is enrolled as {clean_name(name)!r}: see `facekeep people list`"
            )
        return found

    def has_person_id(self, person_id: str) -> bool:
        """Whether this UUID belongs to somebody."""
        return self._one("SELECT 1 FROM people WHERE uuid = ?", person_id) is not None

    def add_person(self, name: str, *, person_id: str | None = None, at: str | None = None) -> str:
        """Add a person without templates and return the UUID."""
        person_id = person_id or str(uuid.uuid4())
        self.connection.execute(
            "INSERT INTO people (uuid, name, metadata, created_at) VALUES (?, ?, '{}', ?)",
            (person_id, name, at or now_stamp()),
        )
        return person_id

    def set_person(self, person_id: str, **columns: str | None) -> None:
        """Change columns of a person."""
        if columns:
            assignments = ", ".join(f"{column} = ?" for column in columns)
            self.connection.execute(
                f"UPDATE people SET {assignments} WHERE uuid = ?",  # noqa: S608 - own names
                (*columns.values(), person_id),
            )

    def delete_person(self, person_id: str) -> None:
        """Delete a person and all templates."""
        self.connection.execute("DELETE FROM people WHERE uuid = ?", (person_id,))

    # Templates

    def templates(self, person_id: str) -> tuple[Template, ...]:
        """Return the facts about a person's templates, oldest first."""
        rows = self.connection.execute(f"{_TEMPLATE} WHERE p.uuid = ? ORDER BY t.id", (person_id,))
        return tuple(_template(row) for row in rows.fetchall())

    def template(self, template_id: str) -> Template | None:
        """Return the facts about one template, or None."""
        row = self.connection.execute(f"{_TEMPLATE} WHERE t.uuid = ?", (template_id,)).fetchone()
        return _template(row) if row else None

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
        self.connection.execute(
            "INSERT INTO templates (uuid, person, space, negative, quality, source, created_at,"
            " vector, crop) SELECT ?, id, ?, ?, ?, ?, ?, ?, ? FROM people WHERE uuid = ?",
            (
                template_id,
                self.meta.space_row,
                int(new.negative),
                new.quality,
                new.source,
                at or now_stamp(),
                vector,
                crop,
                person_id,
            ),
        )
        return template_id

    def stored(self, template: Template) -> NewTemplate:
        """Return a template with its vector and crop, unsealed.

        Raises:
            TemplateTampered: It was changed outside facekeep.
            GalleryCorrupt: It is not a unit vector of the gallery's width.
        """
        row = self.connection.execute(f"{_SEALED} WHERE t.uuid = ?", (template.id,)).fetchone()
        template_id, person_id, negative, space, blob, sealed = row
        with well_formed(f"template {template_id}"):
            data = self.vector_bytes(template_id, person_id, negative, space, blob)
            vector = self.unit_vectors(data)[0]
            crop = None if sealed is None else self._unseal(template_id, person_id, "crop", sealed)
        return NewTemplate(vector, template.quality, template.source, crop, template.negative)

    def replace(self, template: Template, person_id: str, cipher: Cipher) -> None:
        """Give a template to a person (maybe the same) and seal it anew with ``cipher``."""
        content = self.stored(template)
        vector, crop = Rows(self.connection, self.meta, cipher)._seal(
            template.id, person_id, content
        )
        self.connection.execute(
            "UPDATE templates SET vector = ?, crop = ?,"
            " person = (SELECT id FROM people WHERE uuid = ?) WHERE uuid = ?",
            (vector, crop, person_id, template.id),
        )

    def delete_template(self, template_id: str) -> None:
        """Delete one template."""
        self.connection.execute("DELETE FROM templates WHERE uuid = ?", (template_id,))

    def count(self, table: str, condition: str = "1", *values: str) -> int:
        """Count the rows of a table."""
        query = f"SELECT count(*) FROM {table} WHERE {condition}"  # noqa: S608 - own names
        return int(self._one(query, *values))

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
            raise self._changed_outside(template_id, person_id) from error

    def _changed_outside(self, template_id: str, person_id: str) -> TemplateTampered:
        name, count = self.connection.execute(_OWNER, (person_id,)).fetchone()
        mend = f"facekeep people remove {quote(printable(name))}"
        mend += f" --template {template_id}" if count > 1 else ""
        return TemplateTampered(
            f"template {template_id} of {printable(name)} was changed outside facekeep:"
            f" restore a copy, or run `{mend}` and enrol again"
        )

    def vector_bytes(
        self, template_id: str, person_id: str, negative: int, space: int, blob: bytes
    ) -> bytes:
        """Return a template's vector, unsealed, as bytes of the right number."""
        data = self._unseal(template_id, person_id, "negative" if negative else "vector", blob)
        if len(data) != 4 * self.meta.space.width or space != self.meta.space_row:
            raise ValueError("wrong width or space")
        return data

    def unit_vectors(self, data: bytes) -> NDArray[np.float32]:
        """Return vectors ``(n, d)`` from their bytes; ValueError unless all have unit length."""
        vectors = np.frombuffer(data, dtype="<f4").reshape(-1, self.meta.space.width)
        if not is_unit(vectors):
            raise ValueError("not of unit length")
        return vectors

    # Audit

    def record(self, action: str, person_id: str | None = None, **detail: object) -> None:
        """Write a line into the audit table; never pass a name or anything biometric."""
        self.connection.execute(
            "INSERT INTO audit (at, action, person, detail) VALUES (?, ?, ?, ?)",
            (now_stamp(), action, person_id, json.dumps(detail, sort_keys=True)),
        )

    def audit(self, limit: int | None) -> list[AuditEntry]:
        """Return lines of the audit table, newest first."""
        rows = self.connection.execute(
            "SELECT id, at, action, person, detail FROM audit ORDER BY id DESC LIMIT ?",
            (-1 if limit is None else limit,),
        )
        with well_formed("the audit table"):
            return [
                AuditEntry(number, from_stamp(at), action, person, json.loads(detail))
                for number, at, action, person, detail in rows.fetchall()
            ]

    def touch(self, *, rewrite: bool) -> None:
        """Tell other processes that something was added or, with ``rewrite``, was changed."""
        self.connection.execute(
            "UPDATE meta SET changes = changes + 1, rewrites = rewrites + ?", (int(rewrite),)
        )

    def mark_unswept(self) -> None:
        """Note that the file still holds deleted data until it was swept."""
        self.connection.execute("UPDATE meta SET unswept = changes + 1")

    def mark_swept(self, unswept: int) -> None:
        """Note that it was, unless something else was deleted meanwhile."""
        self.connection.execute("UPDATE meta SET unswept = 0 WHERE unswept = ?", (unswept,))

    def set_key_check(self, check: bytes | None) -> None:
        """Store the check value of a new key."""
        self.connection.execute("UPDATE meta SET key_check = ?", (check,))

    def _one(self, query: str, *values: str) -> Any:
        row = self.connection.execute(query, values).fetchone()
        return row[0] if row else None


def _person(row: tuple[Any, ...]) -> Person:
    uuid_, name, created_at, metadata, basis, consent_at, retain_until, count, negatives = row
    with well_formed(f"person {uuid_}"):
        if not isinstance(name, str):
            raise TypeError("a name must be text")
        return Person(
            id=uuid_,
            name=name,
            created_at=from_stamp(created_at),
            metadata=dict(json.loads(metadata)),
            consent=None if basis is None else Consent(basis, from_stamp(consent_at)),
            retain_until=None if retain_until is None else from_stamp(retain_until),
            template_count=count,
            negative_count=negatives,
        )


def _template(row: tuple[Any, ...]) -> Template:
    uuid_, person_id, negative, quality, source, has_crop, created_at = row
    with well_formed(f"template {uuid_}"):
        return Template(
            uuid_,
            person_id,
            bool(negative),
            quality,
            source,
            bool(has_crop),
            from_stamp(created_at),
        )
