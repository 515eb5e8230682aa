"""Looking through a whole gallery for damage and tampering."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from facekeep._internal.files import one_line, printable
from facekeep.errors import FacekeepError, GalleryCorrupt
from facekeep.gallery import digests
from facekeep.gallery.cipher import LockedCipher
from facekeep.gallery.faults import RESTORE, sqlite_faults
from facekeep.gallery.leftovers import leftovers
from facekeep.gallery.records import Finding
from facekeep.gallery.rows import Rows, changed_row, person_of

__all__ = ["beside", "findings"]

_CONFIRM = "if that was you, confirm it with `facekeep gallery rekey`; if not, " + RESTORE


def findings(rows: Rows, path: Path) -> list[Finding]:
    """Return everything that is wrong with the gallery."""
    found: list[Finding] = []
    for look in (_structure, _people, _templates, _audit, _whole):
        _gather(look, rows, path, found)
    if rows.meta.unswept:
        found.append(
            Finding(
                "erasure", "erased data may be left in the file: run `facekeep gallery compact`"
            )
        )
    return found


def _gather(
    look: Callable[[Rows], Iterator[Finding]], rows: Rows, path: Path, found: list[Finding]
) -> None:
    """Add what ``look`` finds; damage that stops it is a finding too, a fault of the disk none."""
    try:
        with sqlite_faults(path):
            found.extend(look(rows))
    except GalleryCorrupt as error:
        cause = error.__cause__ if isinstance(error.__cause__, sqlite3.Error) else error
        finding = Finding("structure", f"the file is damaged: {one_line(cause)}")
        if finding not in found:
            found.append(finding)


def beside(path: Path) -> list[Finding]:
    """Return what killed processes left beside the gallery."""
    return [
        Finding(
            "erasure",
            f"{printable(file)} was left by a killed process and may hold faces: run `facekeep"
            " gallery compact`",
        )
        for file in leftovers(path)
    ]


def _structure(rows: Rows) -> Iterator[Finding]:
    for (line,) in rows.connection.execute("PRAGMA integrity_check").fetchall():
        if line != "ok":
            yield Finding("structure", one_line(line))
    for table, row, parent, _ in rows.connection.execute("PRAGMA foreign_key_check").fetchall():
        yield Finding("structure", f"row {row} of {table} points to no row of {parent}")


def _people(rows: Rows) -> Iterator[Finding]:
    for columns, vouched in _rows_of(rows, "people"):
        person_id, name = str(columns[1]), printable(columns[2])
        try:
            if vouched is False:
                raise changed_row("people", columns)
            person_of((*columns, None, 0, 0))
        except FacekeepError as error:
            yield Finding("person", str(error), person_id)
            continue
        if vouched is None:
            yield Finding("unsigned", f"{name} was written without the key: {_CONFIRM}", person_id)


def _templates(rows: Rows) -> Iterator[Finding]:
    locked = isinstance(rows.cipher, LockedCipher)
    if locked:
        yield Finding("key", "the templates are encrypted and were not looked at: give the key")
    for columns, vouched in _rows_of(rows, "templates"):
        template_id = str(columns[1])
        try:
            template = rows.template(template_id)
            if template is None:
                raise changed_row("templates", columns)
            if not locked:
                rows.stored(template)
            if vouched is False:
                raise rows.changed_outside(template_id, template.person_id)
        except FacekeepError as error:
            yield Finding("template", str(error), template_id)
            continue
        if vouched is None:
            message = f"template {template_id} was written without the key: {_CONFIRM}"
            yield Finding("unsigned", message, template_id)


def _audit(rows: Rows) -> Iterator[Finding]:
    for columns, vouched in _rows_of(rows, "audit"):
        if vouched is False:
            yield Finding("audit", str(changed_row("audit", columns)))
        elif vouched is None:
            message = f"line {columns[0]} of the audit table was written without the key"
            yield Finding("unsigned", f"{message}: {_CONFIRM}")


def _rows_of(rows: Rows, table: str) -> Iterator[tuple[list[Any], bool | None]]:
    """Yield each row of a table, and whether its digest vouches for it."""
    names = ", ".join((*digests.COLUMNS[table], "digest" if rows.has_digests else "NULL"))
    for *columns, digest in rows.connection.execute(f"SELECT {names} FROM {table}"):  # noqa: S608
        yield columns, rows.vouches(table, columns, digest)


def _whole(rows: Rows) -> Iterator[Finding]:
    """Compare the digests of the whole: rows that are gone or too many, and the description."""
    (spaces,) = rows.connection.execute("SELECT count(*) FROM spaces").fetchone()
    (described,) = rows.connection.execute("SELECT count(*) FROM meta").fetchone()
    if (spaces, described) != (1, 1):
        yield Finding(
            "structure",
            f"the gallery has {described} descriptions and {spaces} embedding spaces, not one of"
            f" each: {RESTORE}",
        )
    if not rows.has_digests:
        return
    total = digests.add(b"", sum(map(digests.number, digests.digests_of(rows.connection))))
    if total != rows.meta.total:
        yield Finding(
            "structure", f"rows were added, removed or replaced outside facekeep: {RESTORE}"
        )
    if not rows.is_sound():
        yield Finding(
            "structure", f"the description of the gallery was changed outside facekeep: {RESTORE}"
        )
    elif not isinstance(rows.cipher, LockedCipher) and not rows.is_signed():
        yield Finding("unsigned", f"the gallery was changed without its key: {_CONFIRM}")
