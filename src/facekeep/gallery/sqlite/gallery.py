"""``Gallery``: the people somebody keeps, in one SQLite file, as one object for all threads."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import ExitStack
from datetime import datetime
from pathlib import Path
from types import EllipsisType
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from facekeep._internal.closing import Closing
from facekeep._internal.files import printable
from facekeep.errors import GalleryCorrupt, InputError, PersonNotFound
from facekeep.gallery.file_errors import resolve_path
from facekeep.gallery.keys import Key
from facekeep.gallery.sqlite import operations
from facekeep.gallery.sqlite.index.searcher import Searcher
from facekeep.gallery.sqlite.integrity import check_gallery, list_leftovers
from facekeep.gallery.sqlite.name_index import NameIndex
from facekeep.gallery.sqlite.row_parser import require_well_formed
from facekeep.gallery.sqlite.session import (
    GallerySession,
    open_gallery_session,
    require_file,
    require_space,
)
from facekeep.gallery.transfer import check_target, read_export, write_target
from facekeep.gallery.types import (
    AuditEntry,
    Consent,
    Finding,
    GalleryInfo,
    Hit,
    Imported,
    NewTemplate,
    OnConflict,
    Person,
    Space,
    clean_name,
    from_stamp,
    now_stamp,
    to_stamp,
)

__all__ = ["Gallery"]


class Gallery(Closing):
    """People and their templates; keeps ``GalleryStore``.

    Threads may share one object. Processes open the file each for itself; a change made by one is
    seen by the next search of the others. Any method may raise ``GalleryBusy`` (others kept the
    file locked for longer than the time-out) or ``GalleryCorrupt``; those that change something
    also ``GalleryReadOnly`` and ``StorageFull``, after which the gallery is as it was before.
    """

    def __init__(self, session: GallerySession) -> None:
        """Take a session; ``open`` is the way in."""
        self._session = session
        self._searcher = Searcher(session)
        self._names = NameIndex()

    def __repr__(self) -> str:
        model, mode = printable(self.space.model), self._session.database.mode
        return f"<Gallery {printable(self.path)}, templates of {model}, {mode}>"

    @classmethod
    def open(
        cls,
        path: str | os.PathLike[str],
        *,
        space: Space | None = None,
        key: Key | None = None,
        create: bool = False,
        read_only: bool = False,
        busy_timeout: float = 30.0,
    ) -> Self:
        """Open a gallery.

        Args:
            path: The gallery's file.
            space: Embedding space of the templates and probes that will be given; without it people
                can be listed and edited, but not enrolled or searched.
            key: The key of an encrypted gallery; without it everything that needs no vector works.
            create: Create the gallery if there is none; needs ``space``. With ``key`` the new
                gallery is encrypted.
            read_only: Never write.
            busy_timeout: Seconds to wait while others keep the gallery locked.

        Raises:
            GalleryError: This Python's SQLite is too old, or the path is no file's.
            GalleryNotFound: There is none, and ``create`` was not asked for.
            GalleryCorrupt: The file is damaged, or something else (``NotAGallery``).
            GalleryVersion: It comes from a newer facekeep; an older format is upgraded when it is
                opened for writing.
            GalleryKeyError: The key is wrong, or the gallery is not encrypted.
            SpaceMismatch: The gallery's templates come from another embedding space.
        """
        file = resolve_path(path)
        require_file(file, space, key, create=create)
        return cls(
            open_gallery_session(file, space, key, read_only=read_only, busy_timeout=busy_timeout)
        )

    def close(self) -> None:
        """Close the file and forget the vectors; doing it twice does no harm."""
        self._session.database.close()
        self._searcher.forget()

    @property
    def path(self) -> Path:
        """Where the gallery stands."""
        return self._session.path

    @property
    def space(self) -> Space:
        """The embedding space of the templates."""
        return self._session.meta.space

    def search(self, probes: NDArray[np.float32], top_k: int = 5) -> list[list[Hit]]:
        """Return for each probe the people it is most like, best first.

        Up to some tens of thousands of people all are compared exactly. Above, binary codes choose
        whom to compare exactly, and a person that an exact search would return may be missed once
        in thousands of searches (docs/search.md). The similarities are exact either way.

        Args:
            probes: float32 ``(n, d)`` of unit length, from the space the gallery was opened with.
            top_k: The most people to return for each probe.

        Returns:
            A list for each probe, shorter than ``top_k`` where there are fewer people. Somebody
            with only "this is not" templates is never among them.

        Raises:
            InputError: Wrong shape or values.
            TemplateTampered: A stored template was changed outside facekeep.
            GalleryKeyError: The gallery is encrypted and no key was given.
        """
        return self._searcher.search(probes, top_k)

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
        self._session.require_declared()
        clean = operations.clean_templates(templates, self.space.width)
        columns = operations.make_columns(
            ... if metadata is None else metadata,
            ... if consent is None else consent,
            ... if retain_until is None else retain_until,
        )
        with self._session.write(rewrite=False) as repo:
            return operations.enroll(
                repo, name, clean, columns, None if new_person else self._names
            )

    def enroll_many(self, people: Iterable[tuple[str, Sequence[NewTemplate]]]) -> None:
        """Enroll many people at once, much faster than one by one: all of them or, on error, none.

        Names that only look like those of others are not refused.

        Args:
            people: The name and the templates, one or more, of each.

        Raises:
            InputError: A name or vector cannot be used.
            GalleryKeyError: The gallery is encrypted and no key was given.
        """
        self._session.require_declared()
        with self._session.write(rewrite=False) as repo:
            for name, templates in people:
                clean = operations.clean_templates(templates, self.space.width)
                operations.enroll(repo, name, clean, {})

    def name_for(self, name: str, *, new_person: bool = False) -> str:
        """Return the name under which ``enroll`` would store a person; same errors as there."""
        with self._session.read() as repo:
            return operations.resolve_name(repo, name, None if new_person else self._names)

    def people(self, *, after: str | None = None, limit: int | None = None) -> list[Person]:
        """Return people sorted by name, from behind the name ``after``, ``limit`` at most."""
        with self._session.read() as repo:
            return repo.people(None if after is None else clean_name(after), limit)

    def count(self) -> int:
        """Return the number of people; much quicker than ``info``."""
        with self._session.read() as repo:
            return repo.count("people")

    def person(self, name: str) -> Person:
        """Return a person with the facts about each template; PersonNotFound if there is none.

        Where nobody has the name, it may be the person's UUID or the beginning of it.
        """
        with self._session.read() as repo:
            try:
                return operations.find_person(repo, name)
            except PersonNotFound as error:
                other = self._names.find_alike(repo, clean_name(name))
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
        columns = operations.make_columns(metadata, consent, retain_until)
        with self._session.write(rewrite=False) as repo:
            operations.update(repo, name, columns)
            return operations.find_person(repo, name)

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
        with self._session.write(rewrite=False) as repo:
            names = None if new_person else self._names
            return operations.find_person(repo, operations.rename(repo, name, new_name, names))

    def merge(self, sources: Sequence[str], into: str) -> Person:
        """Give all templates of ``sources`` to the person ``into`` and delete the sources.

        Metadata that ``into`` lacks is added, its consent stays, and the earliest ``retain_until``
        of all holds.
        """
        with self._session.write() as repo:
            operations.merge(repo, sources, into)
            return operations.find_person(repo, into)

    def split(
        self, name: str, template_ids: Sequence[str], new_name: str, *, new_person: bool = False
    ) -> Person:
        """Move some of a person's templates to a new person and return that one.

        Consent and ``retain_until`` are copied, metadata is not. Ids may be cut short where that
        leaves no doubt; the new name is treated as by ``rename``.
        """
        with self._session.write() as repo:
            names = None if new_person else self._names
            return operations.find_person(
                repo, operations.split(repo, name, template_ids, new_name, names)
            )

    # Erasure

    def remove(self, name: str) -> Person:
        """Erase a person: afterward nothing of name, templates and crops is left in the files.

        A line with the person's UUID stays in the audit table.

        Returns:
            The person as it was.

        Raises:
            PersonNotFound: There is none of this name.
            GalleryBusy: The person is gone from the gallery, but another program is reading an
                older state, so traces may be left in the files until ``compact`` succeeds.
        """
        with self._session.write() as repo:
            person = operations.find_person_to_erase(repo, name)
            operations.erase(repo, [person], "removed")
        self.compact()
        return person

    def remove_templates(self, name: str, template_ids: Sequence[str]) -> Person:
        """Erase some of a person's templates as ``remove`` erases people.

        The last one cannot be taken away: of somebody without templates nothing but the name would
        be kept, so ``remove`` the person.

        Returns:
            The person with the templates that are left.
        """
        with self._session.write() as repo:
            operations.remove_templates(repo, name, template_ids)
            person = operations.find_person_to_erase(repo, name)
        self.compact()
        return person

    def purge(self, now: datetime) -> list[Person]:
        """Erase everybody whose ``retain_until`` is not after ``now``, and return who it was."""
        stamp = to_stamp(now, "the time of the purge")
        with self._session.read() as repo:
            if not repo.expired(stamp):
                return []
        with self._session.write() as repo:
            people = repo.expired(stamp)
            operations.erase(repo, people, "purged")
        self.compact()
        return people

    def rekey(self, new_key: Key | None) -> None:
        """Encrypt everything anew with another key, in one transaction; None ends encryption.

        Afterward nothing sealed with the old key, or unencrypted, is left in the files.

        Raises:
            GalleryKeyError: The present key is missing.
            GalleryBusy: Done, but as with ``remove`` traces may be left.
        """
        cipher = self._session.add_key(new_key)
        with self._session.write(rekeyed=True) as repo:
            operations.rekey(repo, cipher)
        self._session.key = new_key
        self.compact()

    def migrate(
        self, space: Space, remake: operations.Remake, *, approve: Callable[[], None] | None = None
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
        with self._session.write() as repo:
            operations.migrate(repo, space, remake)
            if approve is not None:
                approve()
            meta = repo.meta
        self._session.change_space(meta)
        self._searcher.forget()
        self.compact()

    def backup(self, path: str | os.PathLike[str]) -> None:
        """Write a copy of the whole gallery, as it is now, to a new file.

        Raises:
            InputError: There is something of this name, or it cannot be written.
            StorageFull: There is no room.
        """
        if os.path.lexists(path):
            raise InputError(f"{path} exists already: choose another file")
        target = check_target(path, self.path)
        with self._session.database.snapshot() as connection, write_target(target) as file:
            file.write(connection.serialize())

    def vectors(self, name: str) -> dict[str, NDArray[np.float32]]:
        """Return a person's vectors, float32 ``(d,)`` each, by the template's UUID."""
        with self._session.read() as repo:
            person = operations.find_person(repo, name)
            return {t.id: repo.stored(t).vector for t in person.templates or ()}

    def crop(self, template_id: str) -> bytes | None:
        """Return the encoded crop kept with a template; None where none was kept."""
        with self._session.read() as repo:
            template = repo.template(template_id)
            if template is None:
                raise InputError(f"there is no template {template_id!a}")
            return repo.stored(template).crop

    # Maintenance

    def compact(self) -> None:
        """Rewrite the file without what was deleted, empty its log, and erase it from the index.

        Raises:
            GalleryBusy: Another program is reading an older state of the gallery, so what was
                deleted may still lie in its files.
            StorageFull: The same, for want of room to rewrite it.
            GalleryError: The same, because the index cannot be overwritten.
        """
        self._session.compact()

    def audit(self, limit: int | None = 100) -> list[AuditEntry]:
        """Return the latest lines of the audit table, newest first; None for all."""
        with self._session.read() as repo:
            return repo.audit(limit)

    def info(self) -> GalleryInfo:
        """Return facts about the gallery."""
        with self._session.read() as repo:
            meta = repo.meta
            with require_well_formed("the description"):
                created_at = from_stamp(meta.created_at)
            return GalleryInfo(
                path=self.path,
                id=meta.gallery,
                version=self._session.database.version,
                space=meta.space,
                encrypted=meta.key_check is not None,
                created_at=created_at,
                people=repo.count("people"),
                templates=repo.count("templates"),
                negatives=repo.count("templates", "negative = 1"),
                crops=repo.count("templates", "crop IS NOT NULL"),
                expired=repo.count("people", "retain_until <= ?", now_stamp()),
                size=self._session.database.size(),
                erasure_pending=meta.unswept != 0,
            )

    def check(self) -> list[Finding]:
        """Check the whole file and return what is wrong; an empty list where nothing is."""
        try:
            with self._session.snapshot() as repo:
                found = check_gallery(repo, self.path)
        except GalleryCorrupt as error:
            found = [Finding("structure", str(error))]
        return found + list_leftovers(self.path)

    # Transfer

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
        key = None if plain else key or self._session.key
        target = check_target(path, self.path)
        with (
            self._session.snapshot() as repo,
            ExitStack() as audit,  # left after the file is in place, or with its error
            write_target(target) as file,
        ):
            operations.export_people(repo, file, key)
            if not self._session.database.read_only:
                changed = audit.enter_context(self._session.write(rewrite=False))
                changed.record("exported", None, encrypted=key is not None)

    def import_(
        self,
        path: str | os.PathLike[str],
        *,
        key: Key | None = None,
        on_conflict: OnConflict = "error",
        new_person: bool = False,
    ) -> Imported:
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
        with read_export(path, key or self._session.key) as source, self._session.write() as repo:
            require_space(repo.meta.space, source.space)
            names = None if new_person else self._names
            return operations.import_people(repo, source, on_conflict, names)
