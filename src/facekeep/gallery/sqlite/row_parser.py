"""Rows of the tables as objects, and the errors about rows that were damaged or changed."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from facekeep._internal.files import printable
from facekeep.errors import GalleryCorrupt, InputError
from facekeep.gallery.file_errors import RESTORE
from facekeep.gallery.types import Consent, Person, Template, from_stamp, parse_json_object

__all__ = ["changed_row", "parse_person", "parse_template", "require_well_formed"]


@contextmanager
def require_well_formed(what: str) -> Iterator[None]:
    """Raise GalleryCorrupt for a wrong type: a damaged file may hold any in any column."""
    try:
        yield
    except (TypeError, ValueError, AttributeError, RecursionError, ArithmeticError) as error:
        raise GalleryCorrupt(f"{what} is damaged in the gallery: {RESTORE}") from error
    except InputError as error:
        raise GalleryCorrupt(f"{what} is damaged in the gallery ({error}): {RESTORE}") from error


def changed_row(table: str, row: Sequence[Any]) -> GalleryCorrupt:
    """Return the error about a row (columns as in ``schema``) that was changed elsewhere."""
    if table == "people":
        name = printable(row[2])
        return GalleryCorrupt(
            f"the facts about {name} were changed outside facekeep: {RESTORE}, or remove"
            " the person and enroll again",
            person=str(row[2]),
        )
    what = f"template {row[1]}" if table == "templates" else f"line {row[0]} of the audit table"
    return GalleryCorrupt(f"{what} was changed outside facekeep: {RESTORE}")


def parse_person(row: Sequence[Any]) -> Person:
    """Return the person of a row: its columns, the digest, the numbers of templates.

    Raises:
        GalleryCorrupt: A fact is damaged.
    """
    _, uuid_, name, metadata, basis, consent_at, retain_until, created_at, _, count, negatives = row
    with require_well_formed(f"person {printable(name)}"):
        return Person(
            id=_require_text(uuid_),
            name=_require_text(name),
            created_at=from_stamp(created_at),
            metadata=parse_json_object(metadata),
            consent=None
            if basis is None
            else Consent(_require_text(basis), from_stamp(consent_at)),
            retain_until=None if retain_until is None else from_stamp(retain_until),
            template_count=count,
            negative_count=negatives,
        )


def parse_template(row: tuple[Any, ...]) -> Template:
    """Return the facts about a template; GalleryCorrupt where one is damaged."""
    uuid_, person_id, negative, quality, source, has_crop, created_at = row
    with require_well_formed(f"template {uuid_}"):
        if quality is not None and not (isinstance(quality, float) and math.isfinite(quality)):
            raise ValueError("a quality must be a finite number")
        return Template(
            _require_text(uuid_),
            _require_text(person_id),
            bool(negative),
            quality,
            None if source is None else _require_text(source),
            bool(has_crop),
            from_stamp(created_at),
        )


def _require_text(value: object) -> str:
    if type(value) is not str:
        raise TypeError("not text")
    return value
