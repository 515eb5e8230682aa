"""Looking through a whole gallery for damage."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator

from facekeep.errors import FacekeepError
from facekeep.gallery.cipher import LockedCipher
from facekeep.gallery.records import Finding
from facekeep.gallery.rows import Rows

__all__ = ["findings"]


def findings(rows: Rows) -> list[Finding]:
    """Return everything that is wrong with the gallery."""
    found: list[Finding] = []
    try:
        found.extend(_structure(rows))
        found.extend(_people(rows))
        found.extend(_templates(rows))
    except sqlite3.DatabaseError as error:
        found.append(Finding("structure", f"the file is damaged: {error}"))
    if rows.meta.unswept:
        found.append(
            Finding(
                "erasure", "erased data may be left in the file: run `facekeep gallery compact`"
            )
        )
    return found


def _structure(rows: Rows) -> Iterator[Finding]:
    for (line,) in rows.connection.execute("PRAGMA integrity_check").fetchall():
        if line != "ok":
            yield Finding("structure", " ".join(str(line).split()))
    for table, row, parent, _ in rows.connection.execute("PRAGMA foreign_key_check").fetchall():
        yield Finding("structure", f"row {row} of {table} points to no row of {parent}")


def _people(rows: Rows) -> Iterator[Finding]:
    for (name,) in rows.connection.execute("SELECT name FROM people").fetchall():
        try:
            rows.person(name)
        except FacekeepError as error:
            yield Finding("person", str(error))


def _templates(rows: Rows) -> Iterator[Finding]:
    if isinstance(rows.cipher, LockedCipher):
        yield Finding("key", "the templates are encrypted and were not looked at: give the key")
        return
    for (template_id,) in rows.connection.execute("SELECT uuid FROM templates").fetchall():
        try:
            template = rows.template(template_id)
            if template is not None:
                rows.stored(template)
        except FacekeepError as error:
            yield Finding("template", str(error), template_id)
