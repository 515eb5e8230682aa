"""What can be done to the people of a gallery; each function works inside one transaction."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from types import EllipsisType
from typing import IO, Any, get_args

from facekeep.errors import GalleryCorrupt, InputError, NameConflict, PersonExists
from facekeep.gallery.crypto import Cipher
from facekeep.gallery.keys import Key
from facekeep.gallery.names import make_skeletons, new_name, quote_name
from facekeep.gallery.sqlite.name_index import NameIndex
from facekeep.gallery.sqlite.repository import Repository
from facekeep.gallery.transfer import ExportReader, ExportWriter, ReadTemplate
from facekeep.gallery.types import (
    MAX_NAME_CHARS,
    Consent,
    Imported,
    NewTemplate,
    OnConflict,
    Person,
    Space,
    Template,
    clean_metadata,
    clean_name,
    clean_template,
    clean_text,
    to_stamp,
)

__all__ = [
    "clean_templates",
    "enroll",
    "erase",
    "export_people",
    "find_person",
    "find_person_to_erase",
    "import_people",
    "make_columns",
    "merge",
    "migrate",
    "rekey",
    "remove_templates",
    "rename",
    "resolve_name",
    "split",
    "update",
]

_AT_ONCE = 1000
"""People read together, to bound memory."""

Columns = dict[str, str | None]
Remake = Callable[[Person, Template, NewTemplate], NewTemplate | None]
"""Makes a template anew for another embedding space; None where that cannot be."""


def make_columns(
    metadata: Mapping[str, Any] | EllipsisType,
    consent: Consent | EllipsisType | None,
    retain_until: datetime | EllipsisType | None,
) -> Columns:
    """Return the columns to set for the facts that are given; ``...`` leaves one as it is."""
    columns: Columns = {}
    if metadata is not ...:
        columns["metadata"] = clean_metadata(metadata)
    if consent is not ...:
        columns |= _make_consent_columns(consent)
    if retain_until is not ...:
        columns["retain_until"] = (
            None if retain_until is None else to_stamp(retain_until, "retain_until")
        )
    return columns


def _make_consent_columns(consent: Consent | None) -> Columns:
    if consent is None:
        return {"consent_basis": None, "consent_at": None}
    if not isinstance(consent, Consent):
        raise InputError(f"consent must be a Consent, not {type(consent).__name__}")
    return {
        "consent_basis": clean_text(consent.basis, "the basis of consent", limit=1000),
        "consent_at": to_stamp(consent.given_at, "the time of consent"),
    }


def enroll(
    repo: Repository,
    name: str,
    templates: Sequence[NewTemplate],
    columns: Columns,
    names: NameIndex | None = None,
) -> Person:
    """Add templates to a person, who is created where there is none of this name.

    Names that look alike are told apart by ``names``; None where the person is said to be new.
    """
    name = resolve_name(repo, name, names)
    known = repo.find(name, exact=True)
    if known is None:
        person_id = repo.add_person(name, **columns)
    else:
        person_id = known.id
        repo.set_person(person_id, **columns)
    for new in templates:
        repo.add_template(person_id, new)
    repo.record("enrolled", person_id, templates=len(templates), new=known is None)
    return find_person(repo, name)


def resolve_name(repo: Repository, name: str, names: NameIndex | None) -> str:
    """Return the name that a person to be enrolled has, or will have, in the gallery.

    Raises:
        NameConflict: Somebody else's name looks like it; never where ``names`` is None.
        InputError: Nobody has the name, and it cannot be given to anybody.
    """
    known = repo.find(name, exact=names is None)
    if known is not None:
        return known.name
    fresh = new_name(name)
    if names is not None:
        names.require_distinct(repo, fresh)
    return fresh


def find_person(repo: Repository, name: str) -> Person:
    """Return a person with the facts about each template."""
    person = repo.person(name)
    return replace(person, templates=repo.templates(person.id))


def find_person_to_erase(repo: Repository, name: str) -> Person:
    """Return somebody who is to be erased, without the facts that are damaged."""
    person = repo.person(name, damaged=True)
    try:
        return replace(person, templates=repo.templates(person.id))
    except GalleryCorrupt:
        return replace(person, templates=())


def clean_templates(templates: Sequence[NewTemplate], width: int) -> list[NewTemplate]:
    """Return the templates to enroll, each checked; there must be one at least."""
    if not templates:
        raise InputError("nothing to enroll: give at least one template")
    return [clean_template(new, width) for new in templates]


def update(repo: Repository, name: str, columns: Columns) -> None:
    """Change facts about a person."""
    person = repo.person(name, damaged=True)
    repo.set_person(person.id, **columns)
    repo.record("updated", person.id, fields=sorted(columns))


def rename(repo: Repository, name: str, wanted: str, names: NameIndex | None) -> str:
    """Give a person another name, and return it as stored."""
    person = repo.person(name)
    if clean_name(wanted) == person.name:
        return person.name
    free = _require_free_name(repo, wanted, names, person)
    repo.set_person(person.id, name=free)
    repo.record("renamed", person.id)
    return free


def _require_free_name(
    repo: Repository, name: str, names: NameIndex | None, besides: Person | None = None
) -> str:
    """Return a name as it is stored, after making sure that nobody else has it or one like it."""
    fresh = new_name(name)
    if repo.find(fresh, exact=True) is not None:
        raise PersonExists(f"somebody is enrolled as {fresh!r} already: merge them")
    if names is not None:
        names.require_distinct(repo, fresh, besides.id if besides else None)
    return fresh


def merge(repo: Repository, sources: Sequence[str], into: str) -> None:
    """Give the templates of ``sources`` to ``into`` and delete the sources.

    What ``into`` has of metadata and consent stays; metadata it lacks is added. The earliest
    ``retain_until`` of all holds, so that merging never lengthens how long a template is kept.
    """
    target = repo.person(into)
    people = {person.id: person for person in map(repo.person, sources)}
    if target.id in people or not people:
        raise InputError("merge needs one or more other people to merge into the named one")
    for person in people.values():
        for template in repo.templates(person.id):
            repo.replace(template, target.id, repo.cipher)
        repo.delete_person(person.id)
        repo.record("merged", person.id, into=target.id, templates=_count_templates(person))
    repo.set_person(target.id, **merge_columns(target, list(people.values())))


def merge_columns(target: Person, others: Sequence[Person]) -> Columns:
    """Return what ``target`` becomes when the templates of ``others`` join it."""
    metadata: dict[str, Any] = {}
    for person in (*others, target):
        metadata |= person.metadata
    ends = [p.retain_until for p in (target, *others) if p.retain_until is not None]
    return make_columns(metadata, ..., min(ends) if ends else None)


def split(
    repo: Repository,
    name: str,
    template_ids: Sequence[str],
    wanted_name: str,
    names: NameIndex | None,
) -> str:
    """Move some of a person's templates to a new person with the same consent and retention.

    Returns:
        The new person's name as stored.
    """
    person = repo.person(name)
    wanted = _select_templates(repo, person, template_ids, "rename")
    own = {template.id: template for template in repo.templates(person.id)}
    free = _require_free_name(repo, wanted_name, names)
    columns = make_columns(..., person.consent, person.retain_until)
    new_id = repo.add_person(free, **columns)
    for template_id in wanted:
        repo.replace(own[template_id], new_id, repo.cipher)
    repo.record("split", person.id, into=new_id, templates=len(wanted))
    return free


def _select_templates(
    repo: Repository, person: Person, template_ids: Sequence[str], instead: str
) -> list[str]:
    """Return these ids, which must be of a person's templates: at least one.

    One template that shows the person must be left. An id may be cut short as long as only one of
    the person's templates begins so.
    """
    own = set(repo.template_ids(person.id))
    found = {each: _match_ids(each, own) for each in template_ids}
    strange = sorted(each for each, ids in found.items() if not ids)
    if strange or not found:
        named = ", ".join(strange) or "none given"
        raise InputError(f"not templates of {person.name!r}: {named}; see the person's templates")
    for each, ids in found.items():
        if len(ids) > 1:
            raise InputError(f"several templates of {person.name!r} begin with {each}: give more")
    wanted = {ids[0] for ids in found.values()}
    if wanted.issuperset(repo.template_ids(person.id, positive=True)):
        raise InputError(
            f"these are all templates of {person.name!r}: {instead} the person instead"
        )
    return sorted(wanted)


def _match_ids(beginning: str, ids: Collection[str]) -> list[str]:
    return (
        [beginning]
        if beginning in ids
        else [x for x in ids if beginning and x.startswith(beginning)]
    )


def _count_templates(person: Person) -> int:
    return person.template_count + person.negative_count


def erase(repo: Repository, people: Sequence[Person], action: str) -> None:
    """Delete people with everything that belongs to them."""
    for person in people:
        repo.delete_person(person.id)
        repo.record(action, person.id, templates=_count_templates(person))
    repo.mark_erased()


def remove_templates(repo: Repository, name: str, template_ids: Sequence[str]) -> None:
    """Delete some of a person's templates."""
    person = repo.person(name, damaged=True)
    for template_id in _select_templates(repo, person, template_ids, "remove"):
        repo.delete_template(template_id)
        repo.record("template removed", person.id, template=template_id)
    repo.mark_erased()


