"""What can be done to the people of a gallery; each function works inside one write transaction."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from types import EllipsisType
from typing import Any

from facekeep.errors import GalleryCorrupt, InputError, PersonExists
from facekeep.gallery.cipher import Cipher
from facekeep.gallery.names import Names, new_name
from facekeep.gallery.records import (
    Consent,
    NewTemplate,
    Person,
    Space,
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
    "leaving_person",
    "merge",
    "merged_columns",
    "migrate",
    "person_columns",
    "rekey",
    "remove_templates",
    "rename",
    "split",
    "stored_name",
    "update",
]

_AT_ONCE = 1000
"""People read together, to bound memory."""

Columns = dict[str, str | None]
Remake = Callable[[Person, Template, NewTemplate], NewTemplate | None]
"""Makes a template anew for another embedding space; None where that cannot be."""


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


def enroll(
    rows: Rows,
    name: str,
    templates: Sequence[NewTemplate],
    columns: Columns,
    names: Names | None = None,
) -> Person:
    """Add templates to a person, who is created where there is none of this name.

    Names that look alike are told apart by ``names``; None where the person is said to be new.
    """
    name = stored_name(rows, name, names)
    known = rows.find(name, exact=True)
    if known is None:
        person_id = rows.add_person(name, **columns)
    else:
        person_id = known.id
        rows.set_person(person_id, **columns)
    for new in templates:
        rows.add_template(person_id, new)
    rows.record("enrolled", person_id, templates=len(templates), new=known is None)
    return full_person(rows, name)


def stored_name(rows: Rows, name: str, names: Names | None) -> str:
    """Return the name that a person to be enrolled has, or will have, in the gallery.

    Raises:
        NameConflict: Somebody else's name looks like it; never where ``names`` is None.
        InputError: Nobody has the name, and it cannot be given to anybody.
    """
    known = rows.find(name, exact=names is None)
    if known is not None:
        return known.name
    fresh = new_name(name)
    if names is not None:
        names.require_distinct(rows, fresh)
    return fresh


def full_person(rows: Rows, name: str) -> Person:
    """Return a person with the facts about each template."""
    person = rows.person(name)
    return replace(person, templates=rows.templates(person.id))


def leaving_person(rows: Rows, name: str) -> Person:
    """Return somebody who is to be erased, without the facts that are damaged."""
    person = rows.loose_person(name)
    try:
        return replace(person, templates=rows.templates(person.id))
    except GalleryCorrupt:
        return replace(person, templates=())


def checked_templates(templates: Sequence[NewTemplate], width: int) -> list[NewTemplate]:
    """Return the templates to enrol, each checked; there must be one at least."""
    if not templates:
        raise InputError("nothing to enrol: give at least one template")
    return [clean_template(new, width) for new in templates]


def update(rows: Rows, name: str, columns: Columns) -> None:
    """Change facts about a person."""
    person = rows.loose_person(name)
    rows.set_person(person.id, **columns)
    rows.record("updated", person.id, fields=sorted(columns))


def rename(rows: Rows, name: str, wanted: str, names: Names | None) -> str:
    """Give a person another name, and return it as stored."""
    person = rows.person(name)
    if clean_name(wanted) == person.name:
        return person.name
    free = _free_name(rows, wanted, names, person)
    rows.set_person(person.id, name=free)
    rows.record("renamed", person.id)
    return free


def _free_name(rows: Rows, name: str, names: Names | None, besides: Person | None = None) -> str:
    """Return a name as it is stored, after making sure that nobody else has it or one like it."""
    fresh = new_name(name)
    if rows.find(fresh, exact=True) is not None:
        raise PersonExists(f"somebody is enrolled as {fresh!r} already: merge them")
    if names is not None:
        names.require_distinct(rows, fresh, besides.id if besides else None)
    return fresh


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
        rows.record("merged", person.id, into=target.id, templates=person.template_count)
    rows.set_person(target.id, **merged_columns(target, list(people.values())))


def merged_columns(target: Person, others: Sequence[Person]) -> Columns:
    """Return what ``target`` becomes when the templates of ``others`` join it."""
    metadata: dict[str, Any] = {}
    for person in (*others, target):
        metadata |= person.metadata
    ends = [p.retain_until for p in (target, *others) if p.retain_until is not None]
    return person_columns(metadata, ..., min(ends) if ends else None)


def split(
    rows: Rows, name: str, template_ids: Sequence[str], wanted_name: str, names: Names | None
) -> str:
    """Move some of a person's templates to a new person with the same consent and retention.

    Returns:
        The new person's name as stored.
    """
    person = rows.person(name)
    wanted = _some_templates(rows, person, template_ids, "rename")
    own = {template.id: template for template in rows.templates(person.id)}
    free = _free_name(rows, wanted_name, names)
    columns = person_columns(..., person.consent, person.retain_until)
    new_id = rows.add_person(free, **columns)
    for template_id in wanted:
        rows.replace(own[template_id], new_id, rows.cipher)
    rows.record("split", person.id, into=new_id, templates=len(wanted))
    return free


def _some_templates(
    rows: Rows, person: Person, template_ids: Sequence[str], instead: str
) -> list[str]:
    """Return these ids, which must be of a person's templates: one at least, but not all.

    An id may be cut short as long as only one of the person's templates begins so.
    """
    own = set(rows.template_ids(person.id))
    found = {each: _beginning_so(each, own) for each in template_ids}
    strange = sorted(each for each, ids in found.items() if not ids)
    if strange or not found:
        named = ", ".join(strange) or "none given"
        raise InputError(f"not templates of {person.name!r}: {named}; see `people show`")
    for each, ids in found.items():
        if len(ids) > 1:
            raise InputError(f"several templates of {person.name!r} begin with {each}: give more")
    wanted = {ids[0] for ids in found.values()}
    if wanted == own:
        raise InputError(
            f"these are all templates of {person.name!r}: {instead} the person instead"
        )
    return sorted(wanted)


def _beginning_so(beginning: str, ids: Collection[str]) -> list[str]:
    return (
        [beginning]
        if beginning in ids
        else [x for x in ids if beginning and x.startswith(beginning)]
    )


def erase(rows: Rows, people: Sequence[Person], action: str) -> None:
    """Delete people with everything that belongs to them."""
    for person in people:
        rows.delete_person(person.id)
        rows.record(action, person.id, templates=person.template_count)
    rows.mark_unswept()


def remove_templates(rows: Rows, name: str, template_ids: Sequence[str]) -> None:
    """Delete some of a person's templates."""
    person = rows.loose_person(name)
    for template_id in _some_templates(rows, person, template_ids, "remove"):
        rows.delete_template(template_id)
        rows.record("template removed", person.id, template=template_id)
    rows.mark_unswept()


