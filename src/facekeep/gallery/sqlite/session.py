"""An open gallery: its file, key, embedding space and transactions."""

from __future__ import annotations

import logging
import sqlite3
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

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
from facekeep.gallery.crypto import Cipher, make_cipher
from facekeep.gallery.file_errors import RESTORE, has_file, translate_os_error
from facekeep.gallery.keys import Key
from facekeep.gallery.leftovers import find_leftovers
from facekeep.gallery.sqlite import schema
from facekeep.gallery.sqlite.database import Database
from facekeep.gallery.sqlite.index.index_file import IndexFile
from facekeep.gallery.sqlite.repository import Meta, Repository, read_meta, write_meta
from facekeep.gallery.types import Space

__all__ = ["GallerySession", "open_gallery_session", "require_file", "require_space"]

_log = logging.getLogger(__name__)

_HURRY = 0.2
"""Seconds that opening a gallery may wait to finish an erasure that was cut off."""


class GallerySession:
    """A gallery file in use; threads may share one.

    Attributes:
        database: The file.
        key: The key that it was opened with.
        meta: The description, as it was when the file was opened, or migrated by this session.
        index_file: The file of its search index, which may not exist.
    """

    def __init__(self, database: Database, space: Space | None, key: Key | None) -> None:
        """Take a database that is open, and the embedding space that it must be of, if any."""
        self.database = database
        self.key = key
        self._ciphers: dict[bytes | None, Cipher] = {}
        self._declared = space
        self._space: Space | None = None
        with self.read() as repo:
            self.meta = repo.meta
            self._space = repo.meta.space
            if space is not None and not (repo.meta.space == space or repo.is_sound()):
                raise _changed_description(self.path)
            if space is not None:
                require_space(repo.meta.space, space)
        self.index_file = IndexFile(self.path, self.meta)

    @property
    def path(self) -> Path:
        """Where the gallery stands."""
        return self.database.path

    # Transactions

    def _repository(self, connection: sqlite3.Connection) -> Repository:
        version = self.database.version
        meta = read_meta(connection, version)
        if self._space is not None and meta.space != self._space:
            raise SpaceMismatch(
                f"{self.path} was migrated from {self._space.model} to {meta.space.model}"
                " meanwhile: open it again, with that model",
                model=meta.space.model,
            )
        # Chosen anew each time: another process may have changed the key meanwhile.
        cipher = self._ciphers.get(meta.key_check)
        if cipher is None:
            try:
                cipher = make_cipher(self.key, _scope(meta.gallery), meta.key_check, self.path)
            except GalleryKeyError as error:
                if Repository(connection, meta, Cipher(None, ""), version).is_sound():
                    raise
                raise _changed_description(self.path) from error
            self._ciphers[meta.key_check] = cipher
        return Repository(connection, meta, cipher, version)

    @contextmanager
    def read(self) -> Iterator[Repository]:
        """Give one state of the gallery to read."""
        with self.database.read() as connection:
            yield self._repository(connection)

    @contextmanager
    def snapshot(self) -> Iterator[Repository]:
        """Like ``read``, for long reading: nobody waits for it."""
        with self.database.snapshot() as connection:
            yield self._repository(connection)

    @contextmanager
    def write(self, *, rewrite: bool = True, rekeyed: bool = False) -> Iterator[Repository]:
        """Give the gallery to change: all that is done is kept, or on any error nothing.

        Args:
            rewrite: More is done than adding templates, so other processes must read all anew.
            rekeyed: All rows are signed anew.
        """
        with self._seal(rekeyed=rekeyed) as repo:
            yield repo
            repo.touch(rewrite=rewrite)

    @contextmanager
    def _seal(self, *, rekeyed: bool = False) -> Iterator[Repository]:
        """Give the gallery to change, and write down at the end that facekeep changed it."""
        with self.database.write() as connection:
            repo = self._repository(connection)
            sound, signed = repo.is_sound(), rekeyed or repo.is_signed()
            yield repo
            repo.seal(sound=sound, signed=signed)

    def require_declared(self) -> None:
        """Raise InputError where the gallery was opened without an embedding space."""
        if self._declared is None:
            raise InputError(
                "the gallery was opened without an embedding space: open it with the model's space"
            )

    # Changes of key, space and format

    def add_key(self, key: Key | None) -> Cipher:
        """Return the cipher of a key that the gallery is about to get.

        From here on the session reads the gallery with either key, because other threads choose by
        the check value.
        """
        cipher = Cipher(key, _scope(self.meta.gallery))
        self._ciphers[cipher.check] = cipher
        return cipher

    def change_space(self, meta: Meta) -> None:
        """Go on with the description of the gallery after its templates went to another space."""
        self.meta, self._space, self._declared = meta, meta.space, meta.space
        self.index_file = IndexFile(self.path, meta)

    def upgrade(self) -> None:
        """Bring an older file to the present format, and sign what could not be signed before."""
        if self.database.read_only:
            return
        if self.database.version < schema.VERSION:
            self.database.upgrade(self._sign_all)
            _log.info("%s was brought to format %d", self.path, schema.VERSION)
        elif self.meta.mac is None and self.meta.key_check is not None and self.key is not None:
            with self._seal(rekeyed=True) as repo:
                if repo.meta.mac is None:
                    for table in schema.COLUMNS:
                        repo.sign(table, repo.cipher)
        with self.read() as repo:
            self.meta = repo.meta

    def _sign_all(self, connection: sqlite3.Connection) -> None:
        repo = self._repository(connection)
        for table in schema.COLUMNS:
            repo.sign(table, repo.cipher, first=True)
        repo.seal(sound=True, signed=True)

    # Erasure

    def compact(self) -> None:
        """Rewrite the file without what was deleted; see ``Gallery.compact``."""
        with self.read() as repo:
            unswept = repo.meta.unswept
        try:
            self.database.compact()
            self._erase_from_index()
            self._remove_leftovers()
        except (GalleryError, StorageFull) as error:
            raise type(error)(
                f"{error}; what was asked is done, but what was erased may still lie in the files:"
                " mend that and compact the gallery"
            ) from error
        if unswept:
            with self._seal() as repo:
                # Without the key the note would be unsigned: who has it does this again.
                if repo.meta.key_check is None or repo.cipher.signs:
                    repo.mark_compacted(unswept)

    def _erase_from_index(self) -> None:
        try:
            if not self.index_file.may_exist():
                return
            with self.index_file.lock(self.database.timeout), self.read() as repo:
                self.index_file.erase(repo)
        except OSError as error:
            fault = translate_os_error(error, self.path)
            kind = type(fault) if isinstance(fault, GalleryReadOnly | StorageFull) else GalleryError
            raise kind(
                f"the search index {self.index_file.path} cannot be overwritten: {why(error)}"
            ) from error

    def _remove_leftovers(self) -> None:
        """Take away what killed exports and creations left beside the gallery."""
        for file in find_leftovers(self.path):
            try:
                file.unlink(missing_ok=True)
            except OSError as error:
                raise GalleryError(f"the left-over {file} cannot be removed: {why(error)}") from (
                    error
                )
            _log.info("removed %s, which a killed process had left", file)

    def finish_erasure(self) -> None:
        """Erase what a process left behind that was killed between deleting and erasing."""
        if self.meta.unswept and not self.database.read_only:
            try:
                database = Database(self.path, read_only=False, busy_timeout=_HURRY)
                try:
                    GallerySession(database, None, self.key).compact()
                finally:
                    database.close()
            except FacekeepError as error:
                _log.warning("an erasure is still unfinished: %s", error)