def rekey(repo: Repository, cipher: Cipher) -> None:
    """Seal every template and sign every row anew; this also turns encryption on or off."""
    repo.cipher.seal(b"", "")  # an error where the old key is missing, though nobody is enrolled
    for template_id in repo.all_template_ids():
        template = repo.template(template_id)
        if template is not None:
            repo.replace(template, template.person_id, cipher)
    for table in ("people", "audit"):
        repo.sign(table, cipher)
    repo.set_key_check(cipher.check)
    repo.cipher = cipher
    repo.record("rekeyed", None, encrypted=cipher.check is not None)
    repo.mark_erased()


def _everybody(repo: Repository) -> Iterator[Person]:
    after = None
    while some := repo.people(after, _AT_ONCE):
        yield from some
        after = some[-1].name


def migrate(repo: Repository, space: Space, remake: Remake) -> None:
    """Put every template into another embedding space; what cannot be remade is deleted.

    Ids, times and all facts stay. Who is left without a template that says who they are is erased.
    """
    old, new = repo.meta, replace(repo.meta, space=space)
    kept = dropped = 0
    for person in _everybody(repo):
        positive = False
        for template in repo.templates(person.id):
            repo.meta = old
            content = remake(person, template, repo.stored(template))
            repo.delete_template(template.id)
            if content is None:
                repo.record("template removed", person.id, template=template.id)
                dropped += 1
                continue
            repo.meta = new
            clean = clean_template(content, space.width)
            stamp = to_stamp(template.created_at, "created_at")
            repo.add_template(person.id, clean, template_id=template.id, at=stamp)
            positive = positive or not clean.negative
            kept += 1
        if not positive:
            erase(repo, [person], "removed")
    repo.meta = new
    repo.set_space(space)
    repo.record(
        "migrated",
        None,
        templates=kept,
        removed=dropped,
        **{"from": old.space.model, "to": space.model},
    )
    repo.mark_erased()


