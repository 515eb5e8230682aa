"""What can be done to the people of a gallery; each function works inside one write transaction."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from types import EllipsisType
from typing import Any

from facekeep.errors import InputError, PersonExists
from facekeep.gallery.cipher import Cipher
from facekeep.gallery.records import (
    Consent,
    NewTemplate,
    Person,
    Template,
    clean_metadata,
    clean_name,
    clean_template,
    clean_text,
    to_stamp,
)
from facekeep.gallery.rows import Rows

__all__ = [
    "checked_templates",
    "enroll",
    "erase",
    "full_person",
    "merge",
    "merged_columns",
    "person_columns",
    "rekey",
    "remove_templates",
    "rename",
    "split",
    "update",
]

Columns = dict[str, str | None]


def person_columns(
    metadata: Mapping[str, Any] | EllipsisType,
    consent: Consent | EllipsisType | None,
    retain_until: datetime | EllipsisType | None,
) -> Columns:
    """Return the columns to set for the facts that are given; ``...`` leaves one as it is."""
    columns: Columns = {}
    if metadata is not ...:
        columns["metadata"] = clean_metadata(metadata)
    if consent is not ...:
        columns |= _consent_columns(consent)
    if retain_until is not ...:
        columns["retain_until"] = (
            None if retain_until is None else to_stamp(retain_until, "retain_until")
        )
    return columns


def _consent_columns(consent: Consent | None) -> Columns:
    if consent is None:
        return {"consent_basis": None, "consent_at": None}
    if not isinstance(consent, Consent):
        raise InputError(f"consent must be a Consent, not {type(consent).__name__}")
    return {
        "consent_basis": clean_text(consent.basis, "the basis of consent", limit=1000),
        "consent_at": to_stamp(consent.given_at, "the time of consent"),
    }


def enroll(rows: Rows, name: str, templates: Sequence[NewTemplate], columns: Columns) -> Person:
    """Add templates to a person, who is created where there is none of this name."""
    known = rows.find(name)
    person_id = known.id if known else rows.add_person(clean_name(name))
    rows.set_person(person_id, **columns)
    for new in templates:
        rows.add_template(person_id, new)
    rows.record("enrolled", person_id, templates=len(templates), new=known is None)
    return full_person(rows, name)


def full_person(rows: Rows, name: str) -> Person:
    """Return a person with the facts about each template."""
    person = rows.person(name)
    return replace(person, templates=rows.templates(person.id))


def checked_templates(templates: Sequence[NewTemplate], width: int) -> list[NewTemplate]:
    """Return the templates to enrol, each checked; there must be one at least."""
    if not templates:
        raise InputError("nothing to enrol: give at least one template")
    return [clean_template(new, width) for new in templates]


def update(rows: Rows, name: str, columns: Columns) -> None:
    """Change facts about a person."""
    person = rows.person(name)
    rows.set_person(person.id, **columns)
    rows.record("updated", person.id, fields=sorted(columns))


def rename(rows: Rows, name: str, new_name: str) -> None:
    """Give a person another name."""
    person = rows.person(name)
    new_name = clean_name(new_name)
    if new_name != person.name:
        _require_free(rows, new_name)
        rows.set_person(person.id, name=new_name)
        rows.record("renamed", person.id)


def _require_free(rows: Rows, name: str) -> None:
    if rows.find(name) is not None:
        raise PersonExists(f"somebody is enrolled as {clean_name(name)!r} already: merge them")


def merge(rows: Rows, sources: Sequence[str], into: str) -> None:
    """Give the templates of ``sources`` to ``into`` and delete the sources.

    What ``into`` has of metadata and consent stays; metadata it lacks is added. The earliest
    ``retain_until`` of all holds, so that merging never lengthens how long a template is kept.
    """
    target = rows.person(into)
    people = {person.id: person for person in map(rows.person, sources)}
    if target.id in people or not people:
        raise InputError("merge needs one or more other people to merge into the named one")
    for person in people.values():
        for template in rows.templates(person.id):
            rows.replace(template, target.id, rows.cipher)
        rows.delete_person(person.id)
        rows.record("merged", person.id, into=target.id, templates=_total(person))
    rows.set_person(target.id, **merged_columns(target, list(people.values())))


def merged_columns(target: Person, others: Sequence[Person]) -> Columns:
    """Return what ``target`` becomes when the templates of ``others`` join it."""
    metadata: dict[str, Any] = {}
    for person in (*others, target):
        metadata |= person.metadata
    ends = [p.retain_until for p in (target, *others) if p.retain_until is not None]
    return person_columns(metadata, ..., min(ends) if ends else None)


def split(rows: Rows, name: str, template_ids: Sequence[str], new_name: str) -> None:
    """Move some of a person's templates to a new person with the same consent and retention."""
    person = rows.person(name)
    wanted = _some_templates(rows, person, template_ids, "rename")
    _require_free(rows, new_name)
    new_id = rows.add_person(clean_name(new_name))
    rows.set_person(new_id, **person_columns(..., person.consent, person.retain_until))
    for template in wanted:
        rows.replace(template, new_id, rows.cipher)
    rows.record("split", person.id, into=new_id, templates=len(wanted))


def _some_templates(
    rows: Rows, person: Person, template_ids: Sequence[str], instead: str
) -> list[Template]:
    """Return those of a person's templates that have these ids: at least one.

    One that shows the person must be left.
    """
    own = {template.id: template for template in rows.templates(person.id)}
    wanted = set(template_ids)
    if not wanted or not wanted <= own.keys():
        strange = ", ".join(sorted(wanted - own.keys())) or "none given"
        raise InputError(f"not templates of {person.name!r}: {strange}; see `people show`")
    if all(template.negative for template in own.values() if template.id not in wanted):
        raise InputError(
            f"these are all templates of {person.name!r}: {instead} the person instead"
        )
    return [own[template_id] for template_id in sorted(wanted)]


def _total(person: Person) -> int:
    return person.template_count + person.negative_count


def erase(rows: Rows, people: Sequence[Person], action: str) -> None:
    """Delete people with everything that belongs to them."""
    for person in people:
        rows.delete_person(person.id)
        rows.record(action, person.id, templates=_total(person))
    rows.mark_unswept()


def remove_templates(rows: Rows, name: str, template_ids: Sequence[str]) -> None:
    """Delete some of a person's templates."""
    person = rows.person(name)
    for template in _some_templates(rows, person, template_ids, "remove"):
        rows.delete_template(template.id)
        rows.record("template removed", person.id, template=template.id)
    rows.mark_unswept()


def rekey(rows: Rows, cipher: Cipher) -> None:
    """Seal every template anew; without encryption before or after, this turns it on or off."""
    rows.cipher.seal(b"", "")  # an error where the old key is missing, though nobody is enrolled
    for (template_id,) in rows.connection.execute("SELECT uuid FROM templates").fetchall():
        template = rows.template(template_id)
        if template is not None:
            rows.replace(template, template.person_id, cipher)
    rows.set_key_check(cipher.check)
    rows.record("rekeyed", None, encrypted=cipher.check is not None)
    rows.mark_unswept()