def open_gallery_session(
    file: Path, space: Space | None, key: Key | None, *, read_only: bool, busy_timeout: float
) -> GallerySession:
    """Open a gallery that exists; see ``Gallery.open``."""
    database = Database(file, read_only=read_only, busy_timeout=busy_timeout)
    try:
        session = GallerySession(database, space, key)
        session.upgrade()
        session.finish_erasure()
    except BaseException:
        database.close()
        raise
    return session


def require_file(file: Path, space: Space | None, key: Key | None, *, create: bool) -> None:
    """Create a gallery where there is none, or raise GalleryNotFound; see ``Gallery.open``."""
    schema.require_sqlite()
    try:
        exists = has_file(file)
    except GalleryNotFound:  # there is no folder either
        if create:
            raise
        exists = False
    if not exists and not create:
        raise GalleryNotFound(
            f"nobody is enrolled yet, there is no gallery at {file}: check the path, or "
            "enroll somebody to create it"
        )
    if not exists:
        _create(file, space, key)


def _create(path: Path, space: Space | None, key: Key | None) -> None:
    if space is None:
        raise InputError("a new gallery needs an embedding space: create it with a model's space")
    gallery = str(uuid.uuid4())

    def setup(connection: sqlite3.Connection) -> None:
        cipher = Cipher(key, _scope(gallery))
        write_meta(connection, gallery, space, cipher)
        repo = Repository(connection, read_meta(connection, schema.VERSION), cipher)
        repo.record("created", None, encrypted=key is not None)
        repo.seal(sound=True, signed=True)

    Database.create(path, setup)


def _changed_description(path: Path) -> GalleryCorrupt:
    return GalleryCorrupt(f"the description of {path} was changed outside facekeep: {RESTORE}")


def _scope(gallery: str) -> str:
    """Return what the key of a gallery is used for."""
    return f"gallery {gallery}"


def require_space(own: Space, other: Space) -> None:
    """Raise SpaceMismatch unless both are the same embedding space."""
    if (own.id, own.width) != (other.id, other.width):
        raise SpaceMismatch(
            f"the gallery holds templates of {own.model} ({own.width}-d, {own.id[:12]}), not of"
            f" {other.model} ({other.width}-d, {other.id[:12]}): use the first model, or migrate"
            " the gallery to the other",
            model=own.model,
        )