# Transfer


def export_people(repo: Repository, file: IO[bytes], key: Key | None) -> None:
    """Write everybody to ``file``."""
    writer = ExportWriter(file, repo.meta.gallery, repo.meta.space, key)
    for person in repo.everybody():
        writer.person(person)
        for template in repo.templates(person.id):
            writer.template(template, repo.stored(template))
    writer.finish()


def import_people(
    repo: Repository, source: ExportReader, on_conflict: OnConflict, names: NameIndex | None
) -> Imported:
    """Add everybody of an export inside one transaction; without ``names`` no look is compared."""
    if on_conflict not in get_args(OnConflict):
        raise InputError(f"on_conflict must be one of: {', '.join(get_args(OnConflict))}")
    counts = dict.fromkeys(("added", "merged", "skipped", "templates"), 0)
    person_id: str | None = None
    taken = _TakenNames(repo, names)
    for item in source:
        if isinstance(item, Person):
            person_id, what = _import_person(repo, item, on_conflict, taken)
            counts[what] += 1
        elif person_id is not None:
            counts["templates"] += _import_template(repo, person_id, item)
    repo.record("imported", None, **counts)
    return Imported(**counts)


class _TakenNames:
    """Who has a name, or one that looks like it: in the gallery before, or since by the import."""

    def __init__(self, repo: Repository, names: NameIndex | None) -> None:
        self._repo = repo
        self._names = names
        self._added: dict[str, str] = {}

    def by(self, name: str) -> Person | None:
        if self._names is None:
            return self._repo.find(name, exact=True)
        found = self._repo.find(name)
        if found is not None:
            return found
        alike = self._names.find_alike(self._repo, name) or next(
            (self._added[look] for look in make_skeletons(name) if look in self._added), None
        )
        return None if alike is None else self._repo.find(alike, exact=True)

    def add(self, name: str) -> None:
        if self._names is not None:
            self._added |= dict.fromkeys(make_skeletons(name), name)


def _import_person(
    repo: Repository, person: Person, on_conflict: OnConflict, taken: _TakenNames
) -> tuple[str | None, str]:
    """Find or make the person that an imported one becomes."""
    known = taken.by(person.name)
    if known is None:
        taken.add(person.name)
        return _add_person(repo, person, person.name), "added"
    if on_conflict == "error":
        raise _conflict(person.name, known.name)
    if on_conflict == "skip":
        return None, "skipped"
    if on_conflict == "rename":
        name = _number_name(repo, person.name)
        taken.add(name)
        return _add_person(repo, person, name), "added"
    repo.set_person(known.id, **merge_columns(known, [person]))
    return known.id, "merged"


def _conflict(name: str, known: str) -> PersonExists:
    ways = "import with on_conflict merge, rename or skip"
    if name == known:
        return PersonExists(f"somebody is enrolled as {name!r} already: {ways}", "on_conflict")
    return NameConflict(
        f"{quote_name(name, known)} looks like {known!r}, who is enrolled already: {ways}, or with"
        " new_person where it is somebody else"
    )


def _add_person(repo: Repository, person: Person, name: str) -> str:
    return repo.add_person(
        name,
        person_id=None if repo.has_person_id(person.id) else person.id,
        at=to_stamp(person.created_at, "created_at"),
        **make_columns(person.metadata, person.consent, person.retain_until),
    )


def _number_name(repo: Repository, name: str) -> str:
    number = 2
    while repo.find(candidate := f"{name[: MAX_NAME_CHARS - 10]} ({number})") is not None:
        number += 1
    return candidate


def _import_template(repo: Repository, person_id: str, item: ReadTemplate) -> int:
    known = repo.template(item.id)
    if known is not None and known.person_id == person_id:
        return 0
    template_id = item.id if known is None else None
    repo.add_template(person_id, item.content, template_id=template_id, at=item.created_at)
    return 1
