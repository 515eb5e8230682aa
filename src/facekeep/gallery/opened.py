"""Opening a gallery: its file, key, embedding space and transactions."""

from __future__ import annotations

import logging
import os
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Self

from facekeep._internal.closing import Closing
from facekeep._internal.files import why
from facekeep.errors import (
    FacekeepError,
    GalleryCorrupt,
    GalleryError,
    GalleryKeyError,
    GalleryNotFound,
    GalleryReadOnly,
    InputError,
    SpaceMismatch,
    StorageFull,
)
from facekeep.gallery import digests, schema
from facekeep.gallery.cipher import Cipher, cipher_for
from facekeep.gallery.database import Database, create_file
from facekeep.gallery.faults import RESTORE, existing_file, file_fault, real_path
from facekeep.gallery.index_file import IndexFile
from facekeep.gallery.keys import Key
from facekeep.gallery.leftovers import leftovers
from facekeep.gallery.records import Space
from facekeep.gallery.rows import Rows, read_meta, write_meta

__all__ = ["OpenGallery", "require_space", "scope"]

_log = logging.getLogger(__name__)
_HURRY = 0.2
"""Seconds that opening a gallery may wait to finish an erasure that was cut off."""


class OpenGallery(Closing):
    """A gallery that was opened: its file, key, space and transactions."""

    def __init__(self, database: Database, space: Space | None, key: Key | None) -> None:
        """Take a database that is open; ``open`` is the way in."""
        self._database = database
        self._key = key
        self._ciphers: dict[bytes | None, Cipher] = {}
        self._declared = space
        self._space: Space | None = None
        with self._read() as rows:
            self._meta = rows.meta
            self._space = rows.meta.space
            if space is not None and not (rows.meta.space == space or rows.is_sound()):
                raise _changed_description(self.path)
            if space is not None:
                require_space(rows.meta.space, space, "the gallery")
        self._index_file = IndexFile(self.path, self._meta)

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
            GalleryCorrupt: The file is damaged, or something else.
            GalleryVersion: It comes from a newer facekeep; an older format is upgraded when it is
                opened for writing.
            GalleryKeyError: The key is wrong, or the gallery is not encrypted.
            SpaceMismatch: The gallery's templates come from another embedding space.
        """
        schema.require_sqlite()
        file = real_path(path)
        if not _exists(file, create):
            if not create:
                raise GalleryNotFound(
                    f"nobody is enrolled yet, there is no gallery at {file}: check the path, or "
                    "enroll somebody to create it"
                )
            _create(file, space, key)
        database = Database(file, read_only=read_only, busy_timeout=busy_timeout)
        try:
            gallery = cls(database, space, key)
            gallery._make_present()
            gallery._finish_erasure()
        except BaseException:
            database.close()
            raise
        return gallery

    def close(self) -> None:
        """Close the file; doing it twice does no harm."""
        self._database.close()

    @property
    def path(self) -> Path:
        """Where the gallery stands."""
        return self._database.path

    @property
    def space(self) -> Space:
        """The embedding space of the templates."""
        return self._meta.space

    # Transactions

    def _rows(self, connection: Any) -> Rows:
        version = self._database.version
        meta = read_meta(connection, version)
        if self._space is not None and meta.space != self._space:
            raise SpaceMismatch(
                f"{self.path} was migrated from {self._space.model} to {meta.space.model}"
                " meanwhile: open it again, with that model"
            )
        # Chosen anew each time: another process may have changed the key meanwhile.
        cipher = self._ciphers.get(meta.key_check)
        if cipher is None:
            try:
                cipher = cipher_for(self._key, scope(meta.gallery), meta.key_check, self.path)
            except GalleryKeyError as error:
                if Rows(connection, meta, Cipher(None, ""), version).is_sound():
                    raise
                raise _changed_description(self.path) from error
            self._ciphers[meta.key_check] = cipher
        return Rows(connection, meta, cipher, version)

    @contextmanager
    def _read(self) -> Iterator[Rows]:
        with self._database.read() as connection:
            yield self._rows(connection)

    @contextmanager
    def _write(self, *, rewrite: bool = True, rekeyed: bool = False) -> Iterator[Rows]:
        with self._sealing(rekeyed=rekeyed) as rows:
            yield rows
            rows.touch(rewrite=rewrite)

    @contextmanager
    def _sealing(self, *, rekeyed: bool = False) -> Iterator[Rows]:
        """Give rows to change, and write down at the end that facekeep changed them."""
        with self._database.write() as connection:
            rows = self._rows(connection)
            sound, signed = rows.is_sound(), rekeyed or rows.is_signed()
            yield rows
            rows.seal(sound=sound, signed=signed)

    def _make_present(self) -> None:
        """Bring an older file to the present format, and sign what could not be signed before."""
        if self._database.read_only:
            return
        if self._database.version < schema.VERSION:
            self._database.upgrade(self._sign_all)
            _log.info("%s was brought to format %d", self.path, schema.VERSION)
        elif self._meta.mac is None and self._meta.key_check is not None and self._key is not None:
            with self._sealing(rekeyed=True) as rows:
                if rows.meta.mac is None:
                    for table in digests.COLUMNS:
                        rows.sign(table, rows.cipher)
        with self._read() as rows:
            self._meta = rows.meta

    def _sign_all(self, connection: Any) -> None:
        rows = self._rows(connection)
        for table in digests.COLUMNS:
            rows.sign(table, rows.cipher, first=True)
        rows.seal(sound=True, signed=True)

    def _require_declared(self) -> None:
        if self._declared is None:
            raise InputError(
                "the gallery was opened without an embedding space: open it with the model's space"
            )

    def compact(self) -> None:
        """Rewrite the file without what was deleted, empty its log, and erase it from the index.

        Raises:
            GalleryBusy: Another program is reading an older state of the gallery, so what was
                deleted may still lie in its files.
            StorageFull: The same, for want of room to rewrite it.
            GalleryError: The same, because the index cannot be overwritten.
        """
        with self._read() as rows:
            unswept = rows.meta.unswept
        try:
            self._database.sweep()
            self._erase_from_index()
            self._sweep_leftovers()
        except (GalleryError, StorageFull) as error:
            raise type(error)(
                f"{error}; what was asked is done, but what was erased may still lie in the files:"
                " mend that and run `facekeep gallery compact`"
            ) from error
        if unswept:
            with self._sealing() as rows:
                # Without the key the note would be unsigned: who has it sweeps again and notes it.
                if rows.meta.key_check is None or rows.cipher.signs:
                    rows.mark_swept(unswept)

    def _erase_from_index(self) -> None:
        try:
            if not self._index_file.may_exist():
                return
            with self._index_file.locked(self._database.timeout), self._read() as rows:
                self._index_file.erase(rows)
        except OSError as error:
            raise _index_fault(error, self._index_file.path) from error

    def _sweep_leftovers(self) -> None:
        """Take away what killed exports and creations left beside the gallery."""
        for file in leftovers(self.path):
            try:
                file.unlink(missing_ok=True)
            except OSError as error:
                raise GalleryError(
                    f"the left-over {file} cannot be removed: {why(error)}"
                ) from error
            _log.info("removed %s, which a killed process had left", file)

    def _finish_erasure(self) -> None:
        """Wipe what a process left behind that was killed between deleting and wiping."""
        if self._meta.unswept and not self._database.read_only:
            try:
                database = Database(self.path, read_only=False, busy_timeout=_HURRY)
                with OpenGallery(database, None, self._key) as hurried:
                    hurried.compact()
            except FacekeepError as error:
                _log.warning("an erasure is still unfinished: %s", error)


def _changed_description(path: Path) -> GalleryCorrupt:
    return GalleryCorrupt(f"the description of {path} was changed outside facekeep: {RESTORE}")


def scope(gallery: str) -> str:
    """Return what the key of a gallery is used for."""
    return f"gallery {gallery}"


def _index_fault(error: OSError, path: Path) -> FacekeepError:
    fault = file_fault(error, path)
    kind = type(fault) if isinstance(fault, GalleryReadOnly | StorageFull) else GalleryError
    return kind(f"the search index {path} cannot be overwritten: {why(error)}")


def _exists(file: Path, create: bool) -> bool:
    """Whether there is a gallery; one to be created needs its folder."""
    try:
        return existing_file(file)
    except GalleryNotFound:
        if create:
            raise
        return False


def _create(path: Path, space: Space | None, key: Key | None) -> None:
    if space is None:
        raise InputError("a new gallery needs an embedding space: create it with a model's space")
    gallery = str(uuid.uuid4())

    def setup(connection: Any) -> None:
        cipher = Cipher(key, scope(gallery))
        write_meta(connection, gallery, space, cipher)
        rows = Rows(connection, read_meta(connection, schema.VERSION), cipher)
        rows.record("created", None, encrypted=key is not None)
        rows.seal(sound=True, signed=True)

    create_file(path, setup)


def require_space(own: Space, other: Space, what: str) -> None:
    """Raise SpaceMismatch unless both are the same embedding space."""
    if (own.id, own.width) != (other.id, other.width):
        raise SpaceMismatch(
            f"{what} holds templates of {own.model} ({own.width}-d, {own.id[:12]}), not of"
            f" {other.model} ({other.width}-d, {other.id[:12]}): use the first model (--embedder"
            f" {own.model}), or change the templates with `facekeep gallery migrate`"
        )