def rekey(rows: Rows, cipher: Cipher) -> None:
    """Seal every template and sign every row anew; this also turns encryption on or off."""
    rows.cipher.seal(b"", "")  # an error where the old key is missing, though nobody is enrolled
    for (template_id,) in rows.connection.execute("SELECT uuid FROM templates").fetchall():
        template = rows.template(template_id)
        if template is not None:
            rows.replace(template, template.person_id, cipher)
    for table in ("people", "audit"):
        rows.sign(table, cipher)
    rows.set_key_check(cipher.check)
    rows.cipher = cipher
    rows.record("rekeyed", None, encrypted=cipher.check is not None)
    rows.mark_unswept()


def _everybody(rows: Rows) -> Iterator[Person]:
    after = None
    while some := rows.people(after, _AT_ONCE):
        yield from some
        after = some[-1].name


def migrate(rows: Rows, space: Space, remake: Remake) -> None:
    """Put every template into another embedding space; what cannot be remade is deleted.

    Ids, times and all facts stay. Who is left without a template that says who they are is erased.
    """
    old, new = rows.meta, replace(rows.meta, space=space)
    kept = dropped = 0
    for person in _everybody(rows):
        positive = False
        for template in rows.templates(person.id):
            rows.meta = old
            made = remake(person, template, rows.stored(template))
            rows.delete_template(template.id)
            if made is None:
                rows.record("template removed", person.id, template=template.id)
                dropped += 1
                continue
            rows.meta = new
            clean = clean_template(made, space.width)
            stamp = to_stamp(template.created_at, "created_at")
            rows.add_template(person.id, clean, template_id=template.id, at=stamp)
            positive = positive or not clean.negative
            kept += 1
        if not positive:
            erase(rows, [person], "removed")
    rows.meta = new
    rows.set_space(space)
    rows.record(
        "migrated",
        None,
        templates=kept,
        removed=dropped,
        **{"from": old.space.model, "to": space.model},
    )
    rows.mark_unswept()
