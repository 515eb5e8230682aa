"""From a gallery into an export file and back."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Literal, get_args

from facekeep._internal.files import is_full, open_regular, replacing, why
from facekeep.errors import InputError, NameConflict, PersonExists, StorageFull
from facekeep.gallery import edit
from facekeep.gallery.export_file import ExportReader, ExportWriter, ReadTemplate
from facekeep.gallery.faults import real_path
from facekeep.gallery.keys import Key, holds_key
from facekeep.gallery.names import Names, shown, skeletons
from facekeep.gallery.records import MAX_NAME_CHARS, Person, to_stamp
from facekeep.gallery.rows import Rows

__all__ = [
    "Imported",
    "OnConflict",
    "export",
    "export_target",
    "import_into",
    "reader",
    "writing",
]

OnConflict = Literal["error", "merge", "rename", "skip"]


@dataclass(frozen=True, slots=True)
class Imported:
    """What an import did.

    Attributes:
        added: Number of people who are new.
        merged: Number of people whose templates went to somebody of the same name.
        skipped: Number of people left out because their name was taken.
        templates: Number of templates added.
    """

    added: int
    merged: int
    skipped: int
    templates: int


_BEGINNING = 4096


def export_target(path: str | os.PathLike[str], gallery: Path) -> Path:
    """Return where to write an export; InputError where that would do harm."""
    target = real_path(path)
    own = {Path(f"{gallery}{ending}") for ending in ("", "-wal", "-shm", "-index", "-index.lock")}
    if target in own:
        raise InputError(f"{target} is the gallery itself: export to another file")
    if not target.parent.is_dir():
        raise InputError(f"there is no folder {target.parent} for the export: create it first")
    if target.exists():
        if not target.is_file():
            raise InputError(f"{target} is not a regular file: export to another path")
        # A hard link to the gallery must not be opened: closing it would free SQLite's locks.
        if gallery.exists() and target.samefile(gallery):
            raise InputError(f"{target} is the gallery itself: export to another file")
        _spare(target)
    return target


def _spare(target: Path) -> None:
    """Raise InputError where an export would replace a key, a gallery or an index."""
    try:
        with open_regular(target) as file:
            beginning = file.read(_BEGINNING)
    except OSError:
        return  # what cannot be read may be replaced by who owns the folder, as with any file
    if holds_key(beginning):
        what = "holds a key, without which nothing opens what it encrypts"
    elif beginning.startswith(b"SQLite format 3\0"):
        what = "is a database"
    elif beginning.startswith(b"FKINDEX"):
        what = "is the index of a gallery"
    else:
        return
    raise InputError(f"{target} {what}, so it is not replaced: export to another file")


def export(rows: Rows, file: IO[bytes], key: Key | None) -> None:
    """Write everybody to ``file``."""
    writer = ExportWriter(file, rows.meta.gallery, rows.meta.space, key)
    for person in rows.everybody():
        writer.person(person)
        for template in rows.templates(person.id):
            writer.template(template, rows.stored(template))
    writer.finish()


@contextmanager
def writing(target: Path) -> Iterator[IO[bytes]]:
    """Give a file to write that becomes ``target`` at the end, or on any error vanishes."""
    try:
        with replacing(target, private=True) as file:
            yield file
    except OSError as error:
        if is_full(error):
            raise StorageFull(f"no room to write {target}: free some space") from error
        raise InputError(f"cannot write {target}: {why(error)}") from error


@contextmanager
def reader(path: str | os.PathLike[str], key: Key | None) -> Iterator[ExportReader]:
    """Open an export file; its header is read."""
    source = real_path(path)
    try:
        with open_regular(source) as file:
            yield ExportReader(file, str(source), key)
    except OSError as error:
        raise InputError(f"cannot read {source}: {why(error)}") from error


def import_into(
    rows: Rows, source: ExportReader, on_conflict: OnConflict, names: Names | None
) -> Imported:
    """Add everybody of an export inside one transaction; without ``names`` no look is compared."""
    if on_conflict not in get_args(OnConflict):
        raise InputError(f"on_conflict must be one of: {', '.join(get_args(OnConflict))}")
    counts = dict.fromkeys(("added", "merged", "skipped", "templates"), 0)
    person_id: str | None = None
    taken = _Taken(rows, names)
    for item in source:
        if isinstance(item, Person):
            person_id, what = _settle(rows, item, on_conflict, taken)
            counts[what] += 1
        elif person_id is not None:
            counts["templates"] += _add(rows, person_id, item)
    rows.record("imported", None, **counts)
    return Imported(**counts)


class _Taken:
    """Who has a name, or one that looks like it: in the gallery before, or since by the import."""

    def __init__(self, rows: Rows, names: Names | None) -> None:
        self._rows = rows
        self._names = names
        self._added: dict[str, str] = {}

    def by(self, name: str) -> Person | None:
        if self._names is None:
            return self._rows.find(name, exact=True)
        found = self._rows.find(name)
        if found is not None:
            return found
        alike = self._names.alike(self._rows, name) or next(
            (self._added[look] for look in skeletons(name) if look in self._added), None
        )
        return None if alike is None else self._rows.find(alike, exact=True)

    def add(self, name: str) -> None:
        if self._names is not None:
            self._added |= dict.fromkeys(skeletons(name), name)


def _settle(
    rows: Rows, person: Person, on_conflict: OnConflict, taken: _Taken
) -> tuple[str | None, str]:
    """Find or make the person that an imported one becomes."""
    known = taken.by(person.name)
    if known is None:
        taken.add(person.name)
        return _add_person(rows, person, person.name), "added"
    if on_conflict == "error":
        raise _conflict(person.name, known.name)
    if on_conflict == "skip":
        return None, "skipped"
    if on_conflict == "rename":
        name = _free_name(rows, person.name)
        taken.add(name)
        return _add_person(rows, person, name), "added"
    rows.set_person(known.id, **edit.merged_columns(known, [person]))
    return known.id, "merged"


def _conflict(name: str, known: str) -> PersonExists:
    ways = "import with --on-conflict merge, rename or skip"
    if name == known:
        return PersonExists(f"somebody is enrolled as {name!r} already: {ways}")
    return NameConflict(
        f"{shown(name, known)} looks like {known!r}, who is enrolled already: {ways}, or with"
        " --new-person where it is somebody else"
    )


def _add_person(rows: Rows, person: Person, name: str) -> str:
    return rows.add_person(
        name,
        person_id=None if rows.has_person_id(person.id) else person.id,
        at=to_stamp(person.created_at, "created_at"),
        **edit.person_columns(person.metadata, person.consent, person.retain_until),
    )


def _free_name(rows: Rows, name: str) -> str:
    number = 2
    while rows.find(candidate := f"{name[: MAX_NAME_CHARS - 10]} ({number})") is not None:
        number += 1
    return candidate


def _add(rows: Rows, person_id: str, item: ReadTemplate) -> int:
    known = rows.template(item.id)
    if known is not None and known.person_id == person_id:
        return 0
    template_id = item.id if known is None else None
    rows.add_template(person_id, item.content, template_id=template_id, at=item.created_at)
    return 1
