"""``Gallery``: the people somebody keeps, in one SQLite file, as one object for all threads."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from datetime import datetime
from types import EllipsisType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from facekeep.errors import GalleryCorrupt, InputError, PersonNotFound
from facekeep.gallery import checks, edit, exchange
from facekeep.gallery.cipher import Cipher
from facekeep.gallery.index_file import IndexFile
from facekeep.gallery.keys import Key
from facekeep.gallery.names import Names
from facekeep.gallery.opened import require_space, scope
from facekeep.gallery.records import (
    AuditEntry,
    Consent,
    Finding,
    GalleryInfo,
    NewTemplate,
    Person,
    Space,
    clean_name,
    from_stamp,
    now_stamp,
    to_stamp,
)
from facekeep.gallery.rows import well_formed
from facekeep.gallery.searchable import SearchableGallery

__all__ = ["Gallery"]


class Gallery(SearchableGallery):
    """People and their templates.

    Threads may share one object. Processes open the file each for itself; a change made by one is
    seen by the next search of the others. Any method may raise ``GalleryBusy`` (others kept the
    file locked for longer than the time-out) or ``GalleryCorrupt``; those that change something
    also ``GalleryReadOnly`` and ``StorageFull``, after which the gallery is as it was before.
    """

    def __init__(self, *arguments: Any) -> None:
        """Take what ``OpenGallery`` takes."""
        super().__init__(*arguments)
        self._names = Names()

    # People

    def enroll(
        self,
        name: str,
        templates: Sequence[NewTemplate],
        *,
        metadata: Mapping[str, Any] | None = None,
        consent: Consent | None = None,
        retain_until: datetime | None = None,
        new_person: bool = False,
    ) -> Person:
        """Add templates to a person, who is created where there is none of this name.

        Everything is stored, or nothing. When this returns it is on the disk.

        Args:
            name: The person's name; brought to Unicode's NFC form without outer white space. A
                person is found with underscores in place of spaces, too.
            templates: One or more.
            metadata: Replaces the stored metadata, where given.
            consent: Replaces the stored consent, where given.
            retain_until: Replaces the stored time, where given; has a time zone.
            new_person: This is somebody else than those whose names look like this one.

        Returns:
            The person as stored, with the facts about each template.

        Raises:
            InputError: A name, vector or fact cannot be used.
            NameConflict: Somebody's name looks like this one, but is not the same.
            GalleryKeyError: The gallery is encrypted and no key was given.
        """
        self._require_declared()
        clean = edit.checked_templates(templates, self.space.width)
        columns = edit.person_columns(
            ... if metadata is None else metadata,
            ... if consent is None else consent,
            ... if retain_until is None else retain_until,
        )
        with self._write(rewrite=False) as rows:
            return edit.enroll(rows, name, clean, columns, None if new_person else self._names)

    def name_for(self, name: str, *, new_person: bool = False) -> str:
        """Return the name under which ``enroll`` would store a person; same errors as there."""
        with self._read() as rows:
            return edit.stored_name(rows, name, None if new_person else self._names)

    def people(self, *, after: str | None = None, limit: int | None = None) -> list[Person]:
        """Return people sorted by name, from behind the name ``after``, ``limit`` at most."""
        with self._read() as rows:
            return rows.people(None if after is None else clean_name(after), limit)

    def count(self) -> int:
        """Return the number of people; much quicker than ``info``."""
        with self._read() as rows:
            return rows.count("people")

    def person(self, name: str) -> Person:
        """Return a person with the facts about each template; PersonNotFound if there is none.

        Where nobody has the name, it may be the person's UUID or the beginning of it.
        """
        with self._read() as rows:
            try:
                return edit.full_person(rows, name)
            except PersonNotFound as error:
                other = self._names.alike(rows, clean_name(name))
                if other is None:
                    raise
                raise PersonNotFound(f"{error}; did you mean {other!r}?") from None

    def update(
        self,
        name: str,
        *,
        metadata: Mapping[str, Any] | EllipsisType = ...,
        consent: Consent | EllipsisType | None = ...,
        retain_until: datetime | EllipsisType | None = ...,
    ) -> Person:
        """Replace facts about a person; None takes one away, ``...`` leaves it as it is."""
        columns = edit.person_columns(metadata, consent, retain_until)
        with self._write(rewrite=False) as rows:
            edit.update(rows, name, columns)
            return edit.full_person(rows, name)

    def rename(self, name: str, new_name: str, *, new_person: bool = False) -> Person:
        """Give a person another name.

        Args:
            name: The person.
            new_name: The name to be.
            new_person: This is somebody else than those whose names look like the new one.

        Raises:
            PersonExists: Somebody has the name.
            NameConflict: Somebody's name looks like it.
        """
        with self._write(rewrite=False) as rows:
            names = None if new_person else self._names
            return edit.full_person(rows, edit.rename(rows, name, new_name, names))

    def merge(self, sources: Sequence[str], into: str) -> Person:
        """Give all templates of ``sources`` to the person ``into`` and delete the sources.

        Metadata that ``into`` lacks is added, its consent stays, and the earliest ``retain_until``
        of all holds.
        """
        with self._write() as rows:
            edit.merge(rows, sources, into)
            return edit.full_person(rows, into)

    def split(
        self, name: str, template_ids: Sequence[str], new_name: str, *, new_person: bool = False
    ) -> Person:
        """Move some of a person's templates to a new person and return that one.

        Consent and ``retain_until`` are copied, metadata is not. Ids may be cut short where that
        leaves no doubt; the new name is treated as by ``rename``.
        """
        with self._write() as rows:
            names = None if new_person else self._names
            return edit.full_person(rows, edit.split(rows, name, template_ids, new_name, names))

    # Erasure

    def remove(self, name: str) -> Person:
        """Erase a person: afterwards nothing of name, templates and crops is left in the files.

        A line with the person's UUID stays in the audit table.

        Returns:
            The person as it was.

        Raises:
            PersonNotFound: There is none of this name.
            GalleryBusy: The person is gone from the gallery, but another program is reading an
                older state, so traces may be left in the files until ``compact`` succeeds.
        """
        with self._write() as rows:
            person = edit.leaving_person(rows, name)
            edit.erase(rows, [person], "removed")
        self.compact()
        return person

    def remove_templates(self, name: str, template_ids: Sequence[str]) -> Person:
        """Erase some of a person's templates as ``remove`` erases people.

        The last one cannot be taken away: of somebody without templates nothing but the name would
        be kept, so ``remove`` the person.

        Returns:
            The person with the templates that are left.
        """
        with self._write() as rows:
            edit.remove_templates(rows, name, template_ids)
            person = edit.leaving_person(rows, name)
        self.compact()
        return person

    def purge(self, now: datetime) -> list[Person]:
        """Erase everybody whose ``retain_until`` is not after ``now``, and return who it was."""
        stamp = to_stamp(now, "the time of the purge")
        with self._read() as rows:
            if not rows.expired(stamp):
                return []
        with self._write() as rows:
            people = rows.expired(stamp)
            edit.erase(rows, people, "purged")
        self.compact()
        return people

    def rekey(self, new_key: Key | None) -> None:
        """Encrypt everything anew with another key, in one transaction; None ends encryption.

        Afterwards nothing sealed with the old key, or unencrypted, is left in the files.

        Raises:
            GalleryKeyError: The present key is missing.
            GalleryBusy: Done, but as with ``remove`` traces may be left.
        """
        cipher = Cipher(new_key, scope(self._meta.gallery))
        # Before the change is seen by other threads, which choose by the check value.
        self._ciphers[cipher.check] = cipher
        with self._write(rekeyed=True) as rows:
            edit.rekey(rows, cipher)
        self._key = new_key
        self.compact()

    def migrate(
        self, space: Space, remake: edit.Remake, *, approve: Callable[[], None] | None = None
    ) -> None:
        """Put all templates into another embedding space, in one transaction.

        Ids, times, names and all other facts stay, and so does the history. Programs that have the
        gallery open with the old space get ``SpaceMismatch`` from then on.

        Args:
            space: The new space.
            remake: Called with each person, template and its content; returns the content for the
                new space, or None where there is none, and the template is erased. Who is left
                without a template that is not negative is erased.
            approve: Called when all is made anew; may raise, and the gallery is as it was before.

        Raises:
            GalleryKeyError: The gallery is encrypted and no key was given.
            GalleryBusy: Done, but as with ``remove`` traces of the old templates may be left.
        """
        with self._write() as rows:
            edit.migrate(rows, space, remake)
            if approve is not None:
                approve()
            meta = rows.meta
        self._meta, self._space, self._declared, self._index = meta, space, space, None
        self._index_file = IndexFile(self.path, meta)
        self.compact()

    def backup(self, path: str | os.PathLike[str]) -> None:
        """Write a copy of the whole gallery, as it is now, to a new file.

        Raises:
            InputError: There is something of this name, or it cannot be written.
            StorageFull: There is no room.
        """
        if os.path.lexists(path):
            raise InputError(f"{path} exists: choose a new file for the copy")
        target = exchange.export_target(path, self.path)
        with self._database.snapshot() as connection, exchange.writing(target) as file:
            file.write(connection.serialize())

    def vectors(self, name: str) -> dict[str, NDArray[np.float32]]:
        """Return a person's vectors, float32 ``(d,)`` each, by the template's UUID."""
        with self._read() as rows:
            person = edit.full_person(rows, name)
            return {t.id: rows.stored(t).vector for t in person.templates or ()}

    def crop(self, template_id: str) -> bytes | None:
        """Return the encoded crop kept with a template; None where none was kept."""
        with self._read() as rows:
            template = rows.template(template_id)
            if template is None:
                raise InputError(f"there is no template {template_id!a}")
            return rows.stored(template).crop

    # Care

    def audit(self, limit: int | None = 100) -> list[AuditEntry]:
        """Return the latest lines of the audit table, newest first; None for all."""
        with self._read() as rows:
            return rows.audit(limit)

    def info(self) -> GalleryInfo:
        """Return facts about the gallery."""
        with self._read() as rows:
            meta = rows.meta
            with well_formed("the description"):
                created_at = from_stamp(meta.created_at)
            return GalleryInfo(
                path=self.path,
                id=meta.gallery,
                version=self._database.version,
                space=meta.space,
                encrypted=meta.key_check is not None,
                created_at=created_at,
                people=rows.count("people"),
                templates=rows.count("templates"),
                negatives=rows.count("templates", "negative = 1"),
                crops=rows.count("templates", "crop IS NOT NULL"),
                expired=rows.count("people", "retain_until <= ?", now_stamp()),
                size=self._database.size(),
                erasure_pending=meta.unswept != 0,
            )

    def check(self) -> list[Finding]:
        """Look through the whole file and return what is wrong; an empty list is good news."""
        try:
            with self._database.snapshot() as connection:
                found = checks.findings(self._rows(connection), self.path)
        except GalleryCorrupt as error:
            found = [Finding("structure", str(error))]
        return found + checks.beside(self.path)

    # Exchange

    def export(
        self, path: str | os.PathLike[str], *, key: Key | None = None, plain: bool = False
    ) -> None:
        """Write everything but the audit table to a file (format: docs/gallery.md).

        The file appears whole or not at all and replaces one of the same name.

        Args:
            path: Where to write.
            key: Encrypts the file. Without it the gallery's own key is used, if it has one.
            plain: Leave the file unencrypted even if the gallery is encrypted.

        Raises:
            InputError: Both ``key`` and ``plain``, or the path cannot be written.
            StorageFull: There is no room.
        """
        if plain and key is not None:
            raise InputError("an export is either plain or has a key, not both")
        key = None if plain else key or self._key
        target = exchange.export_target(path, self.path)
        with (
            self._database.snapshot() as connection,
            ExitStack() as audit,  # left after the file is in place, or with its error
            exchange.writing(target) as file,
        ):
            exchange.export(self._rows(connection), file, key)
            if not self._database.read_only:
                rows = audit.enter_context(self._write(rewrite=False))
                rows.record("exported", None, encrypted=key is not None)

    def import_(
        self,
        path: str | os.PathLike[str],
        *,
        key: Key | None = None,
        on_conflict: exchange.OnConflict = "error",
        new_person: bool = False,
    ) -> exchange.Imported:
        """Add the people of an export file, all of them or, on any error, none.

        Args:
            path: The export file.
            key: Its key, where it is not the gallery's own.
            on_conflict: What to do with a person whose name is taken: ``error``; ``merge`` adds the
                templates to the one who is there; ``rename`` adds a number to the name; ``skip``.
                A name is taken also where somebody's looks like it.
            new_person: People are others than those whose names look like theirs but differ.

        Raises:
            ExportInvalid: The file is damaged, incomplete or of an unknown version.
            SpaceMismatch: Its templates come from another embedding space.
            PersonExists: A name is taken, with ``on_conflict="error"``.
            NameConflict: The same, where somebody's name only looks like it.
            GalleryKeyError: The file's key is missing or wrong.
        """
        with exchange.reader(path, key or self._key) as source, self._write() as rows:
            require_space(rows.meta.space, source.space, "the gallery")
            names = None if new_person else self._names
            return exchange.import_into(rows, source, on_conflict, names)
